"""What evaluators look at: views of the records of a split, and features of them, kept between runs."""

from collections.abc import Callable
import dataclasses
import hashlib
import io
import os
import pathlib

import jax
import numpy as np
import tqdm

from vatt_jax.cache import cache_directory
from vatt_jax.data import pipeline, text
from vatt_jax.data.records import VERSION
from vatt_jax.data.text import Tokenizer
from vatt_jax.errors import UserError
from vatt_jax.evaluation import raw as raw_lib
from vatt_jax.evaluation.retrieval import NothingToCompare
from vatt_jax.training import processes
from vatt_jax.training.state import fingerprint

KEPT_FEATURES = 64  # files in the cache; the oldest make room


@dataclasses.dataclass(frozen=True)
class Setting:
  """What all evaluators of a run share.

  Attributes:
    encode: jitted, (variables, batch) -> outputs.
    spaces: which outputs meet, as objectives have it.
    directory, options, tokenizer: the data set and how it is read.
    place: puts a host batch onto devices, from each process its own rows.
    part: (h, n): this process decodes rows [h * B / n, (h + 1) * B / n) of every batch.
    gather: host arrays that have these rows right -> the same with all rows, in every process; all processes call it.
    model: what it is beside its weights, in words that differ where it does.
    tokens, match: of models that look at video and text together: jitted, as in `objectives.alpro`.
    look: what all parts of such a model say, (variables, batch, seed) -> outputs, as in `objectives.alpro`.
    entities: names of what its teacher knows, in the order of its probabilities.
    temperatures: variables -> what cosines are divided by in training, for those of `spaces` that have it.
  """

  encode: Callable[[dict, dict], dict]
  spaces: dict
  directory: str
  options: pipeline.InputOptions
  tokenizer: Tokenizer | None
  place: Callable[[dict], dict] = lambda batch: batch
  part: tuple[int, int] = (0, 1)
  gather: Callable[[dict], dict] = lambda batch: batch
  model: str = ""
  tokens: Callable[[dict, dict], dict] | None = None
  match: Callable[[dict, dict], jax.Array] | None = None
  look: Callable[[dict, dict, int], dict] | None = None
  entities: tuple[str, ...] = ()
  temperatures: Callable[[dict], dict] = lambda variables: {}


