"""Evaluators: what `config.evaluators` names, run on a model's variables over one split of a data set."""

import dataclasses
import re

import jax
import numpy as np
import tqdm

from vatt_jax.data import label as label_lib, records as records_lib, text as text_lib
from vatt_jax.errors import UserError
from vatt_jax.evaluation import captions, classification, entities, matching, probes
from vatt_jax.evaluation.classification import ClassifiedSet
from vatt_jax.evaluation.embeddings import MODALITIES, EmbeddedSet, meeting
from vatt_jax.evaluation.report.page import Section
from vatt_jax.evaluation.retrieval import (
  NothingToCompare,
  cosine_similarity,
  evaluate_set,
  retrieval_metrics,
  unit_rows,
)
from vatt_jax.evaluation.views import Setting, Views, features, middle_caption


@dataclasses.dataclass(frozen=True)
class Result:
  """What one evaluator found: flat metrics `eval/<set>/...`, and what the report shows of it beside them."""

  metrics: dict[str, float]
  shown: EmbeddedSet | ClassifiedSet | Section | None = None


def check(name: str, config) -> None:
  """Whether the evaluator `config.evaluators[name]` says what it must, before anything is trained for it.

  Raises:
    UserError: it does not; the sentence says what instead.
  """
  place = f"config.evaluators.{name}"
  for field, known in (("kind", tuple(EVALUATORS)), ("when", ("every", "final"))):
    if config.get(field) not in known:
      raise UserError(f"{place}.{field} = {config.get(field)!r} is not one of {', '.join(known)}.")
  for field in ("windows", "batch_size", *(["crops"] if "crops" in config else [])):
    if not isinstance(config.get(field), int) or config[field] < 1:
      raise UserError(f"{place}.{field} = {config.get(field)!r} must be a number of at least 1.")


def run(name: str, config, setting: Setting, variables: dict, batch_size: int, progress: bool = False) -> Result:
  """Runs the evaluator `config.evaluators[name]`.

  Args:
    name: becomes `<set>` in the metric names.
    config: of this evaluator: kind, split, windows and what its kind needs.
    batch_size: a multiple of the devices that share a batch.

  Raises:
    UserError: for a split that does not exist, or a set in which nothing can be compared; and as `check`.
  """
  check(name, config)
  setting = _with_captions(config.get("caption_kind", ""), setting)
  asked = setting.options.text is not None and setting.options.text.examples == "questions"
  records = records_lib.open_split(setting.directory, config.split, "questions" if asked else "clips")
  views = Views(
    records, setting, batch_size, windows=config.windows, crops=config.get("crops", 1),
    description=f"evaluating {name}", progress=progress,
  )  # fmt: skip
  metrics, shown = EVALUATORS[config.kind](name, config, setting, variables, records, views)
  if views.broken:
    metrics["broken_records"] = float(len(views.broken))
  return Result({f"eval/{name}/{key}": value for key, value in metrics.items()}, shown)


def _with_captions(kind: str, setting: Setting) -> Setting:
  """Evaluators read one caption of a clip, of this kind, or "" of any."""
  if setting.options.text is None:
    return setting
  text = dataclasses.replace(setting.options.text, kinds=(kind,) if kind else ())
  return dataclasses.replace(setting, options=dataclasses.replace(setting.options, text=text))


def retrieval(name, config, setting, variables, records, views) -> tuple[dict, EmbeddedSet]:
  """Between all pairs of modalities; outputs are averaged over views."""
  sums: dict[str, np.ndarray] = {}
  present: dict[str, np.ndarray] = {}
  for rows, batch in views:
    for key, value in jax.device_get(setting.encode(variables, setting.place(batch))).items():
      value = value[:, 0] if value.ndim == 3 else value  # Of text, alone or with another, and only one caption is read.
      total = sums.setdefault(key, np.zeros([len(records), *value.shape[1:]], np.float32))
      total[rows] += value[: len(rows)] / views.count
    for modality in MODALITIES:
      if f"{modality}/present" in batch:
        here = present.setdefault(modality, np.ones([len(records)], bool))
        here[rows] &= batch[f"{modality}/present"][: len(rows)]
  kept = views.readable()
  rate = setting.options.audio.sample_rate_hz if setting.options.audio else 0
  embedded = EmbeddedSet(
    name=name,
    embeddings={key: value[kept] for key, value in sums.items()},
    present={key: value[kept] for key, value in present.items()},
    spaces={pair: outputs for pair, outputs in setting.spaces.items() if set(pair) <= set(MODALITIES)},
    temperatures=setting.temperatures(variables),
    **_columns(records, kept, rate, config.get("caption_kind", "")),
  )
  return evaluate_set(embedded) | _joined_retrieval(embedded, setting.spaces), embedded


