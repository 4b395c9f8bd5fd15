"""Arms at equal size: against a plain interpolation, and for what must cancel."""

import fake_study
import numpy as np
import pytest

from rec_sparse.scaling import compare
from rec_sparse.scaling import records


def test_interpolates_on_ln_x_seed_by_seed():
  rng = np.random.default_rng(0)
  first = [fake_study.make_rung('a', f, rng.normal(size=3)) for f in (1, 10, 100)]
  second = [fake_study.make_rung('b', f, rng.normal(size=3)) for f in (5, 50, 500)]
  found = compare.compare(first, second, 'flops')
  assert [gap.low for gap in found.points] == pytest.approx([5, 10, 50, 100])
  gaps = []
  for seed in range(3):
    a = np.interp(
      np.log(50), np.log([1, 10, 100]), [r.metrics['test_logloss'][seed] for r in first]
    )
    gaps.append(second[1].metrics['test_logloss'][seed] - a)
  at_50 = found.points[2]
  half = 4.30265 * np.std(gaps, ddof=1) / np.sqrt(3)
  assert at_50.value == pytest.approx(np.mean(gaps))
  assert at_50.interval == pytest.approx((np.mean(gaps) - half, np.mean(gaps) + half), rel=1e-5)
  assert (found.overall.low, found.overall.high) == pytest.approx((5, 100))
  u, values = np.log([gap.low for gap in found.points]), [gap.value for gap in found.points]
  assert found.overall.value == pytest.approx(np.trapezoid(values, u) / np.log(20))


def test_what_a_seed_does_to_both_arms_cancels():
  effect = np.array([0.0, 0.1, -0.2])
  first = [fake_study.make_rung('a', f, 0.5 + effect) for f in (1, 10)]
  second = [fake_study.make_rung('b', f, 0.4 + effect) for f in (1, 10)]
  found = compare.compare(first, second, 'flops').overall
  assert found.value == pytest.approx(-0.1) and found.interval == pytest.approx((-0.1, -0.1))


def test_axes_can_disagree():
  first = [fake_study.make_rung('a', f, [0.5 - f / 100] * 2, nonzero=f) for f in (1, 2, 4, 8)]
  second = [fake_study.make_rung('b', f, [0.5 - f / 100] * 2, nonzero=f / 4) for f in (1, 2, 4, 8)]
  by_flops, by_params = (compare.compare(first, second, axis) for axis in compare.AXES)
  assert by_flops.overall.value == pytest.approx(0)
  assert by_params.overall.value < 0 and (
    by_params.overall.low,
    by_params.overall.high,
  ) == pytest.approx((1, 2))


def test_rungs_of_one_size_are_averaged():
  first = [
    fake_study.make_rung('a', 10, [0.4]),
    fake_study.make_rung('a', 10, [0.6]),
    fake_study.make_rung('a', 20, [0.5]),
  ]
  found = compare.compare(first, [fake_study.make_rung('b', 10, [0.5])], 'flops')
  assert found.overall.value == pytest.approx(0) and found.overall.interval is None


def test_arms_that_do_not_meet_or_share_no_seed_are_left_open():
  a, b = [fake_study.make_rung('a', 1, [0.5, 0.5])], [fake_study.make_rung('b', 2, [0.5, 0.5])]
  assert compare.compare(a, b, 'flops').overall is None
  assert (
    compare.compare(a, [fake_study.make_rung('b', 1, [0.5], seeds=(7,))], 'flops').overall is None
  )


def test_every_pair_of_arms_with_rungs(tmp_path):
  truths = {'a': fake_study.power_law(), 'b': fake_study.plateau(), 'c': fake_study.plateau()}
  rungs = records.rungs_by_arm(
    records.read_results(fake_study.write_study(tmp_path / 's', truths, widths=(8, 16)))[0]
  )
  assert len(compare.compare_arms(rungs)) == 6
  assert len(compare.compare_arms(rungs | {'a': ()})) == 2
  assert compare.compare_arms({'a': rungs['a']}) == ()


@pytest.mark.parametrize('seeds', [3, 5])
def test_interval_covers(seeds):
  rng, hits = np.random.default_rng(1), 0
  for _ in range(300):
    shared = rng.normal(size=seeds)
    a, b = (
      [fake_study.make_rung(arm, f, shared + rng.normal(size=seeds)) for f in (1, 10, 100)]
      for arm in 'ab'
    )
    low, high = compare.compare(a, b, 'flops').overall.interval
    hits += low <= 0 <= high
  assert hits / 300 >= 0.92
