"""Embeddings of any media and sentences in one file, and search in it: what `python -m vatt_jax.embed` does.

sources.py finds and reads media, encoder.py runs the model, making.py fills an index (index.py), query.py searches it,
gallery.py shows what was found.
"""