def _joined_retrieval(embedded: EmbeddedSet, spaces: dict) -> dict[str, float]:
  """Of spaces in which two modalities together meet the third, such as `videoaudio_to_text/...`, over complete clips."""
  if not set(MODALITIES) <= set(embedded.present):
    return {}
  rows = np.flatnonzero(np.all([embedded.present[modality] for modality in MODALITIES], axis=0))
  joined = {pair: outputs for pair, outputs in spaces.items() if not set(pair) <= set(MODALITIES)}
  metrics = {}
  for (first, second), outputs in joined.items() if len(rows) else ():
    one, other = (embedded.embeddings[output][rows] for output in outputs)
    for direction, ends in ((f"{first}_to_{second}", (one, other)), (f"{second}_to_{first}", (other, one))):
      figures = retrieval_metrics(*ends, embedded.languages_of(rows))
      metrics |= {f"{direction}/{name}": value for name, value in figures.items()}
  return metrics


def match(name, config, setting, variables, records, views) -> tuple[dict, None]:
  """Retrieval by looking at pairs; `config.candidates` nearest ones by cosine, or all for 0."""
  if setting.match is None or not setting.spaces:
    raise UserError(f"config.evaluators.{name} needs a model with the parts vtc and vtm.")
  if views.count != 1:
    raise UserError(f"config.evaluators.{name} looks at one view of each clip: windows and crops are 1.")
  parts, both = {}, np.zeros([len(records)], bool)
  for rows, batch in views:
    out = jax.device_get(setting.tokens(variables, setting.place(batch)))
    for key, value in {**out, "text/mask": batch["text/mask"]}.items():
      value = value[:, 0] if key.startswith("text/") else value
      parts.setdefault(key, np.zeros([len(records), *value.shape[1:]], value.dtype))[rows] = value[: len(rows)]
    both[rows] = (batch["video/present"] & batch["text/present"])[: len(rows)]
  kept = np.intersect1d(views.readable(), np.flatnonzero(both))
  parts = {key: value[kept] for key, value in parts.items()}

  def score(texts, videos):
    numbers = {"video/tokens": videos, "text/tokens": texts, "text/mask": texts}
    batch = {key: parts[key][chosen] for key, chosen in numbers.items()}
    return np.asarray(jax.device_get(setting.match(variables, setting.place(batch))))

  wanted = matching.candidates(parts["video/vtc"], parts["text/vtc"], config.candidates)
  scores = matching.score_pairs(score, wanted, views.batch_size)
  similarity = cosine_similarity(parts["text/vtc"], parts["video/vtc"])
  return matching.metrics(scores, similarity, config.decimals if config.decimals >= 0 else None), None


def classify(name, config, setting, variables, records, views) -> tuple[dict, ClassifiedSet | None]:
  """Labels of the clips that have what the model looks at; of questions all count.

  `config.average` says what is averaged over views: "logits" or "probabilities".
  """
  label = setting.options.label
  if label is None:
    raise UserError(f"config.evaluators.{name} needs labels, and the model of this run has none.")
  squash = {
    "logits": lambda x: x,
    "probabilities": classification.sigmoid if label.multiple else classification.softmax,
  }
  if config.average not in squash:
    raise UserError(f"config.evaluators.{name}.average = {config.average!r} is not one of {', '.join(squash)}.")
  scores = np.zeros([len(records), label.classes], np.float64)
  truth = np.zeros([len(records), *([label.classes] if label.multiple else [])], np.float32 if label.multiple else int)
  features: dict[str, np.ndarray] = {}
  here = np.ones([len(records)], bool)
  for rows, batch in views:
    out = jax.device_get(setting.encode(variables, setting.place(batch)))
    scores[rows] += squash[config.average](out["logits"][: len(rows)]) / views.count
    truth[rows] = batch["label"][: len(rows)]
    for key in [key for key in out if key.endswith("/pooled")]:
      total = features.setdefault(key, np.zeros([len(records), *out[key].shape[1:]], np.float32))
      total[rows] += out[key][: len(rows)] / views.count
      here[rows] &= batch[f"{key.split('/')[0]}/present"][: len(rows)]
  kept = views.readable()
  if setting.options.text is not None and setting.options.text.examples == "questions":
    asked = [
      b"".join(records_lib.decode(records[int(number)])["questions/text"]).decode("utf-8", "replace") for number in kept
    ]
    return classification.answers(scores[kept], truth[kept], asked), None
  kept = kept[here[kept]]
  features = {key: value[kept] for key, value in features.items()}
  shown = ClassifiedSet(name, label.names, scores[kept], truth[kept], features, "What the fine-tuned model says.")
  return _measure(scores[kept], truth[kept]), shown


