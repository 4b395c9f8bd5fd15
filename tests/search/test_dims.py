"""Bins by frequency, budgets of dimensions, and the step of a selection."""

import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse.search import dims


def test_bins_hold_shares_of_each_field_from_frequent_to_rare():
  count_R = np.array([0, 5, 9, 2, 7, 1, 3, 8, 6, 4, 10, 20])  # fields of 10 and of 2 rows
  found = dims.bins([10, 2], count_R, (0.3, 0.7))
  np.testing.assert_array_equal(found.bin_R, [1, 1, 0, 1, 0, 1, 1, 0, 1, 1, 3, 2])
  np.testing.assert_array_equal(found.field_Z, [0, 0, 1, 1])
  np.testing.assert_array_equal(found.rows_Z, [3, 7, 1, 1])
  np.testing.assert_array_equal(found.uses_Z, [24, 21, 20, 10])
  one = dims.bins([3, 1], np.ones(4), dims.SHARES)  # bins without rows are not there
  assert one.rows_Z.sum() == 4 and one.rows_Z.all() and set(one.field_Z) == {0, 1}


@pytest.mark.parametrize('budget', [0.03, 0.3, 1.0])
def test_a_budget_is_kept_and_used_up(budget):
  rng = np.random.default_rng(0)
  rows_Z = rng.integers(1, 40, 12)
  score_ZxD = rng.random((12, 8))
  kept_ZxD = dims.keep(score_ZxD, rows_Z, budget)
  used = (rows_Z[:, None] * kept_ZxD).sum()
  left = budget * rows_Z.sum() * 8 - used
  dropped = np.broadcast_to(rows_Z[:, None], kept_ZxD.shape)[~kept_ZxD]
  assert left >= 0 and (dropped > left).all()
  assert kept_ZxD.flat[score_ZxD.argmax()]


def test_widths_by_frequency_follow_a_power_of_it():
  bins = dims.bins([4], np.array([160, 160, 10, 10]), (0.5, 0.5))
  kept_ZxD = dims.keep(dims.by_frequency(bins, 64), bins.rows_Z, 0.5)
  frequent, rare = kept_ZxD.sum(1)
  assert frequent + rare == 64 and frequent / rare == pytest.approx(16**dims.POWER, rel=0.05)


def test_a_selection_moves_against_its_slope_and_stays_within_bounds():
  alpha_ZxD = jnp.array([[1.0, 1.0, 0.005, 0.5]] * 3)
  slope_ZxD = jnp.array([[4.0, -4.0, 4.0, 0.0], [4e-3, -4e-3, 4e-3, 0.0], [0.0] * 4])
  found = np.asarray(dims.moved(alpha_ZxD, slope_ZxD))
  np.testing.assert_allclose(found[0], [1 - 4 / 300, 1, 0, 0.5], atol=1e-6)
  np.testing.assert_allclose(found[1], found[0], atol=1e-4)  # whatever the size of the slope
  np.testing.assert_allclose(found[2], [0.99, 0.99, 0, 0.49], atol=1e-4)  # L1 alone