class Views:
  """Every view of every record: `windows` times spread from start to end, and `crops` squares of the picture each.

  Iterating gives (rows, batch): numbers of the records that are new in the batch, and the host batch. In several processes
  each decodes its own rows: patches and positions of the others are zeros, and only what is small is whole everywhere.

  Args:
    records: of a split.
    setting: says how they are read.
    batch_size: of the host batches; of all processes together.
    windows, crops: one lies in the middle.
    description: of the progress bar.
    progress: whether there is one.

  Attributes:
    count: of views.
    broken: numbers of records that could not be read in some view, known when the iteration is over.
    records, options, batch_size, progress: as given; who wants less of a record narrows `options`.
    places: (window, crop) of each view, from 0 to 1.
    bar: what tqdm is to do with a bar of this evaluation.
  """

  def __init__(
    self, records, setting: Setting, batch_size: int, *, windows: int = 1, crops: int = 1, description: str = "",
    progress: bool = False,
  ):  # fmt: skip
    spread = lambda n: np.linspace(0.0, 1.0, n) if n > 1 else np.array([0.5])
    self.places = [(float(w), float(c)) for c in spread(crops) for w in spread(windows)]
    self.records, self.options, self.batch_size = records, setting.options, batch_size
    self._setting, self.progress = setting, progress
    self._description, self.bar = description, dict(leave=False, disable=None if progress else True)
    self.count = len(self.places)
    self.broken: set[int] = set()

  def __iter__(self):
    total, (host, hosts) = len(self.records), self._setting.part
    with tqdm.tqdm(total=self.count * total, desc=self._description, unit="clip", **self.bar) as bar:
      for offset, crop_place in self.places:
        batches = pipeline.evaluation_batches(
          self.records, self.batch_size, self.options, self._setting.tokenizer, offset=offset, crop_place=crop_place,
          host=host, hosts=hosts, on_broken=lambda number, _: self.broken.add(number),
        )  # fmt: skip
        for i, batch in enumerate(batches):
          rows = np.arange(i * self.batch_size, min((i + 1) * self.batch_size, total))
          batch.pop("valid")  # Rows of broken records are taken out at the end: views may differ in what is readable.
          yield rows, self._of_all(batch)
          bar.update(len(rows))
    self.broken = set(np.flatnonzero(processes.in_any(np.isin(np.arange(total), list(self.broken)))).tolist())

  def _of_all(self, own: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A batch from this process's rows of it."""
    host, hosts = self._setting.part
    if hosts == 1:
      return own
    others = lambda value, count: np.zeros([count * len(value), *value.shape[1:]], value.dtype)
    after = hosts - host - 1
    batch = {name: np.concatenate([others(v, host), v, others(v, after)]) for name, v in own.items()}
    large = lambda name: name.endswith(("/patches", "/positions"))
    return batch | self._setting.gather({name: value for name, value in batch.items() if not large(name)})

  def readable(self) -> np.ndarray:
    """Numbers of the records that every view could read."""
    return np.array([i for i in range(len(self.records)) if i not in self.broken], int)


def middle_caption(row: dict, kind: str = "") -> str:
  """The caption that evaluation uses of a decoded record: the nearest to the clip's middle; "" where there is none.

  Args:
    kind: of captions, "" for any.
  """
  seconds = len(row["audio/samples"]) / max(1, (row["audio/sample_rate_hz"] or [1])[0])
  seconds = max([seconds + (row["audio/start_seconds"] or [0.0])[0], *row["video/timestamps"][-1:]])
  times = (np.asarray(row[f"captions/{end}"], float) for end in ("start", "end"))
  kinds = [each.decode("utf-8", "replace") for each in row["captions/kind"]]
  options = text.TextOptions(kinds=(kind,) if kind else ())
  (chosen,) = text.nearest_of_kinds(*times, kinds, seconds / 2, options)
  return row["captions/text"][chosen[0]].decode("utf-8", "replace") if len(chosen) else ""


def features(views: Views, setting: Setting, variables: dict, output: str) -> tuple[np.ndarray, np.ndarray]:
  """One output of the encoders for every view of every record, from the cache where they were computed before.

  Only the modality of the output is read and encoded. The cache knows features by the weights, the data set, the split,
  the views and how clips are read; files lie in `cache_directory()/features`.

  Args:
    output: such as "video/pooled"; "video/raw" and "audio/raw" are what `evaluation.raw` tells without the encoders.

  Returns:
    float32 (n, V, D), and bool (n,): whether every view of the record could be read and the modality exists.

  Raises:
    NothingToCompare: where the model does not read this modality.
    UserError: where it has no such output.
  """
  modality = output.split("/")[0]
  if modality not in ("video", "audio") or getattr(setting.options, modality) is None:
    raise NothingToCompare(f"there are no features {output!r} of clips: this model reads no {modality}.")
  views.options = pipeline.InputOptions(**{modality: getattr(setting.options, modality)})
  path = cache_directory() / "features" / f"{_identity(views, setting, variables, output)}.npz"
  if processes.all_agree(path.exists()):  # Encoding takes all processes, or none.
    with np.load(path) as kept:
      views.broken |= set(kept["broken"].tolist())
      return kept["values"], kept["usable"]
  values, usable = _encode(views, setting, variables, output)
  _keep(path, values=values, usable=usable, broken=np.array(sorted(views.broken), int))
  return values, usable


def _encode(views, setting, variables, output):
  values, usable, done = None, np.ones([len(views.records)], bool), np.zeros([len(views.records)], int)
  modality, what = output.split("/")
  for rows, batch in views:
    if what == "raw":
      out = setting.gather({output: raw_lib.raw(modality, batch, views.options)})
    else:
      out = setting.encode(variables, setting.place(batch))
    if output not in out:
      raise UserError(f"there are no features {output!r}: this model has {', '.join(sorted(out))}.")
    value = np.asarray(jax.device_get(out[output]), np.float32)
    if values is None:
      values = np.zeros([len(views.records), views.count, *value.shape[1:]], np.float32)
    values[rows, done[rows]] = value[: len(rows)]
    usable[rows] &= batch[f"{modality}/present"][: len(rows)]
    done[rows] += 1
  usable[sorted(views.broken)] = False
  return values, usable


def _identity(views, setting, variables, output) -> str:
  """Of everything that decides what the features are, but for this program."""
  parts = [fingerprint(variables), setting.model, repr(views.options), views.records.split, repr(views.places), output]
  home = pathlib.Path(views.records.directory)
  files = [home / "preparation.json", home / "clips" / VERSION / "dataset_info.json"]
  parts += [file.read_text() for file in files if file.exists()]
  return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _keep(path: pathlib.Path, **arrays: np.ndarray) -> None:
  content = io.BytesIO()
  np.savez(content, **arrays)
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # Several processes may share a host.
  try:
    partial.write_bytes(content.getvalue())
    partial.replace(path)
  except OSError:  # A full disk: the next run computes them again.
    partial.unlink(missing_ok=True)
  files = sorted(path.parent.glob("*.npz"), key=lambda file: file.stat().st_mtime)
  for old in files[:-KEPT_FEATURES]:
    old.unlink(missing_ok=True)
