"""VATT's contrast with two of ALPRO's objectives beside it, for video and for sound (ours).

Matching: does this caption belong to this picture, or this sound? Its negatives are drawn by similarity. Prompted entities:
what does a frozen teacher, another VATT that knows the prompts of entities, see or hear in the clip? ALPRO asks that of a
rectangle; here teacher and student look at the same patches, those that DropToken left.

Both go through a small head on the pooled outputs of two towers, so the towers stay VATT's and everything that takes a VATT
takes this one.
"""

from collections.abc import Mapping
import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp

from vatt_jax.losses import alpro as losses
from vatt_jax.losses.nce import masked_mean
from vatt_jax.models.alpro import unit
from vatt_jax.models.linear import Dense
from vatt_jax.objectives import vatt

MODALITIES = ("video", "audio")
HEADS, TEACHER = "pair_heads", ("params", "batch_stats", "frozen")


class PairHead(nn.Module):
  """A clip's modality and a caption, looked at together.

  Attributes:
    width: of the hidden layer.
    entities: how many; 0: none are asked for.
  """

  width: int
  entities: int

  @nn.compact
  def __call__(self, pooled: jax.Array, text: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    """(B, D) and (B, D') -> logits (B, 2), of which 1 means that they match, and logits (B, entities)."""
    left, right = Dense(self.width, name="clip")(pooled), Dense(self.width, name="text")(text)
    hidden = nn.LayerNorm(name="norm")(nn.gelu(left + right) + left * right)
    entities = Dense(self.entities, name="entities")(hidden) if self.entities else None
    return Dense(2, name="matching")(hidden), entities


@dataclasses.dataclass(frozen=True)
class VattPrompted(vatt.VattObjective):
  """VATT's loss, and weighted beside it matching and entities, each the mean over video and sound.

  Attributes:
    matching, entities: weights; 0 leaves a term out.
    known: how many entities the teacher knows.
    width: of the heads.
    label_filter, label_threshold: see `losses.alpro.keep_labels`.
    label_temperature: of the teacher's similarities.
  """

  matching: float = 0.0
  entities: float = 0.0
  known: int = 0
  width: int = 256
  label_filter: str = "paper"
  label_threshold: float = 0.2
  label_temperature: float = 0.07

  fresh = rf"^params/({HEADS}|contrast)(/|$)"

  def __post_init__(self):
    super().__post_init__()
    if self.kinds:
      raise ValueError("matching and entities take captions as they come: data.text.kinds is for the objective vatt")
    if self.label_filter not in losses.FILTERS:
      raise ValueError(f"label_filter {self.label_filter!r} is not one of {', '.join(losses.FILTERS)}")
    if self.entities and self.known < 2:
      raise ValueError("objective.entities needs a teacher: init_from is a place that `prompt` wrote")

  def init(self, rng: jax.Array, batch: dict[str, jax.Array]) -> dict:
    """Variables for batches with these shapes; the teacher's are zero until `init_from` brings them."""
    variables = super().init(rng, batch)
    out = jax.eval_shape(self.encode, variables, batch)
    blank = lambda name: jnp.zeros(out[f"{name}/pooled"].shape[::2] if name == "text" else out[f"{name}/pooled"].shape)
    keys = jax.random.split(jax.random.fold_in(rng, 1), len(MODALITIES))
    heads = {m: self._head.init(key, blank(m), blank("text"))["params"] for m, key in zip(MODALITIES, keys)}
    more = {}
    if self.entities:
      zeros = jax.tree.map(jnp.zeros_like, {name: variables[name] for name in TEACHER if name in variables})
      width = lambda m: out[self.spaces[m, "text"][0]].shape[-1]
      more["prompter"] = zeros | {f"{m}_prompts": jnp.zeros([self.known, width(m)]) for m in MODALITIES}
    return {**variables, **more, "params": {**variables["params"], HEADS: heads}}

  def loss(self, variables: dict, batch: dict, rng: jax.Array, train: bool) -> tuple[jax.Array, dict, dict]:
    """As of VATT, with `loss/matching_<modality>` and `loss/entities_<modality>`."""
    towers, *draws = jax.random.split(rng, 3)
    out, model_state = self._outputs(variables, batch, towers, train)
    total, metrics = self._contrast(out, batch, variables["params"].get("contrast", {}))
    labels = self.frozen(variables, batch) if self.entities else {}
    for modality, draw in zip(MODALITIES, draws):
      both = batch[f"{modality}/present"] & batch["text/present"]
      head = lambda clip, text, m=modality: self._head.apply({"params": variables["params"][HEADS][m]}, clip, text)
      pooled, text = out[f"{modality}/pooled"], out["text/pooled"][:, 0]
      logits, seen = head(pooled, text)
      if self.matching:
        value, right = self._match(head, logits, pooled, text, self._similarity(out, modality), both, draw)
        metrics |= {f"loss/matching_{modality}": value, f"train/matching_{modality}_accuracy": right}
        total += self.matching * value / len(MODALITIES)
      if self.entities:
        keep = losses.keep_labels(labels[modality], self.label_filter, self.label_threshold) & both
        value = losses.prompting_entities(seen, labels[modality], keep)
        kept = masked_mean(keep.astype(jnp.float32), both)
        metrics |= {f"loss/entities_{modality}": value, f"train/labels_kept_{modality}": kept}
        total += self.entities * value / len(MODALITIES)
    metrics["loss"] = total
    return total, metrics, {**{k: v for k, v in variables.items() if k != "params"}, **model_state}

  def frozen(self, variables: dict, batch: dict) -> dict[str, jax.Array]:
    """What the teacher sees and hears: modality -> probabilities (B, entities)."""
    if not self.entities:
      return {}
    teacher = variables["prompter"]
    inputs = {key: value for key, value in batch.items() if key.split("/")[0] in MODALITIES}
    out = self.model.apply({name: teacher[name] for name in TEACHER if name in teacher}, inputs, train=False)
    similarity = lambda m: unit(out[self.spaces[m, "text"][0]]) @ teacher[f"{m}_prompts"].T
    return {m: jax.nn.softmax(similarity(m) / self.label_temperature) for m in MODALITIES}

  def adopt(self, variables: dict) -> dict:
    """Another VATT's variables; one with prompts is the teacher and nothing else."""
    prompts = dict(variables.get("prompter", {}))
    if prompts and self.entities and "params" not in prompts:
      known = {f"{modality}_prompts": prompts[f"{modality}_prompts"] for modality in MODALITIES}
      return {"prompter": {name: variables[name] for name in TEACHER if name in variables} | known}
    kept = {name: value for name, value in variables.items() if name != "prompter" or self.entities}
    return super().adopt(kept)

  @property
  def _head(self) -> PairHead:
    return PairHead(self.width, self.known if self.entities else 0)

  def _similarity(self, out: Mapping[str, jax.Array], modality: str) -> jax.Array:
    """[clip, caption] (B, B), divided by the temperature that the pair starts with."""
    clip, text = (out[name] for name in self.spaces[modality, "text"])
    return unit(clip) @ unit(text[:, 0]).T / self.pairs[f"{modality}_text"].temperature

  def _match(self, head, logits, pooled, text, similarity, both, draw) -> tuple[jax.Array, jax.Array]:
    """The loss of each pair and its two negatives, and how often it is right."""
    keys = jax.random.split(draw)
    other_text, has_text = losses.hard_negatives(keys[0], similarity, both)
    other_clip, has_clip = losses.hard_negatives(keys[1], similarity.T, both)
    every = jnp.concatenate([logits, head(pooled, text[other_text])[0], head(pooled[other_clip], text)[0]])
    matches = jnp.repeat(jnp.array([True, False, False]), len(both))
    counts = jnp.concatenate([both, both & has_text, both & has_clip])
    right = (jnp.argmax(every, axis=-1) == 1) == matches
    return losses.video_text_matching(every, matches, counts), masked_mean(right.astype(jnp.float32), counts)


def inherit(config, source: dict | None) -> None:
  """The number of entities is that of the teacher that the run starts from."""
  if config.objective.entities and not config.objective.known and source:
    config.objective.known = source["objective"].get("known", 0)


def from_config(config, options, vocabulary_size: int) -> VattPrompted:
  """As of VATT; the objective's own fields are those of `VattPrompted`."""
  names = ("matching", "entities", "known", "width", "label_filter", "label_threshold", "label_temperature")
  own = {name: config.objective[name] for name in names}
  return vatt.from_config(config, options, vocabulary_size, kind=VattPrompted, **own)
