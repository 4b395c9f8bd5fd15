"""The picture of an ablation: paired differences in test AUC and log loss, an arm a line."""

from collections.abc import Sequence
import statistics

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rec_sparse.report.chart import COLOURS
from rec_sparse.report.chart import FAINT
from rec_sparse.report.chart import STYLE
from rec_sparse.scaling.outcome import Outcome
from rec_sparse.scaling.paired_rows import Difference

BETTER = COLOURS[2]  # the whole interval is
WORSE = COLOURS[1]  # the whole interval is
OPEN = FAINT  # neither
WIDE = 4.0  # an interval that reaches so many times as far as the median one leaves the panel


def draw_ablation(title: str, found: Sequence[Outcome]) -> Figure:
  """Two panels, arms from top to bottom.

  A filled mark is our difference, a hollow diamond the paper's; an arrow at the edge says that an
  interval goes on. An arm's reference is the first arm, or the one its label names in brackets.
  The figure has its own canvas.
  """
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(12.5, 1.9 + 0.34 * len(found)), layout='constrained')
    FigureCanvasAgg(figure)
    auc, logloss = figure.subplots(1, 2, sharey=True)
    for y, outcome in enumerate(found):
      _mark(auc, y, outcome.auc, 1e2, 1.0)
      _mark(logloss, y, outcome.logloss, 1e3, -1.0)
      if outcome.arm.published is not None:
        auc.plot(
          outcome.arm.published, y, 'D', color=COLOURS[3], markerfacecolor='none', markersize=5.5
        )
    auc.set_yticks(range(len(found)), [_label(o, found[0].arm.name) for o in found])
    auc.set_ylim(len(found) - 0.4, -0.6)
    auc.set_xlabel('test AUC, difference in points\n(right is better)')
    logloss.set_xlabel('test log loss, difference in 1e-3 nats\n(left is better)')
    diamonds = any(o.arm.published is not None for o in found)
    if not diamonds:
      _narrow(auc, [outcome.auc for outcome in found], 1e2)
    _narrow(logloss, [outcome.logloss for outcome in found], 1e3)
    for axes in (auc, logloss):
      axes.axvline(0.0, color=FAINT, linewidth=0.9)
      axes.tick_params(axis='y', length=0)
      axes.spines['left'].set_visible(False)
    legend = ', hollow: the paper on its own data' if diamonds else ''
    figure.suptitle(title + legend, x=0.01, ha='left', fontsize=12.5)
  return figure


def _mark(axes: Axes, y: int, difference: Difference | None, scale: float, good: float) -> None:
  """`good`: 1 where more is better, -1 where less is."""
  if difference is None:
    return
  low, high = difference.interval or (difference.value, difference.value)
  colour = OPEN
  if difference.interval and min(good * low, good * high) > 0.0:
    colour = BETTER
  if difference.interval and max(good * low, good * high) < 0.0:
    colour = WORSE
  ends = [scale * low, scale * high]
  axes.plot(ends, [y, y], color=colour, linewidth=2.2, solid_capstyle='round')
  axes.plot(scale * difference.value, y, 'o', color=colour, markersize=6.5)


def _narrow(axes: Axes, differences: Sequence[Difference | None], scale: float) -> None:
  """Leaves out what would squeeze all other intervals into a dot, with arrows where they go on."""
  ends = {
    y: [scale * end for end in one.interval]
    for y, one in enumerate(differences)
    if one is not None and one.interval
  }
  reach = {y: max(map(abs, own)) for y, own in ends.items()}
  most = WIDE * statistics.median(reach.values()) if reach else 0.0
  if not reach or max(reach.values()) <= most:
    return
  limit = 1.1 * max(own for own in reach.values() if own <= most)
  axes.set_xlim(-limit, limit)
  for y, own in ends.items():
    if own[0] < -limit:
      axes.plot(-limit, y, '<', color=OPEN, markersize=7, clip_on=False)
    if own[1] > limit:
      axes.plot(limit, y, '>', color=OPEN, markersize=7, clip_on=False)


def _label(outcome: Outcome, first: str) -> str:
  """Name and what differs; the reference too where it is not the study's first arm."""
  arm = outcome.arm
  label = f'{arm.name} (reference)' if arm.is_reference else arm.name
  if arm.says:
    label += f': {arm.says}'
  if not arm.is_reference and arm.against != first:
    label += f' [{arm.against}]'
  return label
