"""Intervals at few seeds: quantiles against a table, contrasts against plain loops, coverage by simulation."""

import numpy as np
import pytest

from rec_sparse.scaling import student

TABLE = {(0.975, 1): 12.7062, (0.975, 2): 4.30265, (0.975, 4): 2.77645, (0.975, 9): 2.26216, (0.95, 30): 1.69726,
         (0.975, 100): 1.98397, (0.975, 101): 1.98373, (0.995, 200): 2.60063, (0.975, 10**9): 1.95996}


@pytest.mark.parametrize('key', TABLE)
def test_student_quantile_is_the_printed_one(key):
  assert student.student_quantile(*key) == pytest.approx(TABLE[key], abs=1e-4)


def test_quantile_is_smooth_where_the_formula_changes():
  below, above = (student.student_quantile(0.975, freedom) for freedom in (100, 101))
  assert 1.5e-4 < below - above < 2.5e-4


def test_slope_weights_are_least_squares():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=7), rng.normal(size=7)
  assert student.slope_weights(x) @ y == pytest.approx(np.polyfit(x, y, 1)[0])
  assert student.slope_weights(x).sum() == pytest.approx(0, abs=1e-12)


def test_paired_contrast_is_a_two_way_analysis_of_variance():
  rng = np.random.default_rng(1)
  y, weights = rng.normal(size=(4, 5)), student.slope_weights(np.arange(4.0))
  residuals = [y[r, s] - y[r].mean() - y[:, s].mean() + y.mean() for r in range(4) for s in range(5)]
  pooled = np.sqrt(np.square(residuals).sum() / 12 * np.square(weights).sum())
  by_seed = np.std([np.polyfit(np.arange(4.0), y[:, s], 1)[0] for s in range(5)], ddof=1)
  found = student.paired_contrast(weights, y)
  assert found.freedom == 12
  assert found.spread == pytest.approx(max(pooled, by_seed))
  assert found.value == pytest.approx(np.polyfit(np.arange(4.0), y.mean(1), 1)[0])


def test_contrast_ignores_what_a_seed_does_to_every_rung():
  rng = np.random.default_rng(2)
  y, weights = rng.normal(size=(3, 4)), student.slope_weights(np.array([0.0, 1.0, 3.0]))
  plain, shifted = (student.paired_contrast(weights, v) for v in (y, y + 10 * rng.normal(size=4)))
  np.testing.assert_allclose(plain.spread, shifted.spread)
  np.testing.assert_allclose(plain.value, shifted.value)


@pytest.mark.parametrize('seeds', [3, 5])
@pytest.mark.parametrize('noise', ['equal', 'ends noisier', 'growing', 'shared by rungs', 'heavy tails'])
def test_nominal_95_covers_at_least_90(seeds, noise):
  rng = np.random.default_rng(3)
  y = rng.normal(size=(20_000, 3, seeds))
  if noise == 'ends noisier':
    y *= np.array([3.0, 1.0, 3.0])[:, None]
  elif noise == 'growing':
    y *= np.array([1.0, 2.0, 4.0])[:, None]
  elif noise == 'shared by rungs':
    y += 2 * rng.normal(size=(20_000, 1, seeds))
  elif noise == 'heavy tails':
    y = rng.standard_t(3, size=y.shape)
  found = student.paired_contrast(student.slope_weights(np.log([1e4, 3.7e4, 1.5e5])), y)
  covered = np.abs(found.value) <= student.half_width(found.spread, found.freedom, seeds)
  assert 0.92 <= covered.mean() <= 0.985


def test_percentile_bootstrap_of_four_seeds_is_the_trap_this_avoids():
  rng = np.random.default_rng(4)
  y = rng.normal(size=(2_000, 4))
  draws = np.einsum('nbs,ns->nb', rng.multinomial(4, [0.25] * 4, size=(2_000, 200)) / 4, y)
  low, high = np.quantile(draws, (0.025, 0.975), axis=1)
  percentile = ((low <= 0) & (0 <= high)).mean()
  mean = student.mean_of_seeds(y)
  honest = (np.abs(mean.value) <= student.half_width(mean.spread, mean.freedom, 4)).mean()
  assert percentile < 0.88 < 0.93 < honest


def test_one_seed_has_no_interval():
  found = student.paired_contrast(student.slope_weights(np.arange(3.0)), np.ones((3, 1)))
  assert found.freedom == 0 and np.isnan(student.half_width(found.spread, found.freedom, 1))
  assert np.isnan(student.mean_of_seeds(np.ones(1)).spread)
