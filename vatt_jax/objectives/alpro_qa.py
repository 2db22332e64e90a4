"""Open-ended questions about videos: the fused class token says which of a list of answers (ALPRO, section 4.1).

The clip's caption is the question, its label the answer.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp
import optax

from vatt_jax.losses.nce import masked_mean
from vatt_jax.models.alpro import Alpro
from vatt_jax.objectives import alpro

TRAINED = ("all", "official")
# What the published code leaves as it was: its hand-made gradient checkpoint gives these weights no gradient.
UNTRAINED = re.compile(r"^video/layer_\d+/(temporal_attention|attention|feed_forward_in|feed_forward_out)/")


@dataclasses.dataclass(frozen=True)
class AlproAnswers(alpro.AlproEncoders):
  """Cross-entropy over the answers.

  Attributes:
    model: with the part "qa".
    trained: "all", or "official": without the video encoder's attention and MLPs.
  """

  model: Alpro
  trained: str = "all"

  batch_keys = (*alpro.AlproObjective.batch_keys, "label")

  def __post_init__(self):
    if self.trained not in TRAINED:
      raise ValueError(f"trained {self.trained!r} is not one of {', '.join(TRAINED)}")

  def loss(self, variables: dict, batch: dict, rng: jax.Array, train: bool) -> tuple[jax.Array, dict, dict]:
    """Scalar loss, metrics and the unchanged model state; questions without an answer of the list are left out."""
    params = variables["params"]
    if self.trained == "official":
      still = lambda path, x: jax.lax.stop_gradient(x) if UNTRAINED.match(_name(path)) else x
      params = jax.tree_util.tree_map_with_path(still, params)
    logits = self.model.apply({"params": params}, batch, train=train, rngs={"dropout": rng})["qa"]
    labels = batch["label"]
    present = batch["video/present"] & batch["text/present"] & (labels >= 0)
    rows = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
    loss = masked_mean(rows, present)
    right = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    metrics = {"loss": loss, "train/top_1": masked_mean(right, present)}
    return loss, metrics, {k: v for k, v in variables.items() if k != "params"}

  def encode(self, variables: dict, batch: dict) -> dict[str, jax.Array]:
    """`logits` (B, answers), in inference mode."""
    return {"logits": self.answer(variables, batch)}


def _name(path) -> str:
  return "/".join(str(part.key) for part in path)


inherit = alpro.inherit


def from_config(config, options, vocabulary_size: int) -> AlproAnswers:
  """Builds the model from `config.model` and the input options; the answers are the labels."""
  if not (options.video and options.text and options.label):
    raise ValueError("config.data needs video, text and label")
  if options.label.multiple or options.label.classes < 2:
    raise ValueError(
      f"there are {options.label.classes} answers: the data set has no questions, or config.data.label.classes is not given"
    )
  # The published files carry the heads of pretraining on; a model trained here does not.
  parts = ("vtc", "vtm", "qa") if config.objective.other_heads else ("qa",)
  model = alpro.build_model(config, options, vocabulary_size, parts, options.label.classes)
  return AlproAnswers(model, config.objective.trained)
