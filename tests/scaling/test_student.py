"""Intervals at few seeds, against a table, plain loops and simulation."""

import numpy as np
import pytest

from rec_sparse.scaling import student
from rec_sparse.scaling.student import Spread

TABLE = {
  (0.975, 1): 12.7062,
  (0.975, 2): 4.30265,
  (0.975, 4): 2.77645,
  (0.975, 9): 2.26216,
  (0.95, 30): 1.69726,
  (0.975, 100): 1.98397,
  (0.975, 101): 1.98373,
  (0.995, 200): 2.60063,
  (0.975, 10**9): 1.95996,
}


@pytest.mark.parametrize('key', TABLE)
def test_student_quantile_is_the_printed_one(key):
  assert student.student_quantile(*key) == pytest.approx(TABLE[key], abs=1e-4)


def test_fisher_quantile_is_the_printed_one():
  assert student.fisher_quantile(0.95, 4, 28) == pytest.approx(2.7141, abs=1e-3)


def test_slope_weights_are_least_squares():
  rng = np.random.default_rng(0)
  x = rng.normal(size=7)
  y = rng.normal(size=7)
  assert student.slope_weights(x) @ y == pytest.approx(np.polyfit(x, y, 1)[0])
  assert student.slope_weights(x).sum() == pytest.approx(0, abs=1e-12)


def test_even_noise_is_pooled_over_the_whole_ladder():
  """A two-way analysis of variance.

  The degrees of freedom are those of all rungs, judged or not.
  """
  rng = np.random.default_rng(1)
  y = rng.normal(size=(6, 5))
  weights = np.concatenate([np.zeros(3), student.slope_weights(np.arange(3.0))])
  residuals = [
    y[r, s] - y[r].mean() - y[:, s].mean() + y.mean() for r in range(6) for s in range(5)
  ]
  found = student.spread_of_contrast(weights, y)
  assert found.freedom == 20
  assert found.deviation == pytest.approx(
    np.sqrt(np.square(residuals).sum() / 20 * np.square(weights).sum())
  )


def test_a_noisy_judged_rung_counts_by_itself():
  rng = np.random.default_rng(2)
  y = rng.normal(size=(6, 5)) * np.array([1, 1, 1, 1, 1, 20])[:, None]
  weights = np.concatenate([np.zeros(3), student.slope_weights(np.arange(3.0))])
  found = student.spread_of_contrast(weights, y)
  assert found.freedom == 4
  assert found.deviation == pytest.approx(np.std(weights @ y, ddof=1))


def test_a_mean_over_seeds_has_one_degree_of_freedom_less_than_seeds():
  """Its half width is the textbook one: t(.975; 3) = 3.18245 times s / sqrt(4)."""
  y = np.array([1.0, 2.0, 4.0, 9.0])
  found = student.spread_of_mean(y)
  assert found == Spread(pytest.approx(np.sqrt(38 / 3)), 3)
  assert student.half_width(found, 4) == pytest.approx(3.18245 * np.sqrt(38 / 3) / 2, rel=1e-5)


def test_what_a_seed_does_to_every_rung_cancels():
  rng = np.random.default_rng(3)
  y = rng.normal(size=(3, 4))
  weights = student.slope_weights(np.array([0.0, 1.0, 3.0]))
  plain, shifted = (
    student.spread_of_contrast(weights, v) for v in (y, y + 10 * rng.normal(size=4))
  )
  assert plain.freedom == shifted.freedom and plain.deviation == pytest.approx(shifted.deviation)


def test_half_widths_of_seeds_and_rows_add_up_in_quadrature():
  spread = Spread(3.0, 4)
  over_seeds = 2.77645 * 3.0 / np.sqrt(5)
  assert student.half_width(spread, 5) == pytest.approx(over_seeds, rel=1e-5)
  assert student.half_width(spread, 5, 2.0) == pytest.approx(
    np.hypot(over_seeds, 1.95996 * 2.0), rel=1e-5
  )


def test_percentile_bootstrap_of_four_seeds_is_the_trap_this_avoids():
  rng = np.random.default_rng(4)
  y = rng.normal(size=(1_000, 4))
  draws = np.einsum('nbs,ns->nb', rng.multinomial(4, [0.25] * 4, size=(1_000, 200)) / 4, y)
  low, high = np.quantile(draws, (0.025, 0.975), axis=1)
  percentile = ((low <= 0) & (0 <= high)).mean()
  honest = np.mean(
    [abs(own.mean()) <= student.half_width(student.spread_of_mean(own), 4) for own in y]
  )
  assert percentile < 0.88 < 0.93 < honest < 0.97
