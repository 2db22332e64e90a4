"""Captions of videos, written word by word: ALPRO's encoders and fusion layers under a causal mask.

Training predicts each token of a caption from the tokens before it and the video (cross-entropy, all places in one pass);
writing takes the likeliest token, one place after the other. The head is that of masked words, so that a model pretrained
with the term `mlm` brings all of it.
"""

import dataclasses

import jax
import jax.numpy as jnp

from vatt_jax.losses import alpro as losses
from vatt_jax.losses.nce import masked_mean
from vatt_jax.models.alpro import Alpro
from vatt_jax.objectives import alpro


@dataclasses.dataclass(frozen=True)
class Captioning(alpro.AlproEncoders):
  """Cross-entropy of the next token.

  Attributes:
    model: causal, with the part "mlm".
    length: L, most tokens of a caption that is written, [CLS] and [SEP] among them.
    begin_id, end_id: of [CLS] and [SEP]; negative ones count from the end of the vocabulary: -3 and -2 of a data set's own.
  """

  model: Alpro
  length: int
  begin_id: int = 101
  end_id: int = 102

  batch_keys = alpro.AlproObjective.batch_keys

  def loss(self, variables: dict, batch: dict, rng: jax.Array, train: bool) -> tuple[jax.Array, dict, dict]:
    """Scalar loss, metrics and the unchanged model state; padding and clips that lack video or text are left out."""
    logits_BLV = self.model.apply({"params": variables["params"]}, batch, train=train, rngs={"dropout": rng})["mlm"]
    present = batch["video/present"] & batch["text/present"]
    next_BL, counts_BL = batch["text/ids"][:, 0, 1:], batch["text/mask"][:, 0, 1:] & present[:, None]
    logits_BLV = logits_BLV[:, :-1]  # Nothing follows the last token.
    loss = losses.masked_language(logits_BLV, next_BL, counts_BL)
    right_BL = (jnp.argmax(logits_BLV, axis=-1) == next_BL).astype(jnp.float32)
    metrics = {"loss": loss, "train/token_accuracy": masked_mean(right_BL.reshape(-1), counts_BL.reshape(-1))}
    return loss, metrics, {k: v for k, v in variables.items() if k != "params"}

  def encode(self, variables: dict, batch: dict) -> dict[str, jax.Array]:
    """`captions` (B, L), as `generate` writes them; nothing of a batch without video."""
    return {"captions": self.generate(variables, batch)} if "video/patches" in batch else {}

  def generate(self, variables: dict, batch: dict) -> jax.Array:
    """Captions of `video/patches`, greedily: int32 (B, L) from [CLS] to [SEP], 0 behind it."""
    run = lambda method, *args: self.model.apply({"params": variables["params"]}, *args, method=method)
    begin, end = self.begin_id % self.model.vocabulary_size, self.end_id % self.model.vocabulary_size
    video = run(lambda model, patches: model.encode_video(patches, train=False), batch["video/patches"])
    ended = lambda ids_BL: jnp.any(ids_BL == end, axis=1)

    def unfinished(state):
      place, ids_BL = state
      return (place < self.length) & ~jnp.all(ended(ids_BL))

    def write(state):
      place, ids_BL = state
      word_B = run(_next_word, ids_BL, place - 1, video)
      return place + 1, ids_BL.at[:, place].set(jnp.where(ended(ids_BL), 0, word_B))

    start_BL = jnp.zeros([len(video), self.length], jnp.int32).at[:, 0].set(begin)
    return jax.lax.while_loop(unfinished, write, (1, start_BL))[1]


def _next_word(model: Alpro, ids_BL: jax.Array, place: jax.Array, video: jax.Array) -> jax.Array:
  """The likeliest token behind `place`: int32 (B,). What stands behind it already is not seen."""
  everywhere = jnp.ones(ids_BL.shape, bool)
  fused = model.fuse(model.encode_text(ids_BL, everywhere, train=False), everywhere, video, train=False)
  logits = model.words(jax.lax.dynamic_index_in_dim(fused, place, axis=1))
  return jnp.argmax(logits[:, 0], axis=-1).astype(jnp.int32)


inherit = alpro.inherit


def from_config(config, options, vocabulary_size: int) -> Captioning:
  """Builds the model from `config.model` and the input options."""
  if not (options.video and options.text and options.text.special_tokens):
    raise ValueError("config.data needs video, and text with special_tokens: a caption begins and ends")
  model = alpro.build_model(config, options, vocabulary_size, ("mlm",)).clone(causal=True)
  return Captioning(model, options.text.length, config.objective.begin_id, config.objective.end_id)
