"""Verdicts on simulated studies whose truth is known."""

import numpy as np
import pytest

import fake_study
from rec_sparse.scaling import records, verdict

WIDE = (16, 32, 64, 128, 256, 512)


def judge(tmp_path, truth, name='study', **study):
  directory = fake_study.write_study(tmp_path / name, {'dense_mlp': truth}, **study)
  return verdict.judge(records.rungs_by_arm(records.read_study(directory))['dense_mlp'])


def make_rung(flops, losses, width=1, seeds=None):
  metrics = dict.fromkeys(records.METRICS, np.asarray(losses, float))
  seeds = tuple(range(len(losses))) if seeds is None else seeds
  return records.Rung('a', width, 1, 1, flops, flops / 2, flops / 2, 10.0, 0.1, '', True, seeds, metrics)


def test_a_power_law_scales(tmp_path):
  v = judge(tmp_path, fake_study.power_law(), seeds=5)
  assert v.call == 'scaling' and v.law.name == 'power + constant' and v.seeds_needed == 5
  assert v.slope.interval[1] < -1e-3
  assert v.irreducible_interval[0] <= 0.4378 <= v.irreducible_interval[1]
  assert v.exponent_interval[0] <= 0.3 <= v.exponent_interval[1]
  assert abs(v.holdout.predicted - v.holdout.observed) < 5e-4
  assert set(v.without_rung.values()) == {'scaling'}


def test_a_plateau_is_saturated(tmp_path):
  v = judge(tmp_path, fake_study.plateau(), seeds=5, noise=5e-5)
  assert v.call == 'saturated' and v.law.name == 'hinge plateau'
  assert v.irreducible == pytest.approx(fake_study.plateau()(1e9), abs=1e-4)
  assert v.irreducible_interval[0] <= fake_study.plateau()(1e9) <= v.irreducible_interval[1]


def test_getting_worse_with_size_is_saturated(tmp_path):
  v = judge(tmp_path, lambda flops: 0.44 + 1e-3 * np.log(flops), seeds=3, noise=1e-5)
  assert v.call == 'saturated' and v.slope.interval[0] > 0 and 'larger is worse' in v.reason
  assert v.exponent is None and v.irreducible is None


def test_two_noisy_seeds_are_undetermined(tmp_path):
  v = judge(tmp_path, fake_study.plateau(), seeds=2, noise=5e-4)
  assert v.call == 'undetermined' and v.seeds_needed > 2


def test_noise_cannot_pass_as_a_plateau():
  rng = np.random.default_rng(0)
  truth = [0.45, 0.4495, 0.449]  # falls by 5 delta per e-fold
  calls = [verdict.classify(verdict.local_slope(
      [make_rung(np.exp(i), y + 3e-3 * rng.normal(size=3)) for i, y in enumerate(truth)]).interval, 1e-4)
           for _ in range(400)]
  assert calls.count('saturated') <= 0.05 * 400
  assert calls.count('undetermined') > 300


@pytest.mark.parametrize('slope, wrong', [(0.0, 'scaling'), (-1.05e-4, 'saturated')])
def test_a_wrong_call_is_rare(slope, wrong):
  rng = np.random.default_rng(1)
  calls = [verdict.classify(verdict.local_slope(
      [make_rung(np.exp(i), 0.45 + slope * i + 5e-5 * rng.normal(size=4)) for i in range(3)]).interval, 1e-4)
           for _ in range(500)]
  assert calls.count(wrong) <= 0.05 * 500


@pytest.mark.parametrize('interval, call', [
    ((-3e-4, -2e-4), 'scaling'), ((-5e-5, 5e-5), 'saturated'), ((1e-5, 1e-3), 'saturated'), ((0.0, 0.0), 'saturated'),
    ((-2e-4, 1e-5), 'undetermined'), ((-9e-5, -1e-5), 'undetermined'), ((-1.5e-4, -5e-5), 'undetermined'),
    ((-1e-4, 0.0), 'undetermined'), ((-3e-4, -1e-4), 'undetermined'), (None, 'undetermined'),
])
def test_classify(interval, call):
  assert verdict.classify(interval, 1e-4) == call


def test_seeds_needed_settle_it_about_as_often_as_promised():
  spread, value, delta = 4e-4, -3e-4, 1e-4
  top = tuple('abc')
  needed = verdict.seeds_needed(verdict.Slope(top, value, (-1e-3, 1e-3), spread, 3), delta)
  rng, settled = np.random.default_rng(2), []
  x = np.array([0.0, 1.0, 2.0])
  for _ in range(400):
    y = value * x[:, None] + spread / np.sqrt(0.5) * rng.normal(size=(3, needed))
    slope = verdict.local_slope([make_rung(np.exp(u), row) for u, row in zip(x, y)])
    settled.append(verdict.classify(slope.interval, delta) != 'undetermined')
  assert 0.65 <= np.mean(settled) <= 0.9


