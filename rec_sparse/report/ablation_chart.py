"""The picture of an ablation: paired differences in test AUC and log loss with their intervals, an
arm a line.
"""

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rec_sparse.report.chart import COLOURS
from rec_sparse.report.chart import FAINT
from rec_sparse.report.chart import STYLE
from rec_sparse.scaling.outcome import Outcome
from rec_sparse.scaling.paired_rows import Difference

# the whole interval is better, or worse; neither
BETTER, WORSE, OPEN = (
  COLOURS[2],
  COLOURS[1],
  FAINT,
)


def draw_ablation(title: str, found: Sequence[Outcome]) -> Figure:
  """Two panels, arms from top to bottom; a filled mark is our difference, a hollow diamond the
  paper's.

  An arm's reference is the first arm, or the one that its label names in brackets. The figure has
  its own canvas.
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
    auc.set_xlabel('test AUC minus reference, points\n(right is better)')
    logloss.set_xlabel('test log loss minus reference, 1e-3 nats\n(left is better)')
    for axes in (auc, logloss):
      axes.axvline(0.0, color=FAINT, linewidth=0.9)
      axes.tick_params(axis='y', length=0)
      axes.spines['left'].set_visible(False)
    diamonds = any(o.arm.published is not None for o in found)
    legend = ', hollow: the paper on its own data' if diamonds else ''
    figure.suptitle(title + legend, x=0.01, ha='left', fontsize=12.5)
  return figure


def _mark(axes: Axes, y: int, difference: Difference | None, scale: float, good: float) -> None:
  """`good`: 1 where more is better, -1 where less is."""
  if difference is None:
    return
  low, high = (scale * end for end in difference.interval or (difference.value,) * 2)
  least, most = sorted((good * low, good * high)) if difference.interval else (0.0, 0.0)
  colour = BETTER if least > 0.0 else WORSE if most < 0.0 else OPEN
  axes.plot([low, high], [y, y], color=colour, linewidth=2.2, solid_capstyle='round')
  axes.plot(scale * difference.value, y, 'o', color=colour, markersize=6.5)


def _label(outcome: Outcome, first: str) -> str:
  """Name and what differs; the reference too where it is not the study's first arm."""
  arm = outcome.arm
  if arm.is_reference:
    return f'{arm.name} (reference): {arm.says}' if arm.says else f'{arm.name} (reference)'
  return (f'{arm.name}: {arm.says}' if arm.says else arm.name) + (
    f' [{arm.against}]' if arm.against != first else ''
  )