def probe(name, config, setting, variables, records, views) -> tuple[dict, ClassifiedSet]:
  """A classifier on frozen features of `config.train_split`; what it says is averaged over views.

  `config.classifier` names one of `probes.PROBES`, `config.options` are its own, `config.features` are such as
  "video/pooled", `config.train_windows` of each clip are learned from. With `config.multiple` clips may have several labels.
  """
  if config.classifier not in probes.PROBES:
    raise UserError(
      f"config.evaluators.{name}.classifier = {config.classifier!r} is not one of {', '.join(probes.PROBES)}."
    )
  x, y, names, values, truth = _labelled_features(name, config, setting, variables, records, views)
  try:
    with tqdm.tqdm(desc=f"fitting {name} to {len(x):,} clips", bar_format="{desc}", **views.bar):
      score = probes.PROBES[config.classifier](x, y, len(names), **config.options)
  except TypeError as error:
    raise UserError(f"config.evaluators.{name}.options cannot be used: {error}.") from error
  scores = score(values).mean(axis=1)
  origin = f"A probe ({config.classifier.replace('_', ' ')}) on frozen {config.features}."
  shown = ClassifiedSet(name, names, scores, truth, {config.features: values.mean(axis=1)}, origin)
  return {**_measure(scores, truth), "training_clips": float(len(y))}, shown


def knn(name, config, setting, variables, records, views) -> tuple[dict, ClassifiedSet]:
  """k nearest neighbours among `config.shots` clips of each class (0: all), the mean of `config.draws` of them."""
  x, y, names, values, truth = _labelled_features(name, config, setting, variables, records, views)
  found, shown = [], None
  for seed in range(config.draws if config.shots else 1):
    rows = probes.few(y, config.shots, seed) if config.shots else slice(None)
    options = dict(neighbours=config.neighbours, temperature=config.temperature)
    scores = probes.nearest(x[rows], y[rows], len(names), **options)(values).mean(axis=1)
    found.append({**_measure(scores, truth), "training_clips": float(len(y[rows]))})
    origin = f"The nearest neighbours of frozen {config.features}" + (" (the first draw)." if config.shots else ".")
    shown = shown or ClassifiedSet(name, names, scores, truth, {config.features: values.mean(axis=1)}, origin)
  metrics = {key: float(np.mean([each[key] for each in found])) for key in found[0]}
  if len(found) > 1:
    key = "mean_average_precision" if truth.ndim == 2 else "top_1"
    metrics[f"{key}_deviation"] = float(np.std([each[key] for each in found], ddof=1))
  return metrics, shown


