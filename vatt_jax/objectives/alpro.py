"""ALPRO's objective: contrast, matching, masked words and prompted entities, each alone or together.

Pretraining has all four, the prompter contrast alone, fine-tuning for retrieval contrast and matching. The prompter's
weights and prompts lie in the collection `prompter`: no gradient, no optimizer.
"""

from collections.abc import Callable
import dataclasses
import re

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from vatt_jax.losses import alpro as losses
from vatt_jax.losses.nce import masked_mean
from vatt_jax.models import sizes
from vatt_jax.models.alpro import Alpro, unit
from vatt_jax.models.transformer import REMAT
from vatt_jax.training.sharding import TRANSFORMER_RULES

TERMS = ("vtc", "vtm", "mlm", "pem")
TEMPERATURES = (0.001, 0.5)
PROMPTS = ("video_prompts", "image_prompts")
# [anchor, candidate] similarity, which -> other candidates int32 (B,), and whether there was one, bool (B,).
Picker = Callable[[jax.Array, str], tuple[jax.Array, jax.Array]]


class AlproEncoders:
  """What all objectives on this model can do once it is trained."""

  model: Alpro
  partition_rules = TRANSFORMER_RULES
  # Heads start from scratch where `init_from` has none; so do position tables of time.
  fresh = r"^params/(video_projection|text_projection|temperature|vtm|mlm|pem|qa)(/|$)"

  @property
  def spaces(self) -> dict[tuple[str, str], tuple[str, str]]:
    """Where video and text meet."""
    return {("video", "text"): ("video/vtc", "text/vtc")} if "vtc" in self.model.parts else {}

  def init(self, rng: jax.Array, batch: dict[str, jax.Array]) -> dict:
    """Variables for batches with these shapes."""
    return self.model.init({"params": rng}, batch, train=False)

  def encode(self, variables: dict, batch: dict) -> dict[str, jax.Array]:
    """`video/vtc` (B, E) and `text/vtc` (B, 1, E), in inference mode."""
    return {name: value for name, value in self.tokens(variables, batch).items() if name.endswith("/vtc")}

  def tokens(self, variables: dict, batch: dict) -> dict[str, jax.Array]:
    """As `encode`, with the encoders' outputs `video/tokens` (B, 1 + N, D) and `text/tokens` (B, 1, L, D)."""

    def each(model, batch):
      out = {}
      if "video/patches" in batch:
        out["video/tokens"] = video = model.encode_video(batch["video/patches"], train=False)
        if "vtc" in model.parts:
          out["video/vtc"] = unit(model.video_projection(video[:, 0]))
      if "text/ids" in batch:
        text = model.encode_text(*_captions(batch), train=False)
        out["text/tokens"] = text[:, None]
        if "vtc" in model.parts:
          out["text/vtc"] = unit(model.text_projection(text[:, 0]))[:, None]
      return out

    return self.model.apply({"params": variables["params"]}, batch, method=each)

  def match(self, variables: dict, batch: dict) -> jax.Array:
    """How probable it is that clip i and caption i belong together, float32 (B,)."""
    score = lambda model, batch: jax.nn.softmax(model.matching(_fused(model, batch)))[:, 1]
    return self.model.apply({"params": variables["params"]}, batch, method=score)

  def match_tokens(self, variables: dict, batch: dict) -> jax.Array:
    """As `match`, of what `tokens` gave: `video/tokens` (B, 1 + N, D), `text/tokens` (B, L, D), `text/mask` (B, L)."""

    def score(model, batch):
      fused = model.fuse(batch["text/tokens"], batch["text/mask"], batch["video/tokens"], train=False)
      return jax.nn.softmax(model.matching(fused))[:, 1]

    return self.model.apply({"params": variables["params"]}, batch, method=score)

  def answer(self, variables: dict, batch: dict) -> jax.Array:
    """Logits of the answers to question i about clip i, float32 (B, answers)."""
    return self.model.apply({"params": variables["params"]}, batch, method=lambda m, b: m.answer(_fused(m, b)))

  def entities(self, variables: dict, patches: jax.Array, still: jax.Array | None = None) -> jax.Array:
    """What the prompter sees in clips (B, T*N, P): probabilities float32 (B, entities).

    Args:
      variables: with a collection `prompter`, that of a pretrained model or of the prompter itself.
      still: bool (B,), which clips are pictures and so take the prompts for pictures; None: none of them.
    """
    prompter = variables["prompter"]
    weights = prompter if "video" in prompter else variables["params"]

    def probabilities(model, patches):
      video = unit(model.video_projection(model.encode_video(patches, train=False)[:, 0]))
      similarity = video @ prompter["video_prompts"].T
      if still is not None:
        similarity = jnp.where(still[:, None], video @ prompter["image_prompts"].T, similarity)
      return jax.nn.softmax(similarity / jnp.clip(model.temperature, *TEMPERATURES))

    return self.model.clone(parts=("vtc",)).apply({"params": weights}, patches, method=probabilities)

  def adopt(self, variables: dict) -> dict:
    """What this model has use for of another one's variables; a prompter's become the collection `prompter`."""
    params, prompter = dict(variables["params"]), dict(variables.get("prompter", {}))
    wanted = "pem" in self.model.parts
    if wanted and prompter and "video" not in prompter:
      return {"params": {}, "prompter": {name: params[name] for name in _TEACHER} | prompter}
    kept = {"video", "text"} | {name for part in self.model.parts for name in _PARAMETERS[part]}
    params = {name: value for name, value in params.items() if name in kept}
    if "text" in params and not self.model.fuses:
      first = sizes.size(self.model.text_size).layers - self.model.fusion_layers
      upper = lambda name: (found := re.fullmatch(r"layer_(\d+)", name)) and int(found[1]) >= first
      params["text"] = {name: value for name, value in params["text"].items() if not upper(name)}
    return {"params": params, **({"prompter": prompter} if wanted and prompter else {})}

  def on_mesh(self, mesh: Mesh) -> "AlproEncoders":
    """The same: losses look at the global batch wherever it lies."""
    return self

  def with_grids(self, grids: dict[str, tuple[int, ...]]) -> "AlproEncoders":
    """The same: clips of another size are refused by the model."""
    return self


