"""How similar what belongs together is, and what does not: densities of cosines, with two numbers for each."""

from collections.abc import Sequence

import numpy as np

from vatt_jax.evaluation import retrieval
from vatt_jax.evaluation.embeddings import EmbeddedSet
from vatt_jax.evaluation.inside import Inside
from vatt_jax.evaluation.report import figures, page
from vatt_jax.evaluation.report.markup import Markup, join, tag


def similarity_section(sets: Sequence[EmbeddedSet], inside: Inside | None) -> Markup:
  """Of each set the densities of right and other pairs, and those of what enters an encoder that modalities share."""
  parts = [
    page.lead(
      "How similar two modalities of the same clip are (right pairs), and of different clips of the same language (other "
      "pairs), each scaled to the same area. The further the right pairs lie to the right of the others, the better. AUC "
      "is the chance that a right pair beats another one: 0.5 knows nothing, 1 is perfect. Overlap is the area that both "
      "share: 1 where they are the same, 0 where nothing is mistaken."
    )
  ]
  for embedded in sets:
    drawn = pair_densities(embedded)
    parts.append(tag("h3", f"Set “{embedded.name}”"))
    if drawn:
      parts += [tag("div", drawn, class_="figures"), pair_legend()]
    else:
      parts.append(page.missing("No two clips of one language share two modalities, so there are no pairs to compare."))
  if inside is not None and inside.shared:
    parts.append(_input_similarity(inside))
  return join(parts) if sets else page.missing("No set was evaluated, so there are no pairs to compare.")


def pair_densities(embedded: EmbeddedSet) -> list[Markup]:
  """A figure for each two modalities that meet, with AUC and overlap; none for those without pairs."""
  drawn = []
  for (source, target), outputs in embedded.spaces.items():
    rows, first, second = embedded.pair(source, target)
    picked = retrieval.compared(len(rows))
    named = join([tag("b", f"{source} – {target}"), tag("small", " – ".join(outputs))])
    drawn.append(_densities(first[picked], second[picked], embedded.languages_of(rows[picked]), named))
  return [each for each in drawn if each]


def _densities(first: np.ndarray, second: np.ndarray, groups: Sequence[str], named: Markup) -> Markup | None:
  """Right and other pairs of two modalities; None where there are none of either."""
  positives, negatives = retrieval.positives_and_negatives(first, second, groups)
  if not len(positives) or not len(negatives):
    return None
  area, shared = retrieval.area_under_curve(positives, negatives), retrieval.overlap(positives, negatives)
  caption = join([named, f"AUC {area:.3f}, overlap {shared:.2f}"])
  return figures.densities(positives, negatives, caption)


def _input_similarity(inside: Inside) -> Markup | None:
  """The same pairs before the encoder that all modalities share: what is there without it (VATT, figure 3)."""
  drawn = []
  for source, target in (("video", "audio"), ("video", "text"), ("audio", "text")):
    if {source, target} <= set(inside.inputs) and {source, target} <= set(inside.present):
      rows = np.flatnonzero(inside.present[source] & inside.present[target])
      centred = [
        inside.inputs[name][rows] - inside.inputs[name][rows].mean(axis=0) for name in (source, target) if len(rows)
      ]
      if len(rows):
        named = tag("b", f"{source} – {target}")
        drawn.append(
          _densities(*centred, np.asarray(inside.languages, object)[rows], join([named, tag("small", "what enters")]))
        )
  if not any(drawn):
    return None
  lead = page.lead(
    f"The same pairs on their way in, {len(inside)} clips of “{inside.split}”: the mean of the tokens that enter the "
    "shared encoder, each modality centred on its own mean. Here right and other pairs should lie on each other; what "
    "tells them apart above is the encoder's work."
  )
  return join([tag("h3", "Before the encoder"), lead, tag("div", drawn, class_="figures"), pair_legend()])


def pair_legend() -> Markup:
  """Of the densities."""
  shades = {"right pairs": page.colour(0), "other pairs": page.colour(None)}
  return page.legend([(figures.colour_swatch(shade), name) for name, shade in shades.items()])
