"""The index: names, times, modalities and embeddings of everything that was embedded, in one `.npz` file.

`names`, `start`, `end` (seconds) and `modality` have a row for each window and modality, those of a file in a row. An array
such as `video/va` has a row for each row of its modality: `names[modality == "video"][i]` is what `video/va`[i] is about.
`about` is a JSON string: `format`, `checkpoint`, `fingerprint` of its parameters, `clip_seconds`, and `sources` (name ->
what changes when the file does).
"""

import dataclasses
import io
import json
import zipfile

from etils import epath
import numpy as np

from vatt_jax import storage
from vatt_jax.errors import UserError
from vatt_jax.evaluation.embeddings import MODALITIES

FORMAT = 1
COLUMNS = ("names", "start", "end", "modality", "about")


@dataclasses.dataclass(frozen=True)
class Row:
  """One window as one modality, and its outputs: name -> float32 (E,)."""

  modality: str
  start: float
  end: float
  outputs: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Index:
  """What the file holds; see the top of this file.

  Attributes:
    about: how it was made.
    names, start, end, modality: (n,).
    embeddings: output -> float32 (rows of its modality, E).
  """

  about: dict
  names: np.ndarray
  start: np.ndarray
  end: np.ndarray
  modality: np.ndarray
  embeddings: dict[str, np.ndarray]

  def rows(self, modality: str) -> np.ndarray:
    """Numbers of the rows of a modality, int (m,): what row i of its embeddings is about."""
    return np.flatnonzero(self.modality == modality)

  def by_source(self) -> dict[str, list[Row]]:
    """The rows of every source."""
    found, seen = {name: [] for name in self.about["sources"]}, dict.fromkeys(MODALITIES, 0)
    for name, start, end, modality in zip(self.names, self.start, self.end, map(str, self.modality)):
      outputs = {k: v[seen[modality]] for k, v in self.embeddings.items() if k.startswith(f"{modality}/")}
      seen[modality] += 1
      found[str(name)].append(Row(modality, float(start), float(end), outputs))
    return found


def build(about: dict, sources: dict[str, list[Row]]) -> Index:
  """The index of the rows of all sources, in their order."""
  rows = [(name, row) for name, several in sources.items() for row in several]
  embeddings = {
    output: np.stack([row.outputs[output] for _, row in rows if row.modality == modality])
    for modality in MODALITIES
    for output in next((sorted(row.outputs) for _, row in rows if row.modality == modality), ())
  }
  return Index(
    about,
    np.array([name for name, _ in rows], str),
    np.array([row.start for _, row in rows], np.float64),
    np.array([row.end for _, row in rows], np.float64),
    np.array([row.modality for _, row in rows], str),
    embeddings,
  )


def save(path: epath.Path, index: Index) -> None:
  """Appears complete or not at all."""
  content = io.BytesIO()
  columns = {name: getattr(index, name) for name in COLUMNS[:-1]}
  np.savez(content, about=np.array(json.dumps(index.about)), **columns, **index.embeddings)
  storage.write(path, content.getvalue())


def load(path: epath.Path) -> Index:
  """Reads an index.

  Raises:
    UserError: where there is none, or something else.
  """
  try:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
      arrays = {name: file[name] for name in file.files}
    about = json.loads(str(arrays.pop("about")))
    columns = {name: arrays.pop(name) for name in COLUMNS[:-1]}
  except FileNotFoundError as error:
    raise UserError(
      f"there is no index {path}. Make one with `python -m vatt_jax.embed --checkpoint=PATH --output={path} MEDIA`."
    ) from error
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    raise UserError(f"{path} is no index that `python -m vatt_jax.embed --output` made.") from error
  if about["format"] != FORMAT:
    raise UserError(f"{path} has the format {about['format']}, and this program reads {FORMAT}: embed the media again.")
  return Index(about, **columns, embeddings=arrays)


def check_checkpoint(index: Index, fingerprint: str, path: epath.Path) -> None:
  """UserError where an index was made by another checkpoint: its embeddings mean something else."""
  if index.about["fingerprint"] != fingerprint:
    raise UserError(
      f"{path} was made by another checkpoint, {index.about['checkpoint']}: its parameters have the fingerprint "
      f"{index.about['fingerprint'][:12]}, those at hand {fingerprint[:12]}. Name that checkpoint, or embed the media again."
    )
