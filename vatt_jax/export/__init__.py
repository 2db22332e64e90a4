"""Trained encoders for others: weights as safetensors (weights.py), and functions that need only JAX (functions.py)."""
