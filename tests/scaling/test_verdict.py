"""Verdicts on simulated studies whose truth is known."""

import dataclasses

import fake_study
import numpy as np
import pytest

from rec_sparse.scaling import ladder
from rec_sparse.scaling import planted
from rec_sparse.scaling import records
from rec_sparse.scaling import verdict
from rec_sparse.scaling.row_error import RowError
from rec_sparse.scaling.student import Spread

WIDE = (16, 32, 64, 128, 256, 512)


def judge(tmp_path, truth, name='study', **study):
  directory = fake_study.write_study(tmp_path / name, {'dense_mlp': truth}, **study)
  return verdict.judge(records.rungs_by_arm(records.read_results(directory)[0])['dense_mlp'])


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
  v = judge(tmp_path, fake_study.plateau(), seeds=2, noise=2e-4)
  assert v.call == 'undetermined' and v.seeds_needed > 2


@pytest.mark.parametrize(
  'truth, deviation, seeds, right, least',
  [
    (planted.plateau, 1e-4, 5, 'saturated', 95),
    (planted.power_law, 1e-4, 5, 'scaling', 95),
    (planted.plateau, 2e-4, 5, 'saturated', 75),
    (planted.plateau, 2e-2, 2, 'undetermined', 95),
    (planted.power_law, 2e-2, 2, 'undetermined', 95),
  ],
)
def test_planted_studies_get_the_right_verdict(truth, deviation, seeds, right, least):
  counts, _ = planted.verdicts(truth, deviation, seeds, 0.1 * verdict.DELTA, 100)
  assert counts[right] >= least


def test_rows_that_cannot_tell_leave_a_plateau_open_and_say_how_many_would():
  counts, rows_needed = planted.verdicts(planted.plateau, 2e-4, 5, 0.8 * verdict.DELTA, 100)
  assert counts['undetermined'] >= 60 and counts['scaling'] <= 3
  more = [needed is not None and needed > planted.TEST_ROWS for needed in rows_needed]
  assert np.mean(more) >= 0.9


@pytest.mark.parametrize('noise', planted.NOISES)
@pytest.mark.parametrize(
  'truth, wrong', [(planted.plateau, 'scaling'), (planted.line(-1.5e-4), 'saturated')]
)
def test_a_wrong_verdict_is_rare(truth, wrong, noise):
  counts, _ = planted.verdicts(truth, 2e-4, 3, 0.8 * verdict.DELTA, 200, planted.NOISES[noise])
  assert counts[wrong] <= 0.03 * 200


@pytest.mark.parametrize('noise', planted.NOISES)
@pytest.mark.parametrize('seeds, rows_error', [(2, 0.0), (5, 0.1), (30, 0.8)])
def test_slope_intervals_cover(noise, seeds, rows_error):
  covered = planted.coverage(
    planted.plateau, planted.NOISES[noise], 2e-4, seeds, rows_error * verdict.DELTA, 300
  )
  assert covered >= 0.91


@pytest.mark.parametrize(
  'losses, reason',
  [
    ([0.46, 0.45, 0.44, 0.44], 'last segment gains less'),
    ([0.46, 0.45, 0.44, 0.4405], 'last segment gains less'),
    ([0.45, 0.45, 0.45, 0.44], ''),
  ],
)
def test_a_line_whose_last_segment_is_flat_is_not_called_scaling(losses, reason):
  rng = np.random.default_rng(0)
  rungs = [
    fake_study.make_rung('a', float(np.exp(i)), y + 1e-5 * rng.normal(size=5), width=i)
    for i, y in enumerate(losses)
  ]
  v = verdict.judge(rungs)
  assert v.call == ('undetermined' if reason else 'scaling') and reason in v.reason


def test_a_last_segment_too_noisy_to_show_a_gain_leaves_it_open():
  slope = verdict.Slope(('a', 'b', 'c'), -3e-4, (-4e-4, -2e-4), Spread(1e-4, 8), 5, None)
  last = verdict.Slope(('b', 'c'), -1e-4, (-3e-4, 1e-4), Spread(2e-4, 8), 5, None)
  assert verdict.settle(slope, last, 1e-4)[0] == 'undetermined'
  assert 'does not show a gain by itself' in verdict.settle(slope, last, 1e-4)[1]


def test_the_window_grows_along_a_line_and_stops_at_a_bend():
  rng = np.random.default_rng(0)
  bent = [0.49, 0.48, 0.47, 0.44, 0.44, 0.44, 0.44]
  rungs = [
    fake_study.make_rung('a', float(np.exp(i)), y + 1e-5 * rng.normal(size=5), width=i)
    for i, y in enumerate(bent)
  ]
  assert [r.scale['width'] for r in verdict.judged_window(rungs)] == [3, 4, 5, 6]
  straight = [
    fake_study.make_rung('a', float(np.exp(i)), 0.5 - 0.01 * i + 1e-5 * rng.normal(size=5), width=i)
    for i in range(7)
  ]
  assert len(verdict.judged_window(straight)) == 7


