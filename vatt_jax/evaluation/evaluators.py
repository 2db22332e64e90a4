"""Evaluators: what `config.evaluators` names, run on a model's variables over one split of a data set."""

from collections.abc import Callable
import dataclasses

import jax
import numpy as np
import tqdm

from vatt_jax.data import pipeline, records as records_lib
from vatt_jax.errors import UserError
from vatt_jax.evaluation.embeddings import MODALITIES, EmbeddedSet
from vatt_jax.evaluation.retrieval import evaluate_set


@dataclasses.dataclass(frozen=True)
class Result:
  """What one evaluator found: flat metrics `eval/<set>/...`, and the embeddings for the report."""

  metrics: dict[str, float]
  embedded: EmbeddedSet


def run(
    name: str, config, encode: Callable[[dict, dict], dict], variables: dict, spaces: dict, directory: str,
    options: pipeline.InputOptions, tokenizer, *, place=lambda batch: batch, progress: bool = False,
) -> Result:  # fmt: skip
  """Runs the evaluator `config.evaluators[name]`.

  Args:
    name: becomes `<set>` in the metric names.
    config: of this evaluator: kind, split, windows, batch_size.
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
    name, records, encode, variables, spaces, options, tokenizer, config.windows, config.batch_size, place, progress
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
      valid = batch.pop("valid")
      out = jax.device_get(encode(variables, place(batch)))
      out |= {f"{modality}/present": batch[f"{modality}/present"] for modality in MODALITIES}
      for key, value in out.items():
        value = value[:, 0] if key.startswith("text/") and value.ndim == 3 else value
        pieces.setdefault(key, []).append(value[valid])
      bar.update(int(valid.sum()))
    for key, parts in pieces.items():
      value = np.concatenate(parts)
      if key.endswith("/present"):
        present[key.split("/")[0]] = value
      else:
        sums[key] = sums.get(key, 0.0) + value / windows
  bar.close()
  rows = [records_lib.decode(records[i]) for i in range(len(records)) if i not in broken]
  string = lambda row, key: (row[key] or [b""])[0].decode("utf-8", "replace")
  rate = max(
    (row["audio/sample_rate_hz"][0] for row in rows if len(row["audio/samples"])), default=options.audio.sample_rate_hz
  )
  embedded = EmbeddedSet(
    name=name,
    embeddings=sums,
    present=present,
    spaces=spaces,
    captions=[string(row, "captions/text") for row in rows],
    languages=[string(row, "language") for row in rows],
    labels=[string(row, "label") for row in rows],
    sources=[string(row, "source") for row in rows],
    thumbnails=[frames[len(frames) // 2] if (frames := row["video/frames"]) else b"" for row in rows],
    waveforms=[_at_rate(row, rate) for row in rows],
    sample_rate_hz=int(rate),
  )
  return embedded, len(broken)


def _at_rate(row: dict, rate: int) -> np.ndarray:
  """The samples of a record for a player that knows one rate; sets prepared in one go have one rate anyway."""
  samples, own = row["audio/samples"], (row["audio/sample_rate_hz"] or [rate])[0]
  if own == rate or not len(samples):
    return samples
  places = np.arange(int(len(samples) * rate / own)) * (own / rate)
  return np.interp(places, np.arange(len(samples)), samples).astype(np.int16)


EVALUATORS = {"retrieval": evaluate_set}
