"""The VATT objective: contrastive losses between pairs of modalities in common spaces."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from vatt_jax import placement
from vatt_jax.losses.nce import LOSSES, masked_mean, overlapping, untrained_level
from vatt_jax.losses.ring import ring_sums
from vatt_jax.models import sizes
from vatt_jax.models.transformer import REMAT
from vatt_jax.models.vatt import PROJECTION_INITS, TEXT_FORMS, Vatt
from vatt_jax.objectives import attention as attention_lib
from vatt_jax.objectives.pieces import in_pieces
from vatt_jax.training.sharding import TRANSFORMER_RULES

# pair -> the outputs that meet. Sound and text need heads of their own to be trained together.
PAIRS = {
  "video_audio": ("video/va", "audio/va"),
  "video_text": ("video/vt", "text/vt"),
  "audio_text": ("audio/at", "text/at"),
}


@dataclasses.dataclass(frozen=True)
class VattObjective:
  """NCE and MIL-NCE over pairs of modalities (VATT section 3.4).

  Attributes:
    model: the towers and heads.
    pairs: pair name -> weight; 0 leaves the pair out. VATT: video_audio 1, video_text 1.
    loss_name: "asymmetric" (behind the published weights), "asymmetric_once" (the paper's equations: positives once in
      the denominator) or "symmetric".
    temperature: 0.07 in VATT.
    reduction: "mean" divides the weighted sum by the sum of the weights (official code), "sum" does not (paper).
    groups: 1: a term is the mean over the present clips of the global batch; above, the mean of the means of so many
      replicas (official code); see `losses.nce.masked_mean`.
    ring: whether similarities are computed block by block round the devices of `mesh`, so that none holds them all.
    pieces: in which a batch goes through the towers, see `objectives.pieces`.
    attention: a name in `objectives.attention.NAMES`, resolved by `on_mesh`.
    mask_overlaps: whether clips that show the same seconds of one file are no negatives of each other; batches then
      need `clip/source` and `clip/span`.
  """

  model: Vatt
  pairs: dict[str, float]
  loss_name: str = "asymmetric"
  temperature: float = 0.07
  reduction: str = "mean"
  groups: int = 1
  ring: bool = False
  mask_overlaps: bool = False
  pieces: int = 1
  mesh: Mesh | None = None
  attention: str = "auto"

  batch_keys = tuple(
    f"{modality}/{part}"
    for modality, parts in {
      "video": ("patches", "positions", "present"),
      "audio": ("patches", "positions", "present"),
      "text": ("ids", "mask", "present"),
    }.items()
    for part in parts
  )
  partition_rules = TRANSFORMER_RULES
  fresh = ""  # nothing may be missing in what a run starts from

  def __post_init__(self):
    if unknown := set(self.pairs) - set(PAIRS):
      raise ValueError(f"pairs {sorted(unknown)} are not among {', '.join(PAIRS)}")
    if self.loss_name not in LOSSES:
      raise ValueError(f"loss {self.loss_name!r} is not one of {', '.join(LOSSES)}")
    if self.reduction not in ("mean", "sum"):
      raise ValueError(f"reduction {self.reduction!r} is not one of mean, sum")
    if sum(self.pairs.values()) <= 0:
      raise ValueError("at least one pair needs a positive weight")

  @property
  def spaces(self) -> dict[tuple[str, str], tuple[str, str]]:
    """Where each pair of modalities meets; sound reaches text through video unless that pair was trained."""
    own = self.model.audio_text and self.model.head == "fac"  # The joint space has all three anyway.
    text_audio = PAIRS["audio_text"] if own else ("audio/vt", "text/vt")
    return {
      ("video", "audio"): PAIRS["video_audio"],
      ("video", "text"): PAIRS["video_text"],
      ("audio", "text"): text_audio,
    }

  def init(self, rng: jax.Array, batch: dict[str, jax.Array]) -> dict:
    """Variables for batches with these shapes."""
    return self.model.init({"params": rng, "dropout": rng}, batch, train=True)

  def loss(self, variables: dict, batch: dict, rng: jax.Array, train: bool) -> tuple[jax.Array, dict, dict]:
    """Scalar loss, metrics and the new model state. The batch is the global one: all its clips are negatives."""
    out, model_state = self._outputs(variables, batch, rng, train)
    total, metrics = self._contrast(out, batch)
    return total, metrics, {**{k: v for k, v in variables.items() if k != "params"}, **model_state}

  def _outputs(self, variables: dict, batch: dict, rng: jax.Array, train: bool) -> tuple[dict, dict]:
    """What towers and heads say, and the model state that is new."""
    towers, heads = jax.random.split(rng)
    if self.model.agnostic:  # Gathered once, instead of by each modality.
      params = variables["params"]
      encoder = placement.weights(params["encoder"], self.model.dtype)
      variables = {**variables, "params": {**params, "encoder": encoder}}
    pool = lambda part: self.model.apply(variables, part, train=train, rngs={"dropout": towers}, method="pool")
    inputs = {key: batch[key] for key in self.batch_keys if not key.endswith("present")}
    return self.model.apply(
        variables, in_pieces(pool, inputs, self.pieces), train=train, rngs={"dropout": heads}, method="project",
        mutable=["batch_stats"] if train else [],
    )  # fmt: skip

  def _contrast(self, out: dict, batch: dict) -> tuple[jax.Array, dict]:
    """The weighted pairs, and metrics."""
    sums = functools.partial(ring_sums, mesh=self.mesh) if self.ring and self.mesh else None
    spans = (batch["clip/source"], batch["clip/span"]) if "clip/span" in batch else None
    metrics, total = {}, 0.0
    for pair, weight in self.pairs.items():
      if weight:
        one, several = _one_and_several(pair, out)
        present = lambda name: batch[f"{name.split('/')[0]}/present"]
        candidates = out[several] if out[several].ndim == 3 else out[several][:, None]
        value = LOSSES[self.loss_name](
            out[one] if out[one].ndim == 2 else out[one][:, 0], candidates, present(several),
            temperature=self.temperature, video_present=present(one), spans=spans if self.mask_overlaps else None,
            groups=self.groups, sums=sums,
        )  # fmt: skip
        metrics[f"loss/{pair}"] = value
        total += weight * value
    if self.reduction == "mean":
      total /= sum(self.pairs.values())
    metrics["loss"] = total
    rows = batch["text/ids"].shape[0]
    metrics["loss/log_batch_size"] = jnp.log(jnp.float32(rows))
    scale = 1.0 if self.reduction == "mean" else sum(self.pairs.values())
    metrics["loss/untrained"] = jnp.float32(scale * untrained_level(self.loss_name, rows))
    metrics["data/duplicate_captions"] = duplicate_share(batch["text/ids"][:, 0], batch["text/present"])
    if spans is not None:
      metrics["data/overlapping_clips"] = overlapping_share(*spans)
    return total, metrics

  def encode(self, variables: dict, batch: dict) -> dict[str, jax.Array]:
    """Everything the model says about a batch, in inference mode; see `models.vatt.Vatt`."""
    return self.model.apply(variables, batch, train=False)

  def on_mesh(self, mesh: Mesh) -> "VattObjective":
    """The same, its losses computed across the devices of `mesh`."""
    kernel = attention_lib.for_mesh(self.attention, mesh, self.model.dtype)
    return dataclasses.replace(self, mesh=mesh, model=self.model.clone(kernel=kernel))

  def with_grids(self, grids: dict[str, tuple[int, ...]]) -> "VattObjective":
    """The same for clips of another size; that of text is (L,)."""
    fields = {f"{modality}_grid": grid for modality, grid in grids.items() if modality != "text"}
    if "text" in grids:
      fields["text_length"] = grids["text"][0]
    return dataclasses.replace(self, model=self.model.clone(**fields))

  def adopt(self, variables: dict) -> dict:
    """Variables of another run as this one names them: they have to be a VATT model's."""
    return variables


