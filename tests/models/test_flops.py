"""The closed form, the traced model and the paper agree."""

import math

import jax
import pytest

from vatt_jax import placement
from vatt_jax.models import flops
from vatt_jax.models.sizes import size
from vatt_jax.models.vatt import Vatt
from vatt_jax.training.flops import count_matmul_flops

from .test_vatt import TINY, batch_of


def traced(model, batch):
  """FLOPs of the model in training, counted without any array."""
  shapes = jax.eval_shape(
    lambda: model.init({"params": jax.random.key(0), "dropout": jax.random.key(0)}, batch, train=True)
  )
  apply = lambda variables: model.apply(
    variables, batch, train=True, rngs={"dropout": jax.random.key(0)}, mutable=["batch_stats"]
  )
  with placement.every_token():
    return count_matmul_flops(apply, shapes)


@pytest.mark.parametrize("drop_rate", flops.DROP_RATES)
def test_closed_form_is_what_the_model_runs(drop_rate):
  kept = lambda tokens: math.floor(tokens * (1 - drop_rate))
  model = Vatt("medium", "base", "small", (8, 14, 14), (1200,), 16, 100)
  batch = batch_of(2, kept(1568), 3072, kept(1200), 128, 5, 16)
  assert traced(model, batch) == 2 * flops.pretraining("medium", "base", "small", drop_rate)


@pytest.mark.parametrize("agnostic", [False, True])
def test_closed_form_at_tiny_size(agnostic):
  tiny, post = size("tiny"), 16 if agnostic else None
  width = post or tiny.width
  expected = flops.patch_tower(tiny, 8, 12, post_width=post) + flops.patch_tower(tiny, 6, 20, post_width=post)
  expected += 2 * flops.text_tower(tiny, 5, word_width=8, post_width=post)
  expected += flops.heads(width, width, width, 2, va_width=12, vt_width=10)
  assert traced(Vatt(**TINY, agnostic=agnostic), batch_of(3, 8, 12, 6, 20, 2, 5)) == 3 * expected


@pytest.mark.parametrize("row", list(flops.paper_table()), ids=lambda row: f"{row.name}, {row.drop_rate}")
def test_the_papers_figures_in_its_convention(row):
  assert abs(row.deviation) < 0.03