def test_rows_widen_the_interval():
  rungs = [
    fake_study.make_rung('a', float(np.exp(i)), 0.44 + 1e-6 * np.arange(3), width=i)
    for i in range(4)
  ]
  place = {(r.arm, r.name): k for k, r in enumerate(rungs)}
  rows = RowError(1000, place, (1e-4 * np.eye(4)) ** 2)
  wide = verdict.judge(rungs, rows=rows)
  half = (wide.slope.interval[1] - wide.slope.interval[0]) / 2
  assert half == pytest.approx(1.96 * 1e-4 / np.sqrt(5), rel=1e-3)  # sum of squared places is 5
  assert verdict.judge(rungs).slope.rows_error is None
  assert wide.rows_needed == 1000 and wide.call == 'saturated'


@pytest.mark.parametrize(
  'missing, edge, words',
  [
    (0, '', ()),
    (3, '', ('3 trials',)),
    (0, 'only', ('not bracketed',)),
    (2, 'highest', ('2 trials', 'not bracketed')),
  ],
)
def test_a_verdict_is_provisional_while_something_is_missing(missing, edge, words):
  rungs = [
    dataclasses.replace(
      fake_study.make_rung('a', float(np.exp(i)), [0.44, 0.44], width=i), edge=edge
    )
    for i in range(3)
  ]
  found = verdict.judge(rungs, missing=missing).provisional
  assert len(found) == len(words) and all(
    word in text for word, text in zip(words, found, strict=True)
  )


def test_several_depths_follow_their_frontier():
  shapes = [
    (1, 1.0, 0.46),
    (2, 1.2, 0.47),
    (1, 4.0, 0.45),
    (2, 5.0, 0.448),
    (1, 16.0, 0.449),
    (2, 20.0, 0.44),
  ]
  rungs = [
    dataclasses.replace(fake_study.make_rung('a', flops, [y, y], width=i), shape=f'd{depth}')
    for i, (depth, flops, y) in enumerate(shapes)
  ]
  assert [(r.shape, r.flops) for r in ladder.frontier(rungs)] == [
    ('d1', 1.0),
    ('d2', 5.0),
    ('d2', 20.0),
  ]
  assert ladder.frontier(rungs[::2]) == tuple(rungs[::2])
  assert verdict.judge(rungs).ladder == tuple(rungs[i].name for i in (0, 3, 5))


def test_shapes_that_lie_between_each_other_do_not_zigzag():
  flops = np.geomspace(1, 128, 8)  # depths 1 and 2 in turn, and depth 2 is worse everywhere
  rungs = [
    dataclasses.replace(
      fake_study.make_rung('a', f, [0.45 - 0.01 * i + 0.02 * (i % 2)] * 2, width=i),
      shape=f'd{1 + i % 2}',
    )
    for i, f in enumerate(flops)
  ]
  assert {r.shape for r in ladder.frontier(rungs)} == {'d1'}


@pytest.mark.parametrize(
  'interval, call',
  [
    ((-3e-4, -2e-4), 'scaling'),
    ((-5e-5, 5e-5), 'saturated'),
    ((1e-5, 1e-3), 'saturated'),
    ((0.0, 0.0), 'saturated'),
    ((-9e-5, -1e-5), 'saturated'),
    ((-2e-4, 1e-5), 'undetermined'),
    ((-1.5e-4, -5e-5), 'undetermined'),
    ((-1e-4, 0.0), 'undetermined'),
    ((-3e-4, -1e-4), 'undetermined'),
    (None, 'undetermined'),
  ],
)
def test_classify(interval, call):
  assert verdict.classify(interval, 1e-4) == call


def slope_of(value, deviation, seeds=3, rows_error=None):
  half = 3 * deviation
  spread = Spread(deviation, 2 * (seeds - 1))
  return verdict.Slope(tuple('abc'), value, (value - half, value + half), spread, seeds, rows_error)


def test_seeds_needed_settle_it_about_as_often_as_promised():
  deviation, value, delta = 4e-4, -3e-4, 1e-4
  needed = verdict.seeds_needed(slope_of(value, deviation), slope_of(value, deviation), delta)
  rng = np.random.default_rng(2)
  x = np.array([0.0, 1.0, 2.0])
  settled = 0
  for _ in range(300):
    y = value * x[:, None] + deviation / np.sqrt(0.5) * rng.normal(size=(3, needed))
    rungs = [
      fake_study.make_rung('a', np.exp(u), row, width=i)
      for i, (u, row) in enumerate(zip(x, y, strict=True))
    ]
    settled += verdict.classify(verdict.slope_over(rungs, rungs).interval, delta) != 'undetermined'
  assert 0.7 <= settled / 300 <= 0.95


