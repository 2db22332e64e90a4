"""One tower and a linear layer: a fine-tuned video, image or audio classifier.

Source: VATT sections 4.2 and A.2.5; google-research/vatt, experiments/finetune.py.
"""

import math

from flax import linen as nn
import jax

from vatt_jax.models import towers, transformer
from vatt_jax.models.dropout import drop
from vatt_jax.models.kernels import Kernel
from vatt_jax.models.linear import Dense
from vatt_jax.models.sizes import size
from vatt_jax.models.vatt import PROJECTION_INITS, encoder_fields


class Classifier(nn.Module):
  """Patches of one modality -> pooled -> dropout -> logits.

  Attributes:
    modality: "video" (pictures too) or "audio"; the tower's name among the parameters.
    size: as in `models.sizes`.
    grid: patches per axis of a whole clip.
    classes: C.
    post_width: 0 for weights of a modality-specific model; for a modality-agnostic one the width of its projections.
    dropout: of the tower.
    classifier_dropout: before the last layer.
    classifier_init: "softmax" (glorot normal, bias 0) or "sigmoid" (glorot uniform, bias -ln(C - 1), so that each class
      starts out with probability 1 / C).
    input_scale, projection_init, sample_rate_hz, dtype, remat, scan, attention_dropout, kernel: see `vatt.Vatt`.
  """

  modality: str
  size: str
  grid: tuple[int, ...]
  classes: int
  post_width: int = 0
  dropout: float = 0.1
  classifier_dropout: float = 0.0
  classifier_init: str = "softmax"
  input_scale: float = 1.0
  projection_init: str = "conv_glorot"
  sample_rate_hz: int = 48_000
  dtype: str = "float32"
  remat: str = "none"
  scan: bool = False
  attention_dropout: float | None = None
  kernel: Kernel | None = None

  def setup(self):
    channels = 3 if self.modality == "video" else 1
    tower = towers.PatchTower(
      transformer.Encoder(
        **encoder_fields(self.size, self.dropout),
        dtype=self.dtype,
        remat=self.remat,
        scan=self.scan,
        attention_dropout=self.attention_dropout,
        kernel=self.kernel,
        parent=None,
      ),  # fmt: skip
      self.grid,
      size(self.size).width,
      self.dropout,
      self.post_width or None,
      self.input_scale,
      PROJECTION_INITS[self.projection_init](channels, self.sample_rate_hz),
      projection_bias=len(self.grid) != 2,
    )
    setattr(self, self.modality, tower)
    if self.classifier_init == "sigmoid":
      bias = nn.initializers.constant(-math.log(max(self.classes - 1, 1)))
      self.classifier = Dense(self.classes, kernel_init=nn.initializers.xavier_uniform(), bias_init=bias)
    else:
      self.classifier = Dense(self.classes, kernel_init=nn.initializers.xavier_normal())

  def __call__(self, batch: dict[str, jax.Array], *, train: bool) -> dict[str, jax.Array]:
    """A batch with `<modality>/patches` and positions -> `<modality>/pooled` (B, D) and `logits` (B, C), float32."""
    tower = getattr(self, self.modality)
    pooled = tower(batch[f"{self.modality}/patches"], batch[f"{self.modality}/positions"], train=train)
    kept = pooled
    if train and self.classifier_dropout:
      kept = drop(pooled, self.make_rng("dropout"), self.classifier_dropout)
    logits = self.classifier(kept)
    return {f"{self.modality}/pooled": pooled, "logits": logits}
