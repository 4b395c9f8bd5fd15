"""The picture of an ablation: one arm that fell apart does not hide the others."""

from matplotlib.figure import Figure
import pytest

from rec_sparse.report import ablation_chart
from rec_sparse.scaling.paired_rows import Difference


def panel(*intervals):
  axes = Figure().subplots()
  found = [None, *(Difference(sum(ends) / 2, ends, 0.0, 0.0, 5) for ends in intervals)]
  for y, difference in enumerate(found):
    ablation_chart._mark(axes, y, difference, 1.0, 1.0)
  ablation_chart._narrow(axes, found, 1.0)
  return axes


def arrows(axes):
  return [line.get_marker() for line in axes.lines if line.get_marker() in ('<', '>')]


def test_an_interval_that_is_much_wider_than_the_others_leaves_the_panel():
  axes = panel((-0.1, 0.2), (-0.3, 0.1), (0.0, 0.3), (-80.0, 20.0))
  assert axes.get_xlim() == pytest.approx((-0.33, 0.33))
  assert arrows(axes) == ['<', '>']


def test_intervals_of_like_widths_all_stay():
  axes = panel((-0.1, 0.2), (-0.3, 0.1), (0.0, 0.6))
  assert axes.get_xlim()[1] > 0.6 and not arrows(axes)
  assert not arrows(panel())
