"""Evaluators: what `config.evaluators` names, run on a model's variables over one split of a data set."""

from collections.abc import Callable
import dataclasses

import jax
import numpy as np
import tqdm

from vatt_jax.data import pipeline, records as records_lib
from vatt_jax.data.text import nearest_captions
from vatt_jax.errors import UserError
from vatt_jax.evaluation.embeddings import MODALITIES, EmbeddedSet
from vatt_jax.evaluation.retrieval import evaluate_set


@dataclasses.dataclass(frozen=True)
class Result:
  """What one evaluator found: flat metrics `eval/<set>/...`, and the embeddings for the report."""

  metrics: dict[str, float]
  embedded: EmbeddedSet


def run(
    name: str, config, batch_size: int, encode: Callable[[dict, dict], dict], variables: dict, spaces: dict, directory: str,
    options: pipeline.InputOptions, tokenizer, *, place=lambda batch: batch, progress: bool = False,
) -> Result:  # fmt: skip
  """Runs the evaluator `config.evaluators[name]`.

  Args:
    name: becomes `<set>` in the metric names.
    config: of this evaluator: kind, split, windows.
    batch_size: a multiple of the devices that share a batch.
    encode: jitted, (variables, batch) -> outputs.
    spaces: which outputs meet, as objectives have it.
    directory, options, tokenizer: the data set and how it is read.
    place: puts a host batch onto devices.

  Raises:
    UserError: for a split that does not exist, an unknown kind, or a set in which nothing can be compared.
  """
  if config.kind not in EVALUATORS:
    raise UserError(f"config.evaluators.{name}.kind = {config.kind!r} is not one of {', '.join(EVALUATORS)}.")
  records = records_lib.Records(directory, config.split)
  embedded, broken = embed(
    name, records, encode, variables, spaces, options, tokenizer, config.windows, batch_size, place, progress
  )
  metrics = {f"eval/{name}/{key}": value for key, value in EVALUATORS[config.kind](embedded).items()}
  if broken:
    metrics[f"eval/{name}/broken_records"] = float(broken)
  return Result(metrics, embedded)


def embed(
    name: str, records: records_lib.Records, encode, variables, spaces, options, tokenizer, windows: int, batch_size: int,
    place, progress: bool,
) -> tuple[EmbeddedSet, int]:  # fmt: skip
  """Embeds a split; with several windows their outputs are averaged, equally spaced from start to end.

  Returns:
    The set without its broken records, and how many those were.
  """
  offsets = np.linspace(0.0, 1.0, windows) if windows > 1 else [0.5]
  sums: dict[str, np.ndarray] = {}
  present: dict[str, np.ndarray] = {}
  broken: set[int] = set()
  bar = tqdm.tqdm(
    total=windows * len(records), desc=f"evaluating {name}", unit="clip", leave=False, disable=not progress
  )
  for offset in offsets:
    pieces: dict[str, list[np.ndarray]] = {}
    batches = pipeline.evaluation_batches(
      records, batch_size, options, tokenizer, offset=offset, on_broken=lambda number, _: broken.add(number)
    )
    for batch in batches:
      first = sum(len(part) for part in pieces.get("video/present", ()))
      rows_left = len(records) - first
      batch.pop("valid")  # Rows of broken records are taken out at the end: windows may differ in what is readable.
      out = jax.device_get(encode(variables, place(batch)))
      out |= {f"{modality}/present": batch[f"{modality}/present"] for modality in MODALITIES}
      for key, value in out.items():
        value = value[:, 0] if key.startswith("text/") and value.ndim == 3 else value
        pieces.setdefault(key, []).append(value[:rows_left])
      bar.update(min(rows_left, batch_size))
    for key, parts in pieces.items():
      value = np.concatenate(parts)
      if key.endswith("/present"):
        present[key.split("/")[0]] = value
      else:
        sums[key] = sums.get(key, 0.0) + value / windows
  bar.close()
  readable = np.array([i not in broken for i in range(len(records))], bool)
  columns = _columns(records, np.flatnonzero(readable), options.audio.sample_rate_hz)
  embedded = EmbeddedSet(
    name=name,
    embeddings={key: value[readable] for key, value in sums.items()},
    present={key: value[readable] for key, value in present.items()},
    spaces=spaces,
    **columns,
  )
  return embedded, len(broken)


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
EVALUATORS = {"retrieval": evaluate_set}
