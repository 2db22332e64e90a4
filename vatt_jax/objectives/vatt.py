"""The VATT objective: contrastive losses between pairs of modalities in common spaces."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from vatt_jax import placement
from vatt_jax.losses.nce import LOSSES, SIGMOID_BIAS, masked_mean, overlapping, untrained_level
from vatt_jax.losses.ring import ring_sums
from vatt_jax.models import sizes
from vatt_jax.models.heads import JOINED
from vatt_jax.models.transformer import REMAT
from vatt_jax.models.vatt import PROJECTION_INITS, TEXT_FORMS, Vatt
from vatt_jax.objectives import attention as attention_lib
from vatt_jax.objectives.pieces import in_pieces
from vatt_jax.training.sharding import TRANSFORMER_RULES

# pair -> the outputs that meet, captions last. Sound and text need heads of their own to be trained together, and so do
# two modalities that meet the third.
PAIRS = {
  "video_audio": ("video/va", "audio/va"),
  "video_text": ("video/vt", "text/vt"),
  "audio_text": ("audio/at", "text/at"),
  "videoaudio_text": ("videoaudio/va_t", "text/va_t"),
  "videotext_audio": ("audio/vt_a", "videotext/vt_a"),
  "audiotext_video": ("video/at_v", "audiotext/at_v"),
}
# A pair with captions may say of which kind they are: "audio_text_sound".
SHARPEST = 0.01  # the lowest temperature that can be learned (CLIP's bound)


@dataclasses.dataclass(frozen=True)
class Contrast:
  """How one pair is compared.

  Attributes:
    weight: of its loss; 0 leaves the pair out.
    loss: "asymmetric" (behind the published weights), "asymmetric_once" (the paper's equations: positives once in the
      denominator), "symmetric", or "sigmoid" (SigLIP; its bias is learned).
    temperature: 0.07 in VATT; where it starts if it is learned.
    learned: whether the temperature is learned, by its logarithm.
  """

  weight: float = 1.0
  loss: str = "asymmetric"
  temperature: float = 0.07
  learned: bool = False

  def __post_init__(self):
    if self.loss not in LOSSES:
      raise ValueError(f"loss {self.loss!r} is not one of {', '.join(LOSSES)}")
    if self.temperature <= 0:
      raise ValueError(f"temperature {self.temperature} is not positive")
    if self.weight < 0:
      raise ValueError(f"the weight of a pair is {self.weight}, and not at least 0")

  def start(self) -> dict[str, jax.Array]:
    """What is learned of it, before the first step."""
    found = {"log_temperature": jnp.float32(np.log(self.temperature))} if self.learned else {}
    return found | ({"bias": jnp.float32(SIGMOID_BIAS)} if self.loss == "sigmoid" else {})

  def at(self, learned: dict[str, jax.Array]) -> jax.Array | float:
    """The temperature, now that so much is learned."""
    return jnp.maximum(jnp.exp(learned["log_temperature"]), SHARPEST) if self.learned else self.temperature


@dataclasses.dataclass(frozen=True)
class VattObjective:
  """NCE and MIL-NCE over pairs of modalities (VATT section 3.4).

  Attributes:
    model: the towers and heads.
    pairs: name in `PAIRS`, with or without a kind of captions -> how it is compared. VATT: video_audio and video_text.
    kinds: of captions that batches have, K of each, see `data.text.TextOptions`; none: K of any kind.
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
  pairs: dict[str, Contrast]
  reduction: str = "mean"
  groups: int = 1
  ring: bool = False
  mask_overlaps: bool = False
  pieces: int = 1
  kinds: tuple[str, ...] = ()
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
  fresh = r"^params/contrast/"  # all that may be missing in what a run starts from

  def __post_init__(self):
    if unknown := [pair for pair in self.pairs if _outputs(pair) not in PAIRS.values()]:
      raise ValueError(
        f"pairs {unknown} are not among {', '.join(PAIRS)}, or those with a kind of captions behind them"
      )
    for pair, contrast in self.pairs.items():
      if contrast.weight and "text" in pair and _kind(pair) not in (self.kinds or ("",)):
        raise ValueError(f"pair {pair} needs {_kind(pair)!r} in data.text.kinds, which is {self.kinds}")
    if self.ring and any(contrast.loss == "sigmoid" for contrast in self.pairs.values()):
      raise ValueError("ring is for the losses with a softmax, not for sigmoid")
    if self.reduction not in ("mean", "sum"):
      raise ValueError(f"reduction {self.reduction!r} is not one of mean, sum")
    if self.weights <= 0:
      raise ValueError("at least one pair needs a positive weight")

  @property
  def weights(self) -> float:
    return sum(contrast.weight for contrast in self.pairs.values())

  @property
  def spaces(self) -> dict[tuple[str, str], tuple[str, str]]:
    """Where each pair of modalities meets; sound reaches text through video unless that pair was trained.

    Two modalities together, such as "videoaudio", are there if they were trained.
    """
    text_audio = PAIRS["audio_text"] if self.model.audio_text else ("audio/vt", "text/vt")
    return {
      ("video", "audio"): PAIRS["video_audio"],
      ("video", "text"): PAIRS["video_text"],
      ("audio", "text"): text_audio,
    } | {tuple(output.split("/")[0] for output in outputs): outputs for outputs in map(_outputs, self._joined)}

  def temperatures(self, variables: dict) -> dict[tuple[str, str], float]:
    """What cosines are divided by, for the `spaces` that are trained."""
    learned = variables["params"].get("contrast", {})
    trained = {_outputs(pair): c.at(learned.get(pair, {})) for pair, c in self.pairs.items() if c.weight}
    return {pair: float(trained[outputs]) for pair, outputs in self.spaces.items() if outputs in trained}

  @property
  def _joined(self) -> list[str]:
    return [pair for pair in self.pairs if pair.split("_")[0] in self.model.joined]

  def init(self, rng: jax.Array, batch: dict[str, jax.Array]) -> dict:
    """Variables for batches with these shapes."""
    variables = self.model.init({"params": rng, "dropout": rng}, batch, train=True)
    learned = {pair: contrast.start() for pair, contrast in self.pairs.items() if contrast.weight and contrast.start()}
    return {**variables, "params": variables["params"] | ({"contrast": learned} if learned else {})}

  def loss(self, variables: dict, batch: dict, rng: jax.Array, train: bool) -> tuple[jax.Array, dict, dict]:
    """Scalar loss, metrics and the new model state. The batch is the global one: all its clips are negatives."""
    out, model_state = self._outputs(variables, batch, rng, train)
    total, metrics = self._contrast(out, batch, variables["params"].get("contrast", {}))
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

  def _contrast(self, out: dict, batch: dict, learned: dict) -> tuple[jax.Array, dict]:
    """The weighted pairs, and metrics; `learned` is what pairs have learned of their own."""
    sums = functools.partial(ring_sums, mesh=self.mesh) if self.ring and self.mesh else None
    spans = (batch["clip/source"], batch["clip/span"]) if "clip/span" in batch else None
    metrics, total = {}, 0.0
    for pair, contrast in self.pairs.items():
      if contrast.weight:
        one, several = _one_and_several(pair, out)
        candidates = self._of_kind(out[several], pair)
        how = {"temperature": contrast.at(learned.get(pair, {})), **({"sums": sums} if sums else {})}
        if contrast.learned:
          metrics[f"temperature/{pair}"] = how["temperature"]
        if contrast.loss == "sigmoid":
          how["bias"] = learned[pair]["bias"]
        value = LOSSES[contrast.loss](
            out[one] if out[one].ndim == 2 else out[one][:, 0], candidates, self._present(several, batch, pair),
            video_present=self._present(one, batch, pair), spans=spans if self.mask_overlaps else None, groups=self.groups, **how,
        )  # fmt: skip
        metrics[f"loss/{pair}"] = value
        total += contrast.weight * value
    if self.reduction == "mean":
      total /= self.weights
    metrics["loss"] = total
    rows = batch["text/ids"].shape[0]
    metrics["loss/log_batch_size"] = jnp.log(jnp.float32(rows))
    untrained = sum(c.weight * untrained_level(c.loss, rows) for c in self.pairs.values())
    metrics["loss/untrained"] = jnp.float32(untrained / (self.weights if self.reduction == "mean" else 1.0))
    metrics["data/duplicate_captions"] = duplicate_share(batch["text/ids"][:, 0], batch["text/present"])
    if spans is not None:
      metrics["data/overlapping_clips"] = overlapping_share(*spans)
    return total, metrics

  def _of_kind(self, out: jax.Array, pair: str) -> jax.Array:
    """What a pair has of an output (B, E), or (B, K, E) of captions or windows: (B, 1, E) or (B, K, E)."""
    if out.ndim == 2:
      return out[:, None]
    if not self.kinds or "text" not in pair:
      return out
    one_kind = out.shape[1] // len(self.kinds)
    first = self.kinds.index(_kind(pair)) * one_kind
    return out[:, first : first + one_kind]

  def _present(self, output: str, batch: dict[str, jax.Array], pair: str) -> jax.Array:
    """bool (B,): whether the clip has all that an output is made of, and captions of the pair's kind."""
    modality = output.split("/")[0]
    of_kind = {"text": batch["text/kinds"][:, self.kinds.index(_kind(pair))]} if self.kinds and "text" in pair else {}
    here = lambda part: of_kind[part] if part in of_kind else batch[f"{part}/present"]
    return functools.reduce(jnp.logical_and, map(here, JOINED[modality][0] if modality in JOINED else (modality,)))

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
    params = variables["params"]
    if any(contrast.start() for contrast in self.pairs.values()) or "contrast" not in params:
      return variables
    return {**variables, "params": {name: value for name, value in params.items() if name != "contrast"}}