def _one_and_several(pair: str, out: dict[str, jax.Array]) -> tuple[str, str]:
  """The two outputs of a pair: of the first each clip has one, of the second K, which are all positives.

  Those are the captions around a clip, or the windows of video around a caption. Sound belongs to the first window alone.
  """
  first, second = PAIRS[pair]
  return (second, first) if pair == "video_text" and out[first].ndim == 3 else (first, second)


def duplicate_share(ids: jax.Array, present: jax.Array) -> jax.Array:
  """The fraction of the present captions (B, L) that another clip of the batch has too: negatives that are none."""
  powers = np.cumprod(np.full(ids.shape[1], 0x01000193, np.uint32), dtype=np.uint32)
  hashes = jnp.sum(ids.astype(jnp.uint32) * powers[None, :], axis=1, dtype=jnp.uint32)
  same = (hashes[:, None] == hashes[None, :]) & present[:, None] & present[None, :]
  return masked_mean((jnp.sum(same, axis=1) > 1).astype(jnp.float32), present)


def overlapping_share(source: jax.Array, span: jax.Array) -> jax.Array:
  """The fraction of the clips that show some of the same seconds of one file as another clip of the batch."""
  clips = (source, span)
  others = ~jnp.eye(len(source), dtype=bool)
  return jnp.mean(jnp.any(overlapping(clips, clips) & others, axis=1))


