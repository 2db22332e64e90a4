"""Where downloads and compiled programs live."""

import os
import pathlib


def cache_directory() -> pathlib.Path:
  """$VATT_JAX_CACHE, else `vatt_jax` in the user's cache folder."""
  home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(os.environ.get("VATT_JAX_CACHE") or pathlib.Path(home) / "vatt_jax")
