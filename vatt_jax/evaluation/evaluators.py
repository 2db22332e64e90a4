"""Evaluators: what `config.evaluators` names, run on a model's variables over one split of a data set."""

from collections.abc import Callable
import dataclasses

import jax
import numpy as np
import tqdm

from vatt_jax.data import pipeline, records as records_lib
from vatt_jax.data.text import Tokenizer, nearest_captions
from vatt_jax.errors import UserError
from vatt_jax.evaluation import classification, matching
from vatt_jax.evaluation.embeddings import MODALITIES, EmbeddedSet
from vatt_jax.evaluation.retrieval import cosine_similarity, evaluate_set


@dataclasses.dataclass(frozen=True)
class Setting:
  """What all evaluators of a run share.

  Attributes:
    encode: jitted, (variables, batch) -> outputs.
    spaces: which outputs meet, as objectives have it.
    directory, options, tokenizer: the data set and how it is read.
    place: puts a host batch onto devices.
    tokens, match: of models that look at video and text together: jitted, as in `objectives.alpro`.
  """

  encode: Callable[[dict, dict], dict]
  spaces: dict
  directory: str
  options: pipeline.InputOptions
  tokenizer: Tokenizer | None
  place: Callable[[dict], dict] = lambda batch: batch
  tokens: Callable[[dict, dict], dict] | None = None
  match: Callable[[dict, dict], jax.Array] | None = None


@dataclasses.dataclass(frozen=True)
class Result:
  """What one evaluator found: flat metrics `eval/<set>/...`, and for retrieval the embeddings for the report."""

  metrics: dict[str, float]
  embedded: EmbeddedSet | None = None


def run(name: str, config, setting: Setting, variables: dict, batch_size: int, progress: bool = False) -> Result:
  """Runs the evaluator `config.evaluators[name]`.

  Args:
    name: becomes `<set>` in the metric names.
    config: of this evaluator: kind, split, windows and what its kind needs.
    batch_size: a multiple of the devices that share a batch.

  Raises:
    UserError: for a split that does not exist, an unknown kind, or a set in which nothing can be compared.
  """
  if config.kind not in EVALUATORS:
    raise UserError(f"config.evaluators.{name}.kind = {config.kind!r} is not one of {', '.join(EVALUATORS)}.")
  asked = setting.options.text is not None and setting.options.text.examples == "questions"
  records = records_lib.open_split(setting.directory, config.split, "questions" if asked else "clips")
  views = _Views(config, records, setting, batch_size, f"evaluating {name}", progress)
  metrics, embedded = EVALUATORS[config.kind](name, config, setting, variables, records, views)
  if views.broken:
    metrics["broken_records"] = float(len(views.broken))
  return Result({f"eval/{name}/{key}": value for key, value in metrics.items()}, embedded)


class _Views:
  """Every view of every record: `windows` times spread from start to end, and `crops` squares of the picture each.

  Iterating gives (rows, batch): numbers of the records that are new in the batch, and the host batch.

  Attributes:
    count: of views.
    broken: numbers of records that could not be read in some view, known when the iteration is over.
  """

  def __init__(self, config, records, setting, batch_size, description, progress):
    spread = lambda n: np.linspace(0.0, 1.0, n) if n > 1 else np.array([0.5])
    self._places = [(w, c) for c in spread(config.get("crops", 1)) for w in spread(config.windows)]
    self._records, self._setting, self.batch_size = records, setting, batch_size
    self._bar = dict(desc=description, unit="clip", leave=False, disable=not progress)
    self.count = len(self._places)
    self.broken: set[int] = set()

  def __iter__(self):
    total = len(self._records)
    with tqdm.tqdm(total=self.count * total, **self._bar) as bar:
      for offset, crop_place in self._places:
        batches = pipeline.evaluation_batches(
          self._records, self.batch_size, self._setting.options, self._setting.tokenizer,
          offset=offset, crop_place=crop_place, on_broken=lambda number, _: self.broken.add(number),
        )  # fmt: skip
        for i, batch in enumerate(batches):
          rows = np.arange(i * self.batch_size, min((i + 1) * self.batch_size, total))
          batch.pop("valid")  # Rows of broken records are taken out at the end: views may differ in what is readable.
          yield rows, batch
          bar.update(len(rows))

  def readable(self) -> np.ndarray:
    """Numbers of the records that every view could read."""
    return np.array([i for i in range(len(self._records)) if i not in self.broken], int)


