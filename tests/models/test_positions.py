"""Position tables of another length: natural cubic splines with straight ends."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from vatt_jax.models import positions


@pytest.mark.parametrize("length", [1, 3, 7, 8, 20])
def test_equals_the_natural_spline_continued_linearly(length):
  table = np.random.default_rng(0).normal(size=(7, 3))
  knots, places = np.arange(7) / 7, np.arange(length) / length
  spline = CubicSpline(knots, table, bc_type="natural")
  beyond = np.maximum(places - knots[-1], 0.0)[:, None]
  expected = spline(np.minimum(places, knots[-1])) + beyond * spline(knots[-1], 1)
  np.testing.assert_allclose(positions.resize_table(table, length), expected, atol=1e-12)


def test_short_tables_and_the_same_length():
  table = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
  assert positions.resize_table(table, 2) is table
  longer = positions.resize_table(table, 4)
  assert longer.dtype == np.float32
  np.testing.assert_allclose(longer[1], table.mean(axis=0), atol=1e-6)  # halfway between the two knots
  np.testing.assert_allclose(positions.resize_table(table[:1], 3), np.repeat(table[:1], 3, axis=0))


def test_only_position_tables_are_resized():
  assert positions.fits("params/video/positions/axis_1", (14, 8), (20, 8))
  assert not positions.fits("params/video/positions/axis_1", (14, 8), (20, 16))
  assert not positions.fits("params/video/aggregation", (8,), (16,))
