"""Maps: embeddings on a plane, what goes into the encoders and what comes out of them."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from vatt_jax.data.label import SEPARATOR
from vatt_jax.evaluation import projection, retrieval
from vatt_jax.evaluation.classification import ClassifiedSet
from vatt_jax.evaluation.embeddings import MODALITIES, EmbeddedSet
from vatt_jax.evaluation.inside import Inside
from vatt_jax.evaluation.report import figures, page
from vatt_jax.evaluation.report.markup import Markup, join, tag

_CLIPS = 300


def map_section(sets: Sequence[EmbeddedSet], classified: Sequence[ClassifiedSet], inside: Inside | None) -> Markup:
  """The spaces where modalities meet, the features of classifiers, and the way through the encoders."""
  parts = [
    page.lead(
      "Every mark is one embedding, its shape the modality, its colour the category of the clip; hover over it to read "
      "its caption and to see lines to the same clip in other modalities. Marks that are close are alike for the "
      "encoders: good encoders put categories in groups and a clip's modalities side by side. The axes, and distances "
      "between far groups, mean nothing (t-SNE; each modality is centred on its own mean first)."
    )
  ]
  parts += [_embedded(embedded) for embedded in sets]
  parts += [_classified(each) for each in _with_own_features(classified)]
  parts.append(_through(inside) if inside is not None and len(inside) else None)
  return join(parts) if any(parts[1:]) else page.missing("No set was evaluated, so there is nothing to draw.")


def space_maps(embedded: EmbeddedSet) -> tuple[list[Markup], Markup]:
  """A map for each space where modalities meet, where there are two embeddings at least, and their legend."""
  clips = _Clips(embedded.captions, embedded.languages, embedded.labels)
  maps = []
  for space in common_spaces(embedded):
    values = {modality: embedded.embeddings[output] for output, modality in space.items()}
    caption = join([tag("b", " – ".join(space.values())), tag("small", " – ".join(space))])
    maps.append(clips.map(values, embedded.present, caption))
  return [each for each in maps if each], clips.legend(embedded.present)


def _embedded(embedded: EmbeddedSet) -> Markup:
  maps, legend = space_maps(embedded)
  title = tag("h3", f"Set “{embedded.name}”")
  if not any(maps):
    return join(
      [title, page.missing(f"The set “{embedded.name}” has fewer than two embeddings in a space, so no map.")]
    )
  return join([title, tag("div", maps, legend, class_="maps")])


def _with_own_features(classified: Sequence[ClassifiedSet]) -> list[ClassifiedSet]:
  """Without those that stand on the same features as one before: several probes of one encoder have one map."""
  same = lambda a, b: a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)
  found: list[ClassifiedSet] = []
  for each in classified:
    if each.features and not any(same(each.features, other.features) for other in found):
      found.append(each)
  return found


def feature_maps(classified: ClassifiedSet) -> tuple[list[Markup], Markup]:
  """A map of each of its features, where there are two clips at least, and their legend.

  Coloured by the right class; of several labels the first counts.
  """
  own = lambda row: np.argmax(row) if row.any() else -1
  numbers = [own(row) for row in classified.labels] if classified.several else classified.labels
  name = lambda number: str(classified.classes[number]) if number >= 0 else ""
  said = [name(number) for number in np.argmax(classified.scores, axis=1)] if len(numbers) else []
  labels = [name(number) for number in numbers]
  clips = _Clips([f"taken for {each}" for each in said], [""] * len(labels), labels)
  maps, present = [], {}
  for output, values in classified.features.items():
    modality = output.split("/")[0]
    present[modality] = np.ones(len(labels), bool)
    caption = join([tag("b", output), tag("small", "what the classifier stands on; colours are the right classes")])
    maps.append(clips.map({modality: values}, present, caption))
  return [each for each in maps if each], clips.legend(present)


def _classified(classified: ClassifiedSet) -> Markup:
  found, legend = feature_maps(classified)
  return join([tag("h3", f"Features of “{classified.name}”"), tag("div", found, legend, class_="maps")])


def inside_maps(inside: Inside) -> tuple[list[Markup], Markup]:
  """Maps of what enters an encoder and of what leaves it, by turns, and their legend."""
  clips = _Clips(inside.captions, inside.languages, inside.labels)
  names = [name for name in MODALITIES if name in inside.inputs]
  groups = [names] if inside.shared else [[name] for name in names]
  maps = []
  for names in groups:
    for values, what in ((inside.inputs, "what enters"), (inside.outputs, "what leaves")):
      caption = join([tag("b", " – ".join(names)), tag("small", f"{what} the {'shared ' * inside.shared}encoder")])
      maps.append(clips.map({name: values[name] for name in names}, inside.present, caption))
  return maps, clips.legend(inside.present)


def _through(inside: Inside) -> Markup:
  found, legend = inside_maps(inside)
  lead = page.lead(
    f"{len(inside)} clips of “{inside.split}”: on the left the mean of the tokens that enter the encoder, on the right "
    "what it makes of them. On the left clips lie by how they look or sound; categories that come together on the right "
    "are the encoder's work."
  )
  title = tag("h3", "Into the encoder and out of it")
  return join([title, lead, tag("div", found, class_="maps two"), legend])


class _Clips:
  """What maps of one set of clips share: words to hover over, and a colour for each of the frequent categories."""

  def __init__(self, captions: Sequence[str], languages: Sequence[str], labels: Sequence[str]):
    self._captions, self._languages = captions, languages
    self._labels = [label.split(SEPARATOR)[0] for label in labels]
    self._shades = {label: page.colour(i) for i, label in enumerate(_common(self._labels))}

  def map(self, values: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray], caption: Markup) -> Markup | None:
    """Modality -> (n, E), all of one width, on one map; None where there are fewer than two embeddings."""
    places, owners = [], []
    clips = np.sort(np.random.default_rng(0).permutation(len(self._labels))[:_CLIPS])
    for modality, rows in values.items():
      unit = retrieval.unit_rows(np.asarray(rows)[clips])
      there = np.asarray(present.get(modality, np.zeros(len(self._labels))), bool)[clips]
      there &= np.isfinite(unit).all(axis=1)
      if there.any():
        # Centred, or the first thing to see were the gap between modalities, which retrieval does not feel.
        places.append(unit[there] - unit[there].mean(axis=0))
        owners += [(int(clip), modality) for clip in clips[there]]
    if len(owners) < 2:
      return None
    layout = projection.tsne(np.concatenate(places))
    marks = [self._mark(clip, modality, place) for (clip, modality), place in zip(owners, layout)]
    return figures.embedding_map(marks, caption)

  def legend(self, present: Mapping[str, np.ndarray]) -> Markup:
    shapes = [(figures.mark_swatch(name), name) for name in MODALITIES if np.any(present.get(name, False))]
    others = [(figures.colour_swatch(page.colour(None)), "other categories" if self._shades else "no category")]
    colours = [(figures.colour_swatch(shade), page.shorten(label, 40)) for label, shade in self._shades.items()]
    others = others if len(set(self._labels)) > len(self._shades) else []
    return tag("div", page.legend(shapes), page.legend([*colours, *others]))

  def _mark(self, clip: int, modality: str, place: np.ndarray) -> figures.Mark:
    words = [modality, self._languages[clip], page.shorten(self._captions[clip], 80), self._labels[clip]]
    shade = self._shades.get(self._labels[clip], page.colour(None))
    return figures.Mark(clip, *place, modality, shade, " · ".join(word for word in words if word))


def common_spaces(embedded: EmbeddedSet) -> list[dict[str, str]]:
  """The outputs that are compared with each other, directly or by way of a third: one {output: modality} each."""
  spaces: list[dict[str, str]] = []
  for modalities, outputs in embedded.spaces.items():
    joined, apart = dict(zip(outputs, modalities)), []
    for space in spaces:
      if space.keys() & joined.keys():
        joined = space | joined
      else:
        apart.append(space)
    spaces = [*apart, joined]
  return spaces


def _common(labels: Sequence[str]) -> list[str]:
  """The most frequent labels, as many as there are colours; equal counts in alphabetical order."""
  counts = Counter(label for label in labels if label)
  return [label for label, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: page.COLOURS]]
