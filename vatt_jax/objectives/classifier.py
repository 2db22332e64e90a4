"""The classification objective: fine-tuning, or training from scratch, one tower for video, pictures or sound."""

import dataclasses

import jax
import jax.numpy as jnp

from vatt_jax.losses import classification
from vatt_jax.losses.nce import masked_mean
from vatt_jax.models import sizes
from vatt_jax.models.classifier import Classifier
from vatt_jax.models.towers import to_unit_range
from vatt_jax.models.vatt import PROJECTION_INITS
from vatt_jax.objectives import attention as attention_lib
from vatt_jax.objectives.pieces import in_pieces
from vatt_jax.training.sharding import TRANSFORMER_RULES


@dataclasses.dataclass(frozen=True)
class ClassifierObjective:
  """Cross-entropy on labels (VATT sections 4.2, A.2.5, A.3).

  Attributes:
    model: tower and last layer.
    multiple: whether a clip may have several labels: sigmoid instead of softmax.
    label_smoothing: for softmax.
    balanced: weights against frequent labels, for sigmoid.
    mix_up: alpha, 0 for none.
    pieces: in which a batch goes through the model, see `objectives.pieces`.
    attention: a name in `objectives.attention.NAMES`.
  """

  model: Classifier
  multiple: bool = False
  label_smoothing: float = 0.0
  balanced: bool = False
  mix_up: float = 0.0
  pieces: int = 1
  attention: str = "auto"

  partition_rules = TRANSFORMER_RULES
  spaces = {}
  fresh = r"^params/classifier/"  # starts from scratch where `init_from` has none

  @property
  def batch_keys(self) -> tuple[str, ...]:
    return tuple(f"{self.model.modality}/{part}" for part in ("patches", "positions", "present")) + ("label",)

  def init(self, rng: jax.Array, batch: dict[str, jax.Array]) -> dict:
    """Variables for batches with these shapes."""
    return self.model.init({"params": rng}, batch, train=False)

  def loss(self, variables: dict, batch: dict, rng: jax.Array, train: bool) -> tuple[jax.Array, dict, dict]:
    """Scalar loss, metrics and the unchanged model state."""
    patches = f"{self.model.modality}/patches"
    present = batch[f"{self.model.modality}/present"]
    labels = batch["label"]
    if not self.multiple:
      present = present & (labels >= 0)
      labels = jax.nn.one_hot(labels, self.model.classes)
    mixing, dropout = jax.random.split(rng)
    if train and self.mix_up:
      mixed, labels = classification.mix_up(mixing, to_unit_range(batch[patches]), labels, present, self.mix_up)
      batch = {**batch, patches: mixed}
    logits_of = lambda part: self.model.apply(variables, part, train=train, rngs={"dropout": dropout})["logits"]
    inputs = {key: batch[key] for key in self.batch_keys[:2]}
    logits = in_pieces(logits_of, inputs, self.pieces)
    if self.multiple:
      loss = classification.sigmoid_loss(logits, labels, present, self.balanced)
    else:
      loss = classification.softmax_loss(logits, labels, present, self.label_smoothing)
    right = jnp.take_along_axis(labels, jnp.argmax(logits, axis=-1)[:, None], axis=-1)[:, 0] > 0
    metrics = {"loss": loss, "train/top_1": masked_mean(right.astype(jnp.float32), present)}
    return loss, metrics, {k: v for k, v in variables.items() if k != "params"}

  def encode(self, variables: dict, batch: dict) -> dict[str, jax.Array]:
    """`<modality>/pooled` and `logits`, in inference mode."""
    return self.model.apply(variables, batch, train=False)

  def on_mesh(self, mesh) -> "ClassifierObjective":
    """The same, with the attention of these devices; its loss is a mean over rows, which needs no mesh."""
    kernel = attention_lib.for_mesh(self.attention, mesh, self.model.dtype)
    return dataclasses.replace(self, model=self.model.clone(kernel=kernel))

  def with_grids(self, grids: dict[str, tuple[int, ...]]) -> "ClassifierObjective":
    """The same for clips of another size."""
    return dataclasses.replace(self, model=self.model.clone(grid=grids.get(self.model.modality, self.model.grid)))

  def adopt(self, variables: dict) -> dict:
    """The tower out of a pretrained model's variables; its heads and other towers stay behind.

    The encoder that the towers of a modality-agnostic model share becomes the tower's own.
    """
    params = variables["params"]
    if self.model.modality not in params:
      return variables
    tower = dict(params[self.model.modality])
    if "encoder" in params:
      tower["encoder"] = params["encoder"]
    return {"params": {name: params[name] for name in ("classifier",) if name in params} | {self.model.modality: tower}}


def inherit(config, source: dict | None) -> None:
  """Fills what the config leaves to `init_from`: the tower's size, its projections, the scale of its input and its patches.

  Args:
    config: of the run; changed in place.
    source: the config of the checkpoint to start from, or None; then `config.model.default_size` holds, and VATT's patches.
  """
  modality = config.objective.modality
  found = {"size": config.model.default_size, "post_width": 0, "input_scale": 1.0}
  found["patch"] = (4, 16, 16) if modality == "video" else 128
  if source:
    model = source["model"]
    if source["objective"]["name"] == "classifier":
      found |= {name: model[name] for name in ("size", "post_width", "input_scale")}
    else:
      agnostic = model["agnostic"]
      found["size"] = model["video_size"] if agnostic else model.get(f"{modality}_size", "")
      found["post_width"] = model["post_width"] if agnostic else 0
      found["input_scale"] = model.get("audio_scale", 1.0) if modality == "audio" else 1.0
    if modality in source["data"]:
      patch = source["data"][modality]["patch"]
      found["patch"] = tuple(patch) if modality == "video" else patch
  if not config.model.size:
    config.model.size = found["size"]
  for name in ("post_width", "input_scale"):
    if config.model[name] < 0:
      config.model[name] = found[name]
  track = config.data.get(modality)
  if track is not None and not track.patch:
    track.patch = found["patch"]


def from_config(config, options, vocabulary_size: int) -> ClassifierObjective:
  """Builds the model from `config.model` and the input options."""
  objective = config.objective
  if objective.modality not in ("video", "audio"):
    raise ValueError(f"objective.modality {objective.modality!r} is not one of video, audio")
  track = getattr(options, objective.modality)
  if track is None or options.label is None:
    raise ValueError(f"config.data needs {objective.modality} and label")
  if objective.mix_up and track.drop_rate:
    raise ValueError("mix_up mixes patches at the same place, so it cannot be used with DropToken")
  sizes.size(config.model.size)
  if config.model.projection_init not in PROJECTION_INITS:
    raise ValueError(f"projection_init {config.model.projection_init!r} is not one of {', '.join(PROJECTION_INITS)}")
  if options.label.classes < 2:
    raise ValueError(
      f"there are {options.label.classes} classes: the data set has no labels, or config.data.label.classes is not given"
    )
  fields = {name: value for name, value in config.model.items() if name != "default_size"}
  attention = attention_lib.take_choice(fields)
  model = Classifier(
    modality=objective.modality,
    grid=track.grid,
    classes=options.label.classes,
    classifier_init="sigmoid" if options.label.multiple else "softmax",
    sample_rate_hz=getattr(track, "sample_rate_hz", 0),
    **fields,
  )
  return ClassifierObjective(
    model,
    options.label.multiple,
    objective.label_smoothing,
    objective.balanced,
    objective.mix_up,
    config.get("accumulate", 1),
    attention,
  )