def inherit(config, source: dict | None) -> None:
  """Nothing is left to `init_from`: a VATT config says all sizes."""


def from_config(config, options, vocabulary_size: int, kind: type = VattObjective, **more) -> VattObjective:
  """Builds the model from `config.model` and the input options, so that grids and lengths cannot disagree.

  Args:
    kind: of objective; one that adds to VATT's has fields of its own, `more`.
  """
  complete = options.video and options.audio and options.text
  if not complete and config.model.get("head") != "none":  # Encoders on their own need not be all three.
    raise ValueError("config.data needs video, audio and text")
  known = config.model.get("vocabulary_size", 0)
  if known and vocabulary_size not in (0, known):
    raise ValueError(f"it has vectors of {known:,} words, but the vocabulary at hand has {vocabulary_size:,}")
  if options.video and options.text and options.video.windows > 1 and options.text.candidates > 1:
    raise ValueError("either data.video.windows or data.text.candidates may be above 1, not both")
  if config.objective.get("mask_overlaps", False) and not options.spans:
    raise ValueError("objective.mask_overlaps needs data.clip_spans = True")
  pairs = dict(config.objective.pairs)
  fields = {
    **config.model.to_dict(),
    "video_grid": options.video.grid if options.video else (),
    "audio_grid": options.audio.grid if options.audio else (),
    "sample_rate_hz": options.audio.sample_rate_hz if options.audio else 0,
    "text_length": options.text.length if options.text else 0,
    "vocabulary_size": known or max(vocabulary_size, 2),
    "audio_text": pairs.get("audio_text", 0) > 0,
  }
  _check_names(fields)
  attention = attention_lib.take_choice(fields)
  objective = config.objective
  return kind(
    Vatt(**fields),
    pairs,
    objective.loss,
    objective.temperature,
    objective.reduction,
    objective.get("groups", 1),
    objective.get("ring", False),
    objective.get("mask_overlaps", False),
    config.get("accumulate", 1),
    attention=attention,
    **more,
  )


def _check_names(fields: dict) -> None:
  """Modules look names up only when they run, where an error comes as a traceback."""
  for tower in ("video_size", "audio_size", "text_size"):
    sizes.size(fields[tower])
  known = {
    "video_projection_init": PROJECTION_INITS, "audio_projection_init": PROJECTION_INITS, "text_form": TEXT_FORMS,
    "text_aggregation": ("token", "mean"), "head": ("fac", "joint", "none"), "head_norms": ("video", "all"),
    "va_to_vt": ("mlp", "linear"), "remat": REMAT, "dtype": ("float32", "bfloat16"),
  }  # fmt: skip
  for field, names in known.items():
    if field in fields and fields[field] not in names:
      raise ValueError(f"{field} {fields[field]!r} is not one of {', '.join(names)}")
