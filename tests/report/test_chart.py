"""The chart: what it shows, that it is the same for the same study, and that nothing is cut off."""

import warnings
import xml.etree.ElementTree as ET

import fake_study
import pytest

from rec_sparse.report import chart
from rec_sparse.report import forest
from rec_sparse.scaling import records
from rec_sparse.scaling import verdict

BOUNDS = {
  'test_logloss': chart.Bound('irreducible log loss', 0.4378),
  'test_auc': chart.Bound('AUC', 0.802),
}
ARMS = {'dense_mlp': fake_study.plateau(), 'ssr_s': fake_study.power_law()}


def read(directory):
  study = records.read_results(directory)[0]
  rungs = records.rungs_by_arm(study)
  return study, rungs, {arm: verdict.judge(own) for arm, own in rungs.items()}


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
  study, rungs, verdicts = read(
    fake_study.write_study(tmp_path_factory.mktemp('c') / 's', ARMS, depths=(2, 3))
  )
  return study, rungs, verdicts, chart.draw_chart(rungs, verdicts, BOUNDS)


def test_four_panels_with_units(drawn):
  axes = drawn[3].axes
  assert len(axes) == 4 and all(a.get_xscale() == 'log' for a in axes)
  assert [a.get_xlabel() for a in axes[:2]] == [
    'forward FLOPs per example',
    'non-zero dense parameters',
  ]
  assert 'nats per example' in axes[0].get_ylabel() and 'AUC' in axes[2].get_ylabel()


def test_each_arm_has_its_own_colour_and_mark_and_verdict(drawn):
  entries = drawn[3].legends[0].legend_handles
  assert len({h.get_color() for h in entries}) == len({h.get_marker() for h in entries}) == 2
  texts = [t.get_text() for t in drawn[3].legends[0].get_texts()]
  assert texts == [f'{arm}: {v.call}' for arm, v in drawn[2].items()]


def test_no_point_lies_outside_its_panel(drawn):
  for panel, axes in zip(chart.PANELS, drawn[3].axes, strict=True):
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    for rung in (r for own in drawn[1].values() for r in own):
      assert left < getattr(rung, panel.axis) < right
      assert low < rung.metrics[panel.metric].min() and rung.metrics[panel.metric].max() < high


def test_svg_is_deterministic_and_well_formed(drawn):
  _, rungs, verdicts, figure = drawn
  svg = chart.figure_svg(figure)
  assert svg == chart.figure_svg(chart.draw_chart(rungs, verdicts, BOUNDS))
  ET.fromstring(svg)
  assert '<dc:date>' not in svg


def test_png_is_large_enough_to_read(drawn):
  png = chart.figure_png(drawn[3])
  assert png[:8] == b'\x89PNG\r\n\x1a\n' and int.from_bytes(png[16:20], 'big') >= 1600


@pytest.mark.parametrize(
  'low, high, bound, near',
  [
    (0.44, 0.46, 0.4378, True),
    (0.44, 0.46, 0.30, False),
    (0.44, 0.46, None, False),
    (0.45, 0.45, 0.45, True),
    (0.45, 0.45, 0.2, False),
    (0.78, 0.79, 0.795, True),
  ],
)
def test_limits_hold_the_data_and_a_near_bound(low, high, bound, near):
  bottom, top, shown = chart.show_limits(low, high, bound)
  assert bottom < low and high < top and shown == near
  assert not near or bottom < bound < top
  assert near or top - bottom < 1.2 * (high - low) + 1.2 * chart.LEAST_SPAN


@pytest.mark.parametrize('logloss', [0.2, 0.4378, None])
def test_bound_is_always_told(drawn, logloss):
  bounds = {} if logloss is None else {'test_logloss': chart.Bound('the floor', logloss)}
  figure = chart.draw_chart(drawn[1], drawn[2], bounds)
  texts = [t.get_text() for axes in figure.axes for t in axes.texts]
  assert len(texts) == (2 if bounds else 0)
  if bounds:
    assert all(f'the floor {logloss:.4f}' in t for t in texts)
    assert ('this picture' in texts[0]) == (logloss == 0.2)


def test_a_law_that_is_not_identified_is_not_drawn(tmp_path):
  arms = {'a': lambda flops: 0.45, 'b': fake_study.power_law()}
  _, rungs, _ = read(fake_study.write_study(tmp_path / 's', arms))
  assert chart.curve_law(rungs['a'], 'flops', 'test_logloss') is None
  assert chart.curve_law(rungs['b'], 'flops', 'test_logloss').identified


@pytest.mark.parametrize('widths, seeds', [((16,), 1), ((16,), 3), ((16, 32), 1)])
def test_small_studies_are_drawn_without_a_warning(tmp_path, widths, seeds):
  directory = fake_study.write_study(tmp_path / 's', ARMS, widths=widths, seeds=seeds)
  _, rungs, verdicts = read(directory)
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    chart.figure_png(chart.draw_chart(rungs, verdicts, BOUNDS))


def test_nothing_finished_is_said_in_the_picture(tmp_path):
  directory = fake_study.write_study(tmp_path / 's', ARMS, widths=(16,), seeds=1)
  fake_study.edit_trials(directory, fake_study.fail)
  _, rungs, verdicts = read(directory)
  figure = chart.draw_chart(rungs, verdicts, BOUNDS)
  assert all(axes.texts[0].get_text() == 'no finished trial' for axes in figure.axes)
  chart.figure_svg(figure)
  assert forest.draw_forest(verdicts) == ''


def test_more_arms_than_colours(tmp_path):
  truths = {f'arm{i}': fake_study.power_law(A=0.03 + i / 1000) for i in range(9)}
  _, rungs, verdicts = read(
    fake_study.write_study(tmp_path / 's', truths, widths=(16, 32), seeds=1)
  )
  assert len(chart.draw_chart(rungs, verdicts, {}).legends[0].get_texts()) == 9


def test_forest_holds_an_interval_per_arm_and_the_band(drawn):
  svg = ET.fromstring(forest.draw_forest(drawn[2]))
  assert (
    len(svg.findall('circle')) == 2
    and len(svg.findall('rect')) == 1
    and len(svg.findall('line')) == 3
  )
  xs = [float(e.get(k)) for e in svg.iter() for k in ('x1', 'x2', 'cx') if e.get(k)]
  assert 0 <= min(xs) and max(xs) <= forest.WIDTH