def _measure(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
  return (classification.several_labels if truth.ndim == 2 else classification.one_label)(scores, truth)


def zero_shot_classification(name, config, setting, variables, records, views) -> tuple[dict, ClassifiedSet]:
  """Clips go to the class whose name they are nearest to, by cosine in the space that `config.modality` shares with text.

  A class is the mean of the unit vectors of its prompts, `config.templates` with its name for {}; a clip is the mean of
  its views. With `config.multiple` clips may have several labels.
  """
  outputs = meeting(setting.spaces, config.modality, "text")
  if outputs is None or setting.tokenizer is None:
    raise NothingToCompare(
      f"config.evaluators.{name} needs a model in which {config.modality!r} and text meet, with a vocabulary."
    )
  if not config.templates or not all("{}" in template for template in config.templates):
    raise UserError(f"config.evaluators.{name}.templates must be prompts with {{}} in each, not {config.templates}.")
  names = _class_names(setting)
  prompts = [template.replace("{}", readable(each)) for each in names for template in config.templates]
  embedded = unit_rows(_encode_texts(prompts, setting, variables, outputs[1], views.batch_size))
  anchors = embedded.reshape(len(names), len(config.templates), -1).mean(axis=1)
  values, usable = features(views, setting, variables, outputs[0])
  scores = cosine_similarity(values.mean(axis=1), anchors)[usable]
  truth = _truth(records, names, config.multiple)[usable]
  shown = ClassifiedSet(
    name, names, scores, truth, {outputs[0]: values.mean(axis=1)[usable]}, "The nearest class name."
  )
  return _measure(scores, truth), shown


def readable(name: str) -> str:
  """A class name as words: "PlayingGuitar", "brush_hair" -> "playing guitar", "brush hair"."""
  return " ".join(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").split()).lower()


def _encode_texts(texts, setting, variables, output, batch_size) -> np.ndarray:
  """float32 (n, E), in batches of one size."""
  options = dataclasses.replace(setting.options.text, candidates=len(texts))
  ids, mask = text_lib.encode_captions(texts, setting.tokenizer, options)
  found = []
  for start in range(0, len(texts), batch_size):
    chosen = np.resize(np.arange(start, min(start + batch_size, len(texts))), batch_size)
    batch = {"text/ids": ids[chosen, None], "text/mask": mask[chosen, None]}
    found.append(jax.device_get(setting.encode(variables, setting.place(batch))[output])[:, 0])
  return np.concatenate(found)[: len(texts)]


def _labelled_features(name, config, setting, variables, records, views):
  """What a probe learns from, features (m, D) and labels (m,), the names of the classes, and what it is asked.

  The latter are features (n, V, D) and labels (n,) of the clips that can be read; -1 where the class is not known. With
  `config.multiple` labels are (m, C) and (n, C), and clips without any are clips like others.
  """
  names, multiple = _class_names(setting), config.get("multiple", False)
  train = records_lib.open_split(setting.directory, config.train_split)
  learned = Views(
    train, setting, views.batch_size, windows=config.train_windows, description=f"features for {name}",
    progress=views.progress,
  )  # fmt: skip
  values, usable = features(learned, setting, variables, config.features)
  truth = _truth(train, names, multiple)
  usable &= truth.any() if multiple else truth >= 0
  if not usable.any():
    raise NothingToCompare(
      f"no clip of the split {config.train_split!r} has a label and {config.features.split('/')[0]}."
    )
  x, y = values[usable].reshape(-1, values.shape[-1]), np.repeat(truth[usable], learned.count, axis=0)
  values, usable = features(views, setting, variables, config.features)
  return x, y, names, values[usable], _truth(records, names, multiple)[usable]


def _class_names(setting) -> list[str]:
  names = records_lib.labels(setting.directory)
  if not names:
    raise NothingToCompare(f"the data set at {setting.directory} has no labels.")
  return names


def _truth(records, names, multiple: bool = False) -> np.ndarray:
  """Labels by the data set's own classes, whatever those of the model are: int (n,), or float32 (n, C).

  Of a clip with several labels the first counts, unless it may have several.
  """
  options = label_lib.LabelOptions(multiple=multiple, names=tuple(names))
  return np.stack([label_lib.encode_label(each, options) for each in records.strings("label")])


def _columns(records: records_lib.Records, numbers: np.ndarray, default_rate_hz: int, caption_kind: str) -> dict:
  """What the report shows of these records; read one by one, kept small."""
  columns = {name: [] for name in ("captions", "languages", "labels", "sources", "thumbnails", "waveforms")}
  rate = 0
  for number in numbers:
    row = records_lib.decode(records[int(number)])
    string = lambda key, row=row: (row[key] or [b""])[0].decode("utf-8", "replace")
    frames, own_rate = row["video/frames"], (row["audio/sample_rate_hz"] or [default_rate_hz])[0]
    rate = rate or (own_rate if len(row["audio/samples"]) else 0)
    columns["captions"].append(middle_caption(row, caption_kind))
    columns["languages"].append(string("language"))
    columns["labels"].append(string("label"))
    columns["sources"].append(string("source"))
    columns["thumbnails"].append(frames[len(frames) // 2] if frames else b"")
    columns["waveforms"].append(_at_rate(row["audio/samples"][: SHOWN_SECONDS * own_rate], own_rate, rate or own_rate))
  return {**columns, "sample_rate_hz": int(rate or default_rate_hz)}


def _at_rate(samples: np.ndarray, own: int, rate: int) -> np.ndarray:
  """For a player that knows one rate; sets prepared in one go have one rate anyway."""
  if own == rate or not len(samples):
    return np.array(samples)  # A copy, so that the rest of a long record is freed.
  places = np.arange(int(len(samples) * rate / own)) * (own / rate)
  return np.interp(places, np.arange(len(samples)), samples).astype(np.int16)


SHOWN_SECONDS = 10  # of each sound, in the report
EVALUATORS = {
  "retrieval": retrieval, "matching": match, "classification": classify, "probe": probe, "knn": knn,
  "zero_shot_classification": zero_shot_classification, "entities": entities.evaluate,
  "captions": captions.evaluate,
}  # fmt: skip