@pytest.mark.parametrize('value, spread, known', [(-5e-5, 1e-6, False), (-1e-3, 1e-3, True), (1e-4, 1e-3, True),
                                                  (-1.001e-4, 1e-3, False)])
def test_seeds_needed_is_null_where_seeds_do_not_help(value, spread, known):
  slope = verdict.Slope(tuple('abc'), value, (value - spread, value + spread), spread, 3)
  assert (verdict.seeds_needed(slope, 1e-4) is not None) == known


def test_one_seed_gives_a_slope_without_an_interval(tmp_path):
  v = judge(tmp_path, fake_study.power_law(), seeds=1)
  assert (v.call, v.slope.interval, v.seeds_needed) == ('undetermined', None, None)
  assert v.slope.value < 0 and v.irreducible_interval is None


@pytest.mark.parametrize('widths', [(), (16,), (16, 32)])
def test_too_few_sizes_are_undetermined(tmp_path, widths):
  v = judge(tmp_path, fake_study.power_law(), widths=widths) if widths else verdict.judge(())
  assert (v.call, v.slope.value, v.seeds_needed, v.law, v.holdout) == ('undetermined', None, None, None, None)
  assert 'fewer than 3 sizes' in v.reason


def test_seeds_that_do_not_meet_give_no_interval():
  rungs = [make_rung(np.exp(i), [0.5 - i / 10], seeds=(i,)) for i in range(3)]
  slope = verdict.local_slope(rungs)
  assert slope.interval is None and slope.value == pytest.approx(-0.1) and slope.seeds == 0


def test_without_noise_the_call_is_still_right(tmp_path):
  assert judge(tmp_path, fake_study.power_law(), 'a', noise=0).call == 'scaling'
  assert judge(tmp_path, fake_study.plateau(), 'b', noise=0).call == 'saturated'


def test_top_of_ladder_takes_three_sizes_and_an_e_fold():
  rungs = [make_rung(f, [0.4]) for f in (1, 2, 4, 8, 8.1, 8.2)]
  assert [r.flops for r in verdict.top_of_ladder(rungs)] == [2, 4, 8, 8.1, 8.2]
  assert [r.flops for r in verdict.top_of_ladder([make_rung(f, [0.4]) for f in (1, 10, 100, 1000)])] == [10, 100, 1000]
  assert len(verdict.top_of_ladder([make_rung(f, [0.4]) for f in (1, 1.1, 1.2)])) == 3
  assert verdict.top_of_ladder([make_rung(f, [0.4]) for f in (1, 2, 2, 2)]) == ()


def test_a_rung_that_got_worse_is_not_hidden():
  """A lower envelope over shapes would call this arm flat; it is worse with size."""
  rungs = [make_rung(f, [y, y + 1e-6, y - 1e-6]) for f, y in ((1, 0.44), (4, 0.43), (16, 0.431), (64, 0.434))]
  v = verdict.judge(rungs)
  assert v.call == 'saturated' and v.slope.value > 0


def test_call_that_hangs_on_one_rung_says_so():
  v = verdict.judge([make_rung(float(np.exp(i)), [y, y + 1e-6, y - 1e-6], width=i)
                     for i, y in enumerate([0.46, 0.45, 0.44, 0.43])])
  assert v.call == 'scaling' and set(v.without_rung) == {'w1 d1', 'w2 d1', 'w3 d1'}
  v = verdict.judge([make_rung(float(np.exp(i)), [y, y + 1e-6, y - 1e-6], width=i)
                     for i, y in enumerate([0.44, 0.44, 0.44, 0.43])])
  assert v.call == 'scaling' and v.without_rung['w3 d1'] == 'saturated'


def test_judge_is_deterministic(tmp_path):
  a, b = (judge(tmp_path, fake_study.power_law(), name, widths=WIDE) for name in 'ab')
  assert a == b


def test_smaller_delta_can_change_the_call(tmp_path):
  rungs = [make_rung(float(np.exp(i)), 0.44 - 3e-4 * i + np.array([-1e-5, 0, 1e-5])) for i in range(5)]
  assert verdict.judge(rungs, 1e-4).call == 'scaling'
  assert verdict.judge(rungs, 1e-3).call == 'undetermined'