_PARAMETERS = {
    "vtc": ("video_projection", "text_projection", "temperature"), "vtm": ("vtm",), "mlm": ("mlm",), "pem": ("pem",),
    "qa": ("qa",),
}  # fmt: skip
_TEACHER = ("video", "video_projection", "temperature")


@dataclasses.dataclass(frozen=True)
class AlproObjective(AlproEncoders):
  """The weighted sum of the four losses (ALPRO, sections 3.2 to 3.4).

  Attributes:
    model: with a part for every term.
    terms: term -> weight; 0 leaves it out. ALPRO: 1 each.
    negatives: of matching, drawn by similarity, or evenly where there is no contrast: "local", from blocks of `local_rows` clips, as each device of the official code has its own;
      "global", from the whole batch.
    local_rows: 16 in pretraining, 8 or 12 in fine-tuning.
    mask_rate, mask_id: of masked words; -1: [MASK] is the last of the vocabulary.
    label_filter, label_threshold: of the prompter's labels, see `losses.alpro.keep_labels`.
  """

  model: Alpro
  terms: dict[str, float]
  negatives: str = "local"
  local_rows: int = 16
  mask_rate: float = 0.15
  mask_id: int = 103
  label_filter: str = "paper"
  label_threshold: float = 0.2

  batch_keys = ("video/patches", "video/positions", "video/present", "text/ids", "text/mask", "text/present")

  def __post_init__(self):
    if unknown := set(self.terms) - set(TERMS):
      raise ValueError(f"terms {sorted(unknown)} are not among {', '.join(TERMS)}")
    for field, known in (("negatives", losses.NEGATIVES), ("label_filter", losses.FILTERS)):
      if (value := getattr(self, field)) not in known:
        raise ValueError(f"{field} {value!r} is not one of {', '.join(known)}")

  def init(self, rng: jax.Array, batch: dict[str, jax.Array]) -> dict:
    """Variables for batches with these shapes; a prompter's are zero until `init_from` brings them."""
    variables = super().init(rng, batch)
    if self._weight("pem"):
      shapes = jax.eval_shape(lambda: self.model.clone(parts=("vtc",)).init({"params": rng}, batch, train=False))
      zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), {n: shapes["params"][n] for n in _TEACHER})
      prompts = {name: jnp.zeros([self.model.entities, self.model.embedding_width]) for name in PROMPTS}
      variables["prompter"] = zeros | prompts
    return variables

  def loss(self, variables: dict, batch: dict, rng: jax.Array, train: bool) -> tuple[jax.Array, dict, dict]:
    """Scalar loss, metrics and the unchanged model state. The batch is the global one."""
    masking, crop, negatives, dropout = jax.random.split(rng, 4)
    hidden, selected = self._hide(masking, batch)
    inside = self._rectangles(crop, batch)
    both = batch["video/present"] & batch["text/present"]
    local = self.local_rows if self.negatives == "local" else 0

    def pick(similarity, which):
      key = jax.random.fold_in(negatives, int(which == "text"))
      return losses.hard_negatives(key, similarity, both, local)

    return self.loss_with(variables, batch, hidden, selected, inside, pick, dropout, train)

  def frozen(self, variables: dict, batch: dict) -> jax.Array | tuple:
    """What the loss computes without gradients: the prompter's labels."""
    return self.entities(variables, batch["video/patches"]) if self._weight("pem") else ()

  def look(self, variables: dict, batch: dict, seed: jax.Array) -> dict[str, jax.Array]:
    """What all parts say of a batch, in inference mode, for people to see; each seed draws other rectangles and words.

    Returns:
      `inside` bool (B, N), the rectangle; of the teacher `entities/rectangle` and `entities/picture` (B, entities), of what
      lies inside and of everything, and what the model itself says of the rectangle, `entities/own`; `match` and
      `match/other` (B,), of the clip with its own caption and with the next one's; `words/hidden`, `words/restored` int32
      (B, L) and `words/selected` bool (B, L). What the model has no part for is left out.
    """
    masking, crop = jax.random.split(jax.random.key(seed))
    (hidden, selected), inside = self._hide(masking, batch), self._rectangles(crop, batch)
    patches, out = batch["video/patches"], {"inside": inside}
    if "prompter" in variables:
      still = self._still(patches)
      out["entities/rectangle"] = self.entities(variables, self._only(patches, inside), still)
      out["entities/picture"] = self.entities(variables, patches, still)

    def parts(model):
      (ids, mask), found = _captions(batch), {}
      video = model.encode_video(patches, train=False)
      text, length = model.encode_text(ids, mask, train=False), ids.shape[1]
      fused = model.fuse(text, mask, video, train=False)
      if "vtm" in model.parts:
        others = model.fuse(jnp.roll(text, -1, axis=0), jnp.roll(mask, -1, axis=0), video, train=False)
        found["match"], found["match/other"] = (jax.nn.softmax(model.matching(x))[:, 1] for x in (fused, others))
      if "pem" in model.parts:
        found["entities/own"] = jax.nn.softmax(model.entities_of(fused[:, length + 1 :], inside))
      if "mlm" in model.parts:
        fused = model.fuse(model.encode_text(hidden, mask, train=False), mask, video, train=False)
        restored = jnp.argmax(model.words(fused[:, :length]), axis=-1).astype(jnp.int32)
        found |= {"words/hidden": hidden, "words/selected": selected, "words/restored": restored}
      return found

    if self.model.fuses:
      out |= self.model.apply({"params": variables["params"]}, method=parts)
    return out

  def _hide(self, rng: jax.Array, batch: dict) -> tuple[jax.Array, jax.Array]:
    """Captions with words hidden, and which: int32 and bool (B, L)."""
    ids, mask = _captions(batch)
    last = jnp.sum(mask, axis=1) - 1
    places = jnp.arange(ids.shape[1])[None]
    maskable = mask & (places > 0) & (places < last[:, None])  # All but [CLS], [SEP] and padding.
    mask_id = self.mask_id % self.model.vocabulary_size
    return losses.mask_words(rng, ids, maskable, self.model.vocabulary_size, mask_id, self.mask_rate)

  def _rectangles(self, rng: jax.Array, batch: dict) -> jax.Array:
    return losses.random_rectangles(rng, len(batch["text/ids"]), self.model.video_grid[1:], self._patch(batch))

  def loss_with(
    self, variables: dict, batch: dict, hidden: jax.Array, selected: jax.Array, inside: jax.Array, pick: Picker,
    dropout: jax.Array, train: bool,
  ) -> tuple[jax.Array, dict, dict]:  # fmt: skip
    """As `loss`, with everything given that it draws.

    Args:
      hidden, selected: int32 and bool (B, L): captions with words hidden, and which.
      inside: bool (B, N): the rectangle of the picture whose entities are asked for.
      pick: negatives for matching.
      dropout: for the model.
    """
    labels = None
    if self._weight("pem"):
      patches = batch["video/patches"]
      labels = self.entities(variables, self._only(patches, inside), self._still(patches))
    values, metrics = self.model.apply(
      {"params": variables["params"]}, batch, hidden, selected, inside, labels, pick, train,
      rngs={"dropout": dropout}, method=lambda *args: self._losses(*args),
    )  # fmt: skip
    total = sum(self.terms[name] * value for name, value in values.items())
    metrics |= {f"loss/{name}": value for name, value in values.items()} | {"loss": total}
    return total, metrics, {k: v for k, v in variables.items() if k != "params"}

  def _losses(self, model, batch, hidden, selected, inside, labels, pick, train):
    both = batch["video/present"] & batch["text/present"]
    (ids, mask), rows = _captions(batch), len(both)
    video = model.encode_video(batch["video/patches"], train=train)
    if self._weight("mlm"):  # One pass for clean and hidden words.
      both_texts = model.encode_text(_together([ids, hidden]), _together([mask, mask]), train=train)
      text, hidden_text = _apart(both_texts, 2)
    else:
      text = model.encode_text(ids, mask, train=train)
    values, metrics, groups = {}, {}, [(text, mask, video)]
    similarity = from_text = jnp.zeros([rows, rows])  # Without contrast no negative is harder than another.
    if self._weight("vtc"):
      # Clipped with the gradient of what is not clipped, as when the parameter itself is moved back into its range.
      clipped = jnp.clip(model.temperature, *TEMPERATURES)
      temperature = model.temperature + jax.lax.stop_gradient(clipped - model.temperature)
      video_vtc, text_vtc = model.contrast(video, text)
      similarity = video_vtc @ text_vtc.T / temperature
      from_text = text_vtc @ video_vtc.T / temperature  # A transposed matrix would have to change devices.
      metrics["train/temperature"] = clipped
      values["vtc"] = losses.video_text_contrast(similarity, both)
      metrics["loss/log_batch_size"] = jnp.log(jnp.float32(rows))
    if self._weight("vtm"):
      other_video, has_video = pick(from_text, "video")
      other_text, has_text = pick(similarity, "text")
      groups += [(text, mask, video[other_video]), (text[other_text], mask[other_text], video)]
    if self._weight("mlm"):
      groups.append((hidden_text, mask, video))
    if not model.fuses:
      return values, metrics
    fused = model.fuse(*(_together(parts) for parts in zip(*groups)), train=train)  # One pass for all.
    parts = _apart(fused, len(groups))
    length = ids.shape[1]
    if self._weight("vtm"):
      logits = model.matching(_together(parts[:3]))
      matches = jnp.tile(jnp.array([True, False, False]), rows)
      counts = _together([both, both & has_video, both & has_text])
      values["vtm"] = losses.video_text_matching(logits, matches, counts)
      right = (jnp.argmax(logits, axis=-1) == 1) == matches
      metrics["train/matching_accuracy"] = masked_mean(right.astype(jnp.float32), counts)
    if self._weight("mlm"):
      selected = selected & both[:, None]
      logits = model.words(parts[-1][:, :length])
      values["mlm"] = losses.masked_language(logits, ids, selected)
      right = (jnp.argmax(logits, axis=-1) == ids).reshape(-1)
      metrics["train/words_restored"] = masked_mean(right.astype(jnp.float32), selected.reshape(-1))
    if self._weight("pem"):
      keep = losses.keep_labels(labels, self.label_filter, self.label_threshold)
      values["pem"] = losses.prompting_entities(
        model.entities_of(parts[0][:, length + 1 :], inside), labels, keep & both
      )
      metrics["train/labels_kept"] = masked_mean(keep.astype(jnp.float32), both)
    return values, metrics

  def _weight(self, term: str) -> float:
    return self.terms.get(term, 0.0)

  def _patch(self, batch) -> tuple[int, int]:
    values = batch["video/patches"].shape[-1] // 3
    side = int(values**0.5)
    return side, values // side

  def _still(self, patches: jax.Array) -> jax.Array:
    """Which clips show one picture all the time, bool (B,); they were pictures, repeated."""
    frames = patches.reshape(len(patches), self.model.video_grid[0], -1)
    return jnp.all(frames == frames[:, :1], axis=(1, 2))

  def _only(self, patches: jax.Array, inside: jax.Array) -> jax.Array:
    """Clips (B, T*N, P) that are black outside of a rectangle (B, N)."""
    black = jnp.zeros([], patches.dtype) if patches.dtype == jnp.uint8 else -1.0
    return jnp.where(jnp.tile(inside, (1, self.model.video_grid[0]))[:, :, None], patches, black)


