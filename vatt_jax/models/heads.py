"""Heads into the common spaces.

Source: VATT section 3.3; google-research/vatt, modeling/heads/{bridge,mlp_lib}.py. "FAC" is fine and coarse: video
meets sound in S_va, and text in S_vt, which is reached from S_va. Outputs are not normalised; losses and retrieval do
that.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from vatt_jax.models.transformer import dense


class FacHead(nn.Module):
  """Fine-and-coarse common spaces.

  Attributes:
    va_width: of S_va (512 in VATT).
    vt_width: of S_vt (256 in VATT), and of S_at where it exists.
    audio_text: whether sound and text have a space of their own (ours; needed to train that pair).
    norms: "video": batch norm on the video branch only (official code); "all": after every linear layer (paper).
    va_to_vt_form: "mlp": ReLU, linear, batch norm (official code); "linear" (paper).
  """

  va_width: int = 512
  vt_width: int = 256
  audio_text: bool = False
  norms: str = "video"
  va_to_vt_form: str = "mlp"

  def setup(self):
    self.video_hidden = dense(self.va_width, use_bias=False)
    self.video_hidden_norm = batch_norm()
    self.video_to_va = dense(self.va_width, use_bias=False)
    self.video_to_va_norm = batch_norm()
    self.va_to_vt_projection = dense(self.vt_width, use_bias=False)
    if self.va_to_vt_form == "mlp" or self.norms == "all":
      self.va_to_vt_norm = batch_norm()
    self.audio_to_va = dense(self.va_width)
    self.text_to_vt = dense(self.vt_width)
    if self.norms == "all":
      self.audio_to_va_norm = batch_norm()
      self.text_to_vt_norm = batch_norm()
    if self.audio_text:
      self.audio_to_at = dense(self.vt_width)
      self.text_to_at = dense(self.vt_width)

  def va_to_vt(self, x: jax.Array, train: bool) -> jax.Array:
    """S_va (B, va_width) -> S_vt (B, vt_width), the video branch's own map."""
    x = self.va_to_vt_projection(nn.relu(x) if self.va_to_vt_form == "mlp" else x)
    if self.va_to_vt_form == "linear" and self.norms == "video":
      return x
    return self.va_to_vt_norm(x, use_running_average=not train)

  def __call__(
    self, video: jax.Array | None, audio: jax.Array | None, text: jax.Array | None, train: bool
  ) -> dict[str, jax.Array]:
    """Pooled video (B, D), audio (B, D), text (B * K, D) -> name -> float32 (B or B * K, E); None is left out.

    In inference sound is also carried to the text space by the video branch's map (`audio/vt`); in training it is
    not, since that would move the batch statistics.
    """
    out = {}
    if video is not None:
      hidden = nn.relu(self.video_hidden_norm(self.video_hidden(video), use_running_average=not train))
      out["video/va"] = self.video_to_va_norm(self.video_to_va(hidden), use_running_average=not train)
      out["video/vt"] = self.va_to_vt(out["video/va"], train)
    if audio is not None:
      out["audio/va"] = self.audio_to_va(audio)
      if self.norms == "all":
        out["audio/va"] = self.audio_to_va_norm(out["audio/va"], use_running_average=not train)
      if self.audio_text:
        out["audio/at"] = self.audio_to_at(audio)
      if not train:
        out["audio/vt"] = self.va_to_vt(out["audio/va"], train)
    if text is not None:
      out["text/vt"] = self.text_to_vt(text)
      if self.norms == "all":
        out["text/vt"] = self.text_to_vt_norm(out["text/vt"], use_running_average=not train)
      if self.audio_text:
        out["text/at"] = self.text_to_at(text)
    return out


class JointHead(nn.Module):
  """One space for all modalities ("mlp_joint"): ReLU, linear without bias, batch norm, each its own.

  Attributes:
    width: of the space (512 in the official code). Every output of a modality is the same vector.
  """

  width: int = 512

  @nn.compact
  def __call__(
    self, video: jax.Array | None, audio: jax.Array | None, text: jax.Array | None, train: bool
  ) -> dict[str, jax.Array]:
    """As `FacHead`."""
    out = {}
    spaces = {"video": ("va", "vt"), "audio": ("va", "vt", "at"), "text": ("vt", "at")}
    for (modality, names), x in zip(spaces.items(), (video, audio, text)):
      if x is not None:
        x = dense(self.width, f"{modality}_projection", use_bias=False)(nn.relu(x))
        x = nn.BatchNorm(momentum=0.9, epsilon=1e-5, name=f"{modality}_norm")(x, use_running_average=not train)
        out |= {f"{modality}/{name}": x for name in names}
    return out


# Two modalities together -> what they meet, and the name of the space. Ours; newer recipes have such pairs.
JOINED = {
  "videoaudio": (("video", "audio"), "text", "va_t"),
  "videotext": (("video", "text"), "audio", "vt_a"),
  "audiotext": (("audio", "text"), "video", "at_v"),
}


class JoinedHead(nn.Module):
  """A space in which two modalities together meet the third: two linear layers, like the space of sound and text.

  Attributes:
    joined: a key of `JOINED`.
    width: of the space.
  """

  joined: str
  width: int

  @nn.compact
  def __call__(self, pooled: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """`<modality>/pooled` (B, D), of text (B, K, D) -> `<joined>/<space>` and `<other>/<space>`, (B, E) or (B, K, E).

    Nothing where one of the three is not there.
    """
    parts, other, space = JOINED[self.joined]
    if any(f"{modality}/pooled" not in pooled for modality in (*parts, other)):
      return {}
    first, second = (pooled[f"{modality}/pooled"] for modality in parts)
    if second.ndim > first.ndim:  # Each caption with the one clip.
      first = jnp.broadcast_to(first[:, None], (*second.shape[:2], first.shape[-1]))
    together = jnp.concatenate([first, second], axis=-1)
    return {
      f"{self.joined}/{space}": dense(self.width, name="joined")(together),
      f"{other}/{space}": dense(self.width, name="other")(pooled[f"{other}/pooled"]),
    }


def batch_norm() -> nn.BatchNorm:
  """Over the global batch: under `jit` with a sharded batch the mean is the mean of all devices."""
  return nn.BatchNorm(momentum=0.9, epsilon=1e-5)
