"""The three laws: exact recovery, invariances, and every fast path against a plain reference."""

import itertools
import time

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest

from rec_sparse.scaling import fit

X = np.geomspace(1e4, 3e7, 9)
ONES = np.ones(9)
TRUTHS = {
  'power': {'E': 0.0, 'A': 0.6, 'alpha': 0.013, 'x_s': np.inf},
  'power + constant': {'E': 0.4378, 'A': 0.02 * 1e5**0.18, 'alpha': 0.18, 'x_s': np.inf},
  'hinge plateau': {'E': 0.4378, 'A': 0.02 * 1e5**0.3, 'alpha': 0.3, 'x_s': 2.2e6},
}


def law_values(truth, x=X):
  return truth['E'] + truth['A'] * np.minimum(x, truth['x_s']) ** -truth['alpha']


def plain_fit(name, x, y, w):
  """Weighted least squares by lstsq, an exponent and a beginning of the plateau at a time."""
  best = (np.inf, None)
  knots = (
    np.geomspace(np.unique(x)[2], np.unique(x)[-2], 60) if name == 'hinge plateau' else [np.inf]
  )
  for alpha, x_s in itertools.product(np.geomspace(1e-2, 3, 250), knots):
    f = (np.minimum(x, x_s) / x[0]) ** -alpha
    design = f[:, None] if name == 'power' else np.stack([np.ones_like(f), f], 1)
    c = np.linalg.lstsq(design * np.sqrt(w)[:, None], y * np.sqrt(w), rcond=None)[0]
    sse = (w * (y - design @ c) ** 2).sum()
    if (c >= 0).all() and sse < best[0]:
      best = (sse, alpha)
  return best


@pytest.mark.parametrize('name', fit.LAWS)
def test_recovers_the_law_without_noise(name):
  truth = TRUTHS[name]
  law = fit.fit_law(name, X, law_values(truth), ONES)
  assert law.identified
  for key in ('E', 'alpha', 'x_s'):
    assert getattr(law, key) == pytest.approx(truth[key], rel=1e-5, abs=1e-6)
  np.testing.assert_allclose(law(X), law_values(truth), atol=1e-8)


@pytest.mark.parametrize('x_s', [X[3], X[5], 1.1 * X[4]])
def test_recovers_a_plateau_that_begins_at_a_rung_or_between_two(x_s):
  truth = TRUTHS['hinge plateau'] | {'x_s': x_s}
  law = fit.fit_law('hinge plateau', X, law_values(truth), ONES)
  assert law.x_s == pytest.approx(x_s, rel=1e-3)
  assert law.asymptote == pytest.approx(law_values(truth)[-1], abs=1e-7)


def test_recovers_the_law_with_noise():
  rng = np.random.default_rng(0)
  y = law_values(TRUTHS['power + constant'])[:, None] + 2e-4 * rng.normal(size=(9, 4))
  points = fit.gather_points(X, list(y))
  law = fit.choose_law(fit.fit_laws(points), points)
  assert law.name == 'power + constant'
  assert law.E == pytest.approx(0.4378, abs=8e-4) and law.alpha == pytest.approx(0.18, abs=0.01)


@pytest.mark.parametrize('name', fit.LAWS)
def test_aicc_chooses_the_true_law(name):
  rng = np.random.default_rng(1)
  points = fit.gather_points(
    X, list(law_values(TRUTHS[name])[:, None] + 1e-4 * rng.normal(size=(9, 5)))
  )
  assert fit.choose_law(fit.fit_laws(points), points).name == name


@pytest.mark.parametrize('name', fit.LAWS)
def test_without_noise_the_simplest_exact_law_wins(name):
  points = fit.gather_points(X, [np.full(3, y) for y in law_values(TRUTHS[name])])
  assert fit.choose_law(fit.fit_laws(points), points).name == name


@pytest.mark.parametrize('name', fit.LAWS)
def test_search_is_no_worse_than_a_plain_grid(name):
  rng = np.random.default_rng(2)
  for _ in range(2):
    y, w = law_values(TRUTHS['hinge plateau']) + 1e-3 * rng.normal(size=9), rng.uniform(0.3, 3, 9)
    sse, alpha = plain_fit(name, X, y, w)
    law = fit.fit_law(name, X, y, w)
    assert law.sse <= sse * (1 + 1e-9)
    assert law.sse == pytest.approx((w * (y - law(X)) ** 2).sum(), rel=1e-6)
    if name == 'power + constant':
      assert law.alpha == pytest.approx(alpha, rel=0.03)


@pytest.mark.parametrize('name', fit.LAWS)
def test_batch_of_fits_is_each_fit(name):
  y = law_values(TRUTHS['hinge plateau']) + 1e-3 * np.random.default_rng(3).normal(size=(6, 9))
  batch = fit.fit_law(name, X, y, ONES)
  for i, row in enumerate(y):
    one = fit.fit_law(name, X, row, ONES)
    for key in fit.Law._fields[1:]:
      np.testing.assert_allclose(getattr(batch, key)[i], getattr(one, key), rtol=1e-9)