def retrieval(name, config, setting, variables, records, views) -> tuple[dict, EmbeddedSet]:
  """Between all pairs of modalities; outputs are averaged over views."""
  sums: dict[str, np.ndarray] = {}
  present: dict[str, np.ndarray] = {}
  for rows, batch in views:
    for key, value in jax.device_get(setting.encode(variables, setting.place(batch))).items():
      value = value[:, 0] if key.startswith("text/") and value.ndim == 3 else value
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
    spaces=setting.spaces,
    **_columns(records, kept, rate),
  )
  return evaluate_set(embedded), embedded


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


def classify(name, config, setting, variables, records, views) -> tuple[dict, None]:
  """Labels; `config.average` says what is averaged over views: "logits" or "probabilities"."""
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
  for rows, batch in views:
    logits = jax.device_get(setting.encode(variables, setting.place(batch))["logits"])[: len(rows)]
    scores[rows] += squash[config.average](logits) / views.count
    truth[rows] = batch["label"][: len(rows)]
  kept = views.readable()
  if setting.options.text is not None and setting.options.text.examples == "questions":
    asked = [
      b"".join(records_lib.decode(records[int(number)])["questions/text"]).decode("utf-8", "replace") for number in kept
    ]
    return classification.answers(scores[kept], truth[kept], asked), None
  measure = classification.several_labels if label.multiple else classification.one_label
  return measure(scores[kept], truth[kept]), None


def _columns(records: records_lib.Records, numbers: np.ndarray, default_rate_hz: int) -> dict:
  """What the report shows of these records; read one by one, kept small."""
  columns = {name: [] for name in ("captions", "languages", "labels", "sources", "thumbnails", "waveforms")}
  rate = 0
  for number in numbers:
    row = records_lib.decode(records[int(number)])
    string = lambda key, row=row: (row[key] or [b""])[0].decode("utf-8", "replace")
    frames, own_rate = row["video/frames"], (row["audio/sample_rate_hz"] or [default_rate_hz])[0]
    rate = rate or (own_rate if len(row["audio/samples"]) else 0)
    columns["captions"].append(_middle_caption(row))
    columns["languages"].append(string("language"))
    columns["labels"].append(string("label"))
    columns["sources"].append(string("source"))
    columns["thumbnails"].append(frames[len(frames) // 2] if frames else b"")
    columns["waveforms"].append(_at_rate(row["audio/samples"][: SHOWN_SECONDS * own_rate], own_rate, rate or own_rate))
  return {**columns, "sample_rate_hz": int(rate or default_rate_hz)}


def _middle_caption(row: dict) -> str:
  """The caption that evaluation uses: the nearest to the clip's middle."""
  if not row["captions/text"]:
    return ""
  seconds = len(row["audio/samples"]) / max(1, (row["audio/sample_rate_hz"] or [1])[0])
  seconds = max([seconds + (row["audio/start_seconds"] or [0.0])[0], *row["video/timestamps"][-1:]])
  times = (np.asarray(row[f"captions/{end}"], float) for end in ("start", "end"))
  return row["captions/text"][int(nearest_captions(*times, seconds / 2, 1)[0])].decode("utf-8", "replace")


def _at_rate(samples: np.ndarray, own: int, rate: int) -> np.ndarray:
  """For a player that knows one rate; sets prepared in one go have one rate anyway."""
  if own == rate or not len(samples):
    return np.array(samples)  # A copy, so that the rest of a long record is freed.
  places = np.arange(int(len(samples) * rate / own)) * (own / rate)
  return np.interp(places, np.arange(len(samples)), samples).astype(np.int16)


SHOWN_SECONDS = 10  # of each sound, in the report
EVALUATORS = {"retrieval": retrieval, "matching": match, "classification": classify}
