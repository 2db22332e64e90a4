"""Encoders for raw video, sound and text: VATT and what follows from it, in JAX."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reads the files; its start-up messages help nobody.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