def _outputs(pair: str) -> tuple[str, str] | None:
  """What meets in a pair: that of `PAIRS` with a kind or without; None where there is no such pair."""
  outputs = PAIRS.get("_".join(pair.split("_")[:2]))
  return outputs if outputs and (not _kind(pair) or "text" in pair) else None


def _kind(pair: str) -> str:
  """Which captions a pair is about, "" for those of any kind."""
  return "_".join(pair.split("_")[2:])


def _one_and_several(pair: str, out: dict[str, jax.Array]) -> tuple[str, str]:
  """The two outputs of a pair: of the first each clip has one, of the second K, which are all positives.

  Those are the captions around a clip, or the windows of video around a caption. Sound belongs to the first window alone.
  """
  first, second = _outputs(pair)
  return (second, first) if (first, second) == PAIRS["video_text"] and out[first].ndim == 3 else (first, second)


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
  pairs = _contrasts(config.objective)
  trained = [pair.split("_") for pair, contrast in pairs.items() if contrast.weight]
  joined = tuple(dict.fromkeys(first for first, *_ in trained if first in JOINED))
  if joined and options.video and options.video.windows > 1:
    raise ValueError("two modalities together can meet the third where data.video.windows is 1 only")
  fields = {
    **config.model.to_dict(),
    "video_grid": options.video.grid if options.video else (),
    "audio_grid": options.audio.grid if options.audio else (),
    "sample_rate_hz": options.audio.sample_rate_hz if options.audio else 0,
    "text_length": options.text.length if options.text else 0,
    "vocabulary_size": known or max(vocabulary_size, 2),
    "audio_text": any(parts[:2] == ["audio", "text"] for parts in trained),
    "joined": joined,
  }
  _check_names(fields)
  attention = attention_lib.take_choice(fields)
  objective = config.objective
  return kind(
    Vatt(**fields),
    pairs,
    objective.reduction,
    objective.get("groups", 1),
    objective.get("ring", False),
    objective.get("mask_overlaps", False),
    config.get("accumulate", 1),
    options.text.kinds if options.text else (),
    attention=attention,
    **more,
  )


def _contrasts(objective) -> dict[str, Contrast]:
  """What all pairs share, what `objective.overrides` says of single ones, and the weights."""
  shared = {
    "loss": objective.loss, "temperature": objective.temperature, "learned": objective.get("learned_temperature", False),
  }  # fmt: skip
  overrides = objective.get("overrides", None) or {}
  if unknown := set(overrides) - set(objective.pairs):
    raise ValueError(f"objective.overrides has {sorted(unknown)}, which are not among objective.pairs")
  return {
    pair: Contrast(weight, **(shared | dict(overrides.get(pair, {})))) for pair, weight in objective.pairs.items()
  }


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