@pytest.mark.parametrize(
  'value, deviation, rows_error, seeds_help, rows_help',
  [
    (-5e-5, 2e-4, None, True, False),
    (-1e-3, 1e-3, None, True, False),
    (-1.001e-4, 1e-3, None, False, False),
    (0.0, 1e-4, 2e-4, False, True),
    (0.0, 5e-4, 2e-5, True, False),
    (-1e-4, 1e-4, 1e-4, False, False),
  ],
)
def test_what_would_settle_it_is_null_where_nothing_does(
  value, deviation, rows_error, seeds_help, rows_help
):
  slope = slope_of(value, deviation, rows_error=rows_error)
  assert (verdict.seeds_needed(slope, slope, 1e-4) is not None) == seeds_help
  if rows_error is not None:
    needed, seeds = verdict.rows_needed(slope, slope, 1e-4, RowError(1000, {}, np.eye(0)))
    assert (needed is not None) == rows_help
    assert needed is None or needed > 1000 and seeds >= 3


def test_one_seed_gives_a_slope_without_an_interval(tmp_path):
  v = judge(tmp_path, fake_study.power_law(), seeds=1)
  assert (v.call, v.slope.interval, v.seeds_needed) == ('undetermined', None, None)
  assert v.slope.value < 0 and v.irreducible_interval is None


@pytest.mark.parametrize('widths', [(), (16,), (16, 32)])
def test_too_few_sizes_are_undetermined(tmp_path, widths):
  v = judge(tmp_path, fake_study.power_law(), widths=widths) if widths else verdict.judge(())
  assert (v.call, v.slope.value, v.seeds_needed, v.law, v.holdout) == (
    'undetermined',
    None,
    None,
    None,
    None,
  )
  assert 'fewer than 3 sizes' in v.reason


def test_seeds_that_do_not_meet_give_no_interval():
  rungs = [
    fake_study.make_rung('a', np.exp(i), [0.5 - i / 10], seeds=(i,), width=i) for i in range(3)
  ]
  slope = verdict.slope_over(rungs, rungs)
  assert slope.interval is None and slope.value == pytest.approx(-0.1) and slope.seeds == 0


def test_without_noise_the_call_is_still_right(tmp_path):
  assert judge(tmp_path, fake_study.power_law(), 'a', noise=0).call == 'scaling'
  assert judge(tmp_path, fake_study.plateau(), 'b', noise=0).call == 'saturated'


def test_top_of_a_ladder_takes_three_sizes_and_an_e_fold():
  def top_of(*flops):
    return [r.flops for r in ladder.top([fake_study.make_rung('a', f, [0.4]) for f in flops])]

  assert top_of(1, 2, 4, 8, 8.1, 8.2) == [2, 4, 8, 8.1, 8.2]
  assert top_of(1, 10, 100, 1000) == [10, 100, 1000]
  assert len(top_of(1, 1.1, 1.2)) == 3
  assert top_of(1, 2, 2, 2) == []


def test_a_rung_that_got_worse_is_not_hidden():
  """A lower envelope over shapes would call this arm flat; it is worse with size."""
  rungs = [
    fake_study.make_rung('a', f, [y, y + 1e-6, y - 1e-6], width=f)
    for f, y in ((1, 0.44), (4, 0.43), (16, 0.431), (64, 0.434))
  ]
  v = verdict.judge(rungs)
  assert v.call == 'saturated' and v.slope.value > 0


def test_call_that_hangs_on_one_rung_says_so():
  v = verdict.judge(
    [
      fake_study.make_rung('a', float(np.exp(i)), [y, y + 1e-6, y - 1e-6], width=i)
      for i, y in enumerate([0.46, 0.45, 0.44, 0.43])
    ]
  )
  assert v.call == 'scaling' and set(v.without_rung) == {'w1 d1', 'w2 d1', 'w3 d1'}
  v = verdict.judge(
    [
      fake_study.make_rung('a', float(np.exp(i)), [y, y + 1e-6, y - 1e-6], width=i)
      for i, y in enumerate([0.44, 0.44, 0.44, 0.43])
    ]
  )
  assert v.call == 'scaling' and v.without_rung['w3 d1'] == 'saturated'


def test_judge_is_deterministic(tmp_path):
  a, b = (judge(tmp_path, fake_study.power_law(), name, widths=WIDE) for name in 'ab')
  assert a == b


def test_smaller_delta_can_change_the_call(tmp_path):
  rng = np.random.default_rng(0)
  rungs = [
    fake_study.make_rung(
      'a', float(np.exp(i)), 0.44 - 3e-4 * i + 1e-5 * rng.normal(size=3), width=i
    )
    for i in range(5)
  ]
  calls = [verdict.judge(rungs, delta).call for delta in (1e-4, 3e-4, 1e-3)]
  assert calls == ['scaling', 'undetermined', 'saturated']
