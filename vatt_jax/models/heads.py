"""Heads into the common spaces.

Source: VATT section 3.3; google-research/vatt, modeling/heads/bridge.py ("FAC", fine and coarse): video meets sound in
S_va, and text in S_vt, which is reached from S_va. Outputs are not normalised; losses and retrieval do that.
"""

from flax import linen as nn
import jax

from vatt_jax.models.transformer import dense


class FacHead(nn.Module):
  """Fine-and-coarse common spaces.

  Attributes:
    va_width: of S_va (512 in VATT).
    vt_width: of S_vt (256 in VATT), and of S_at where it exists.
    audio_text: whether sound and text have a space of their own (ours; needed to train that pair).
  """

  va_width: int = 512
  vt_width: int = 256
  audio_text: bool = False

  def setup(self):
    self.video_hidden = dense(self.va_width, use_bias=False)
    self.video_hidden_norm = batch_norm()
    self.video_to_va = dense(self.va_width, use_bias=False)
    self.video_to_va_norm = batch_norm()
    self.va_to_vt_projection = dense(self.vt_width, use_bias=False)
    self.va_to_vt_norm = batch_norm()
    self.audio_to_va = dense(self.va_width)
    self.text_to_vt = dense(self.vt_width)
    if self.audio_text:
      self.audio_to_at = dense(self.vt_width)
      self.text_to_at = dense(self.vt_width)

  def va_to_vt(self, x: jax.Array, train: bool) -> jax.Array:
    """S_va (B, va_width) -> S_vt (B, vt_width), the video branch's own map."""
    return self.va_to_vt_norm(self.va_to_vt_projection(nn.relu(x)), use_running_average=not train)

  def __call__(self, video: jax.Array, audio: jax.Array, text: jax.Array, train: bool) -> dict[str, jax.Array]:
    """Pooled video (B, D), audio (B, D), text (B * K, D) -> name -> float32 (B or B * K, E).

    In inference sound is also carried to the text space by the video branch's map (`audio/vt`); in training it is
    not, since that would move the batch statistics.
    """
    hidden = nn.relu(self.video_hidden_norm(self.video_hidden(video), use_running_average=not train))
    out = {"video/va": self.video_to_va_norm(self.video_to_va(hidden), use_running_average=not train)}
    out["video/vt"] = self.va_to_vt(out["video/va"], train)
    out["audio/va"] = self.audio_to_va(audio)
    out["text/vt"] = self.text_to_vt(text)
    if self.audio_text:
      out["audio/at"] = self.audio_to_at(audio)
      out["text/at"] = self.text_to_at(text)
    if not train:
      out["audio/vt"] = self.va_to_vt(out["audio/va"], train)
    return out


def batch_norm() -> nn.BatchNorm:
  """Over the global batch: under `jit` with a sharded batch the mean is the mean of all devices."""
  return nn.BatchNorm(momentum=0.9, epsilon=1e-5)
