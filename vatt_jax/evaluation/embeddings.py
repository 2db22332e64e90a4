"""What passes from the encoders to the metrics and the report: one evaluation set, embedded."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses

import numpy as np

MODALITIES = ("video", "audio", "text")
DIRECTIONS = tuple((source, target) for source in MODALITIES for target in MODALITIES if source != target)


Spaces = Mapping[tuple[str, str], tuple[str, str]]


def meeting(spaces: Spaces, source: str, target: str) -> tuple[str, str] | None:
  """The outputs that stand for two modalities where they meet, (source's, target's); None if they do not meet.

  Args:
    spaces: one entry for each unordered pair, such as ("video", "text") -> ("video/vt", "text/vt").
  """
  if (source, target) in spaces:
    return spaces[source, target]
  if (target, source) in spaces:
    return spaces[target, source][::-1]
  return None


@dataclasses.dataclass(frozen=True)
class EmbeddedSet:
  """One evaluation set after the encoders; row i of everything belongs to clip i.

  Attributes:
    name: the evaluator's key in the config, such as "test"; it becomes `<set>` in metric names.
    embeddings: encoder output ("video/vt", "text/vt", ...) -> float32 (n, E), unnormalised. What stands in rows whose
      modality is absent does not matter.
    present: modality ("video", "audio", "text") -> bool (n,). A modality without an entry is absent everywhere.
    spaces: two modalities -> the two outputs that are compared, in the same order; one entry for each unordered pair,
      such as ("video", "text") -> ("video/vt", "text/vt").
    captions: n strings, "" where there is none.
    languages: n language codes; rows are only ever compared within one language.
    labels: n category names, "" where there is none.
    sources: n names of the media that the clips come from.
    thumbnails: n JPEG files, b"" where there is no picture.
    waveforms: n int16 (samples,) mono, empty where there is no sound.
    sample_rate_hz: of the waveforms.
    temperatures: two modalities, as in `spaces` -> what cosines are divided by where these two are compared in training.

  Raises:
    ValueError: two parts disagree about the number of clips, or `spaces` names an output or a modality that is not
      there.
  """

  name: str
  embeddings: Mapping[str, np.ndarray]
  present: Mapping[str, np.ndarray]
  spaces: Spaces
  captions: Sequence[str]
  languages: Sequence[str]
  labels: Sequence[str]
  sources: Sequence[str]
  thumbnails: Sequence[bytes]
  waveforms: Sequence[np.ndarray]
  sample_rate_hz: int
  temperatures: Mapping[tuple[str, str], float] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    columns = {field: getattr(self, field) for field in ("languages", "labels", "sources", "thumbnails", "waveforms")}
    for name, column in {**self.embeddings, **self.present, **columns}.items():
      if len(column) != len(self):
        raise ValueError(f"Set '{self.name}': '{name}' has {len(column)} rows, but there are {len(self)} captions.")
    for modalities, outputs in self.spaces.items():
      unknown = set(modalities) - set(MODALITIES) or set(outputs) - set(self.embeddings)
      if unknown or len(set(modalities)) != 2:
        raise ValueError(
          f"Set '{self.name}': the space {modalities} -> {outputs} must join two of the modalities {MODALITIES} by two "
          f"of the outputs {tuple(self.embeddings)}."
        )

  def __len__(self) -> int:
    return len(self.captions)

  def outputs(self, source: str, target: str) -> tuple[str, str] | None:
    """The outputs that stand for two modalities where they meet, (source's, target's); None if they do not meet."""
    return meeting(self.spaces, source, target)

  def rows(self, source: str, target: str) -> np.ndarray:
    """Indices of the clips that have both modalities, int (m,), ascending; empty if the two do not meet."""
    if self.outputs(source, target) is None or not {source, target} <= set(self.present):
      return np.zeros(0, np.int64)
    return np.flatnonzero(np.asarray(self.present[source], bool) & np.asarray(self.present[target], bool))

  def pair(self, source: str, target: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows that have both modalities (m,), and the embeddings of both, (m, E) each; see `directions`."""
    rows = self.rows(source, target)
    source_output, target_output = self.outputs(source, target)
    return rows, np.asarray(self.embeddings[source_output])[rows], np.asarray(self.embeddings[target_output])[rows]

  def directions(self) -> Iterator[tuple[str, str]]:
    """(source, target) of every retrieval direction that at least one clip can take part in."""
    return (direction for direction in DIRECTIONS if len(self.rows(*direction)))

  def languages_of(self, rows: np.ndarray) -> np.ndarray:
    """The languages of some rows, (m,) strings."""
    return np.asarray(self.languages, dtype=object)[rows]
