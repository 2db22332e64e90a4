"""Looks into data and checkpoints; a file for each mode of `python -m vatt_jax.inspect`."""
