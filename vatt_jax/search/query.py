"""Search: what of an index is nearest to a sentence, a sound, a picture or a clip."""

from collections.abc import Sequence
import dataclasses
import os

import numpy as np

from vatt_jax.errors import UserError
from vatt_jax.evaluation.embeddings import MODALITIES, Spaces, meeting
from vatt_jax.evaluation.retrieval import cosine_similarity, unit_rows
from vatt_jax.preparation.units import Options
from vatt_jax.search import sources
from vatt_jax.search.encoder import Encoder
from vatt_jax.search.index import Index
from vatt_jax.search.sources import Source

Query = dict[str, np.ndarray]  # output ("text/vt") -> float32 (1, E)


@dataclasses.dataclass(frozen=True)
class Found:
  """One window of the index: by which modalities, where it stands among them (from 1), and the cosine; seconds."""

  source: str
  target: str
  rank: int
  cosine: float
  name: str
  start: float
  end: float


def embed(source: Source, encoder: Encoder, decoding: Options) -> Query:
  """The outputs of a query, by all modalities that it has: for media the mean of the unit vectors of their windows.

  Raises:
    UserError: where it cannot be read.
  """
  reading = sources.read(source, decoding, encoder.modalities)
  if not reading.windows:
    raise UserError(f"{source.name} cannot be searched for: {reading.rejected}.")
  query = {}
  for modality in encoder.modalities:
    features = [window.features for window in reading.windows if modality in window.modalities]
    if features:
      found = encoder(modality, features)
      query |= {output: unit_rows(values).mean(axis=0, keepdims=True) for output, values in found.items()}
  return query


def search(index: Index, query: Query, spaces: Spaces, targets: Sequence[str] = (), most: int = 10) -> list[Found]:
  """The windows nearest to a query, for each modality of the query and each of the index, nearest first.

  Two modalities are compared by the outputs with which evaluation compares them, one modality with itself by its
  `pooled` output, or where the model has none by that of a common space.

  Args:
    spaces: of the model, as objectives have it.
    targets: modalities to search in; none: all.
    most: results for each pair of modalities.

  Raises:
    UserError: where the query meets nothing in the index.
  """
  found = []
  asked = [modality for modality in MODALITIES if any(output.startswith(f"{modality}/") for output in query)]
  for source in asked:
    for target in targets or MODALITIES:
      outputs = _outputs(spaces, source, target, index)
      if outputs and outputs[0] in query and outputs[1] in index.embeddings:
        cosines = cosine_similarity(query[outputs[0]], index.embeddings[outputs[1]])[0]
        rows = index.rows(target)
        for rank, i in enumerate(np.argsort(-cosines, kind="stable")[:most], 1):
          row = rows[i]
          times = float(index.start[row]), float(index.end[row])
          found.append(Found(source, target, rank, float(cosines[i]), str(index.names[row]), *times))
  if not found:
    held = [modality for modality in MODALITIES if len(index.rows(modality))]
    raise UserError(
      f"{' and '.join(asked)} cannot be searched for in {', '.join(targets or MODALITIES)}: the index holds "
      f"{', '.join(held)}, and this model compares {', '.join(' with '.join(pair) for pair in spaces) or 'nothing'}."
    )
  return found


def _outputs(spaces: Spaces, source: str, target: str, index: Index) -> tuple[str, str] | None:
  if source != target:
    return meeting(spaces, source, target)
  own = [
    f"{source}/pooled",
    *(output for pair in spaces.values() for output in pair if output.startswith(f"{source}/")),
  ]
  return next(((output, output) for output in own if output in index.embeddings), None)


def table(found: Sequence[Found]) -> str:
  """The results as text, a block for each pair of modalities."""
  lines, before = [], None
  for each in found:
    if (each.source, each.target) != before:
      lines += [*([""] if lines else []), f"{each.source} → {each.target}", "rank  cosine  seconds          name"]
      before = each.source, each.target
    seconds = f"{each.start:.1f} - {each.end:.1f}" if each.end else ""
    lines.append(f"{each.rank:4d}  {each.cosine:6.3f}  {seconds:15s}  {printable(_shortest(each))}")
  return "\n".join(lines)


def _shortest(found: Found) -> str:
  return found.name if found.target == "text" else min(found.name, os.path.relpath(found.name), key=len)


def printable(name: str) -> str:
  """A name that can be written anywhere: file names need not be UTF-8."""
  return name.encode("utf-8", "backslashreplace").decode()