def test_rungs_carry_what_seed_level_points_do():
  rng = np.random.default_rng(4)
  counts = [3, 2, 4, 3, 3, 1, 5, 3, 3]
  seeds = [
    y + 1e-3 * rng.normal(size=n)
    for y, n in zip(law_values(TRUTHS['power + constant']), counts, strict=True)
  ]
  points = fit.gather_points(X, seeds)
  law = fit.fit_law('power + constant', points.x_P, points.y_P, points.weight_P)
  weights = points.weight_P / [len(y) for y in seeds]
  plain = sum(w * ((y - law(x)) ** 2).sum() for w, x, y in zip(weights, X, seeds, strict=True))
  assert law.sse + points.within == pytest.approx(plain)
  assert points.weight_P.sum() == pytest.approx(points.count) == 27


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(1e-6, 1e6), name=st.sampled_from(fit.LAWS), seed=st.integers(0, 99))
def test_scaling_x_changes_the_coefficient_alone(scale, name, seed):
  y = law_values(TRUTHS['hinge plateau']) + 3e-4 * np.random.default_rng(seed).normal(size=9)
  law, scaled = fit.fit_law(name, X, y, ONES), fit.fit_law(name, X * scale, y, ONES)
  np.testing.assert_allclose(
    [scaled.E, scaled.alpha, scaled.sse], [law.E, law.alpha, law.sse], rtol=1e-3, atol=1e-9
  )
  np.testing.assert_allclose(scaled.A, law.A * scale**law.alpha, rtol=3e-3)
  np.testing.assert_allclose(scaled.x_s, law.x_s * scale, rtol=1e-3)


@settings(max_examples=30, deadline=None)
@given(shift=st.floats(0, 5), name=st.sampled_from(fit.LAWS[1:]), seed=st.integers(0, 99))
def test_shifting_y_changes_the_constant_alone(shift, name, seed):
  y = law_values(TRUTHS[name]) + 1e-4 * np.random.default_rng(seed).normal(size=9)
  law, shifted = fit.fit_law(name, X, y, ONES), fit.fit_law(name, X, y + shift, ONES)
  np.testing.assert_allclose(shifted.alpha, law.alpha, rtol=1e-4)
  np.testing.assert_allclose(shifted.A, law.A, rtol=1e-3)
  np.testing.assert_allclose(shifted.E - shift, law.E, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.01, 2), min_size=5, max_size=9))
def test_any_losses_give_an_admissible_law(losses):
  y = np.array(losses)
  points = fit.gather_points(X[: len(y)], [np.array([v]) for v in y])
  for law in fit.fit_laws(points).values():
    assert law.E >= 0 and law.A >= 0 and np.isfinite(law.sse)
    assert (
      law.sse <= (points.weight_P * (y - y.mean()) ** 2).sum() * (1 + 1e-6) + 1e-12
      or law.name == 'power'
    )


@pytest.mark.parametrize(
  'y', [np.full(9, 0.45), np.linspace(0.44, 0.46, 9)], ids=['flat', 'rising']
)
def test_what_does_not_fall_has_no_exponent(y):
  assert not fit.fit_law('power + constant', X, y, ONES).identified
  assert not fit.fit_law('power', X, y, ONES).identified


def test_a_step_is_at_the_end_of_the_grid_and_not_identified():
  law = fit.fit_law('power + constant', X, np.where(X > X[0], 0.44, 0.5), ONES)
  assert not law.identified and law.alpha == pytest.approx(3, rel=0.05)


def test_too_few_sizes_is_said():
  with pytest.raises(ValueError, match="law 'hinge plateau' needs 5 distinct sizes, not 3"):
    fit.fit_law('hinge plateau', X[:3], ONES[:3], ONES[:3])
  assert list(fit.fit_laws(fit.gather_points(X[:4], [np.ones(2)] * 4))) == [
    'power',
    'power + constant',
  ]
  with pytest.raises(ValueError, match='2 rungs and 2 seeds, not 9 and 1'):
    fit.resample_means(np.random.default_rng(0), np.ones((9, 1)), 10)


def test_a_lucky_rung_does_not_own_the_fit():
  seeds = [np.array([0.5, 0.5 + 1e-12, 0.5])] + [0.4 + 1e-3 * np.arange(3)] * 5
  weight_P = fit.gather_points(X[:6], seeds).weight_P
  assert weight_P[0] < 3 * weight_P[1]


def test_thousand_refits_of_nine_rungs_take_less_than_three_seconds():
  rng = np.random.default_rng(5)
  y = law_values(TRUTHS['hinge plateau'])[:, None] + 2e-4 * rng.normal(size=(9, 5))
  began = time.process_time()
  for name in fit.LAWS:
    law = fit.fit_law(name, X, fit.resample_means(rng, y, 1000), ONES)
  assert time.process_time() - began < 3
  assert law.E.shape == (1000,)


def test_resampled_means_are_centred_and_as_wide_as_they_say():
  rng = np.random.default_rng(6)
  y = rng.normal(size=(40, 5))
  means = fit.resample_means(rng, y, 4000)
  np.testing.assert_allclose(means.mean(0), y.mean(1), atol=0.05)
  assert np.sqrt(means.var(0).mean()) == pytest.approx(np.sqrt(1 / 5), rel=0.15)


@pytest.mark.parametrize('seeds', [3, 5])
def test_interval_of_the_constant_covers_where_percentiles_do_not(seeds):
  rng = np.random.default_rng(7)
  truth = TRUTHS['power + constant'] | {'A': 0.02 * 1e4**0.3, 'alpha': 0.3}
  hits = np.zeros(2)
  for _ in range(80):
    y = law_values(truth)[:, None] + 2e-4 * rng.normal(size=(9, seeds))
    plain = (rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=(200, 9)) / seeds * y).sum(-1)
    for i, means in enumerate((fit.resample_means(rng, y, 200), plain)):
      low, high = np.quantile(fit.fit_law('power + constant', X, means, ONES).E, (0.025, 0.975))
      hits[i] += low <= truth['E'] <= high
  assert hits[0] / 80 >= 0.88 and hits[0] > hits[1]