def _together(parts) -> jax.Array:
  """Arrays (B, ...) as one (B * parts, ...), clip by clip: one after the other, rows would have to change devices."""
  return jnp.stack(parts, axis=1).reshape(-1, *parts[0].shape[1:])


def _apart(x: jax.Array, parts: int) -> list[jax.Array]:
  """What `_together` was given."""
  x = x.reshape(-1, parts, *x.shape[1:])
  return [x[:, i] for i in range(parts)]


def _captions(batch: dict) -> tuple[jax.Array, jax.Array]:
  """Ids and mask (B, L) of the first caption of each clip."""
  return batch["text/ids"][:, 0], batch["text/mask"][:, 0]


def _fused(model: Alpro, batch: dict) -> jax.Array:
  ids, mask = _captions(batch)
  video = model.encode_video(batch["video/patches"], train=False)
  return model.fuse(model.encode_text(ids, mask, train=False), mask, video, train=False)


def build_model(config, options, vocabulary_size: int, parts: tuple[str, ...], answers: int = 0) -> Alpro:
  """The model of `config.model` for these inputs."""
  for field in ("video_size", "text_size"):
    sizes.size(config.model[field])
  if (remat := config.model.get("remat", "none")) not in REMAT:
    raise ValueError(f"remat {remat!r} is not one of {', '.join(REMAT)}")
  if config.get("accumulate", 1) != 1:
    raise ValueError("accumulate is not for ALPRO; model.remat saves memory")
  video, text = options.video, options.text
  if video and (video.patch[0] != 1 or video.drop_rate):
    raise ValueError("ALPRO sees every patch of single frames: data.video.patch is (1, h, w), drop_rate 0")
  if text and text.rows != 1:
    raise ValueError(
      "ALPRO pairs a clip with one caption: data.text.candidates is 1, and data.text.kinds has one at most"
    )
  known = config.model.vocabulary_size
  if known and vocabulary_size not in (0, known):
    raise ValueError(f"it has vectors of {known:,} words, but the vocabulary at hand has {vocabulary_size:,}")
  if text and text.length > config.model.max_length:
    raise ValueError(f"texts of {text.length} tokens are longer than the {config.model.max_length} positions")
  fields = {
    **config.model.to_dict(),
    "video_grid": video.grid if video else (1, 1, 1),
    "vocabulary_size": known or max(vocabulary_size, 4),
  }
  return Alpro(**fields, parts=parts, answers=answers)


def inherit(config, source: dict | None) -> None:
  """Fills the sizes that the config leaves to `init_from`; without one they are ALPRO's."""
  published = {
    "video_size": "base", "text_size": "base", "fusion_layers": 6, "embedding_width": 256, "max_length": 512,
  }  # fmt: skip
  known = source["model"] if source and "fusion_layers" in source["model"] else {}
  for name, value in published.items():
    if config.model[name] in ("", -1):
      config.model[name] = known.get(name, value)
  if not config.model.vocabulary_size:
    config.model.vocabulary_size = known.get("vocabulary_size", 0)
  if config.objective.name == "alpro" and config.objective.terms.pem and not config.model.entities:
    config.model.entities = known.get("entities", 0) or 1000


def from_config(config, options, vocabulary_size: int) -> AlproObjective:
  """Builds the model from `config.model` and the input options."""
  fields = config.objective.to_dict()
  fields.pop("name")
  parts = tuple(term for term in TERMS if fields["terms"].get(term))
  if len(parts) > 0 and parts != ("mlm",) and not (options.video and options.text):
    raise ValueError("config.data needs video and text")
  return AlproObjective(build_model(config, options, vocabulary_size, parts), **fields)
