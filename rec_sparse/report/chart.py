"""The saturation chart: test log loss and AUC against forward FLOPs and dense parameters.

Of the dense parameters the non-zero ones count.
"""

from collections.abc import Mapping, Sequence
import io
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterSciNotation
from matplotlib.ticker import LogLocator
from matplotlib.ticker import NullFormatter
import numpy as np

from rec_sparse.scaling import fit
from rec_sparse.scaling.records import Rung
from rec_sparse.scaling.verdict import Verdict

# report.html swaps INK and PAPER for its own colours
INK = '#1b1f24'
PAPER = '#ffffff'
FAINT = '#8c959f'
# Okabe-Ito first
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#7a5195', '#8c6d31')
LEAST_SPAN = 5e-4  # nats or AUC that the y axis spans at least, so that noise is not blown up
FAINT_SHAPE = 0.3  # opacity of a rung that is not in its arm's curve
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '*')
STYLE = {
  'svg.hashsalt': 'rec_sparse',
  'svg.fonttype': 'path',
  'font.family': 'DejaVu Sans',
  'font.size': 10.5,
  'text.color': INK,
  'axes.labelcolor': INK,
  'axes.edgecolor': FAINT,
  'xtick.color': FAINT,
  'ytick.color': FAINT,
  'xtick.labelcolor': INK,
  'ytick.labelcolor': INK,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'figure.facecolor': PAPER,
  'axes.facecolor': 'none',
  'savefig.facecolor': PAPER,
  'axes.axisbelow': True,
}


class Panel(NamedTuple):
  """One of the four pictures."""

  axis: str  # attribute of Rung on the x axis
  metric: str  # metric on the y axis
  x_label: str
  y_label: str


class Bound(NamedTuple):
  """What no model passes in expectation."""

  name: str  # in words
  value: float


_LOSS = 'test log loss, nats per example (lower is better)'
_AUC = 'test AUC (higher is better)'
_FLOPS = 'forward FLOPs per example'
_NONZERO = 'non-zero dense parameters'
PANELS = (
  Panel('flops', 'test_logloss', _FLOPS, _LOSS),
  Panel('nonzero', 'test_logloss', _NONZERO, _LOSS),
  Panel('flops', 'test_auc', _FLOPS, _AUC),
  Panel('nonzero', 'test_auc', _NONZERO, _AUC),
)


def draw_chart(
  rungs: Mapping[str, Sequence[Rung]], verdicts: Mapping[str, Verdict], bounds: Mapping[str, Bound]
) -> Figure:
  """Two by two panels: a light point is a seed, a mark the mean, a line an arm, dashes its law.

  Rungs that are not in the arm's curve are faint. The law is drawn where the data identify it. The
  verdict of each arm stands in the legend. `bounds`: metric -> what no model passes. The figure has
  its own Agg canvas; nothing of pyplot is touched.
  """
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(12.5, 10.2), layout='constrained')
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1, wspace=0.03, hspace=0.03)
    FigureCanvasAgg(figure)
    arms, keys = _legend_entries(rungs, verdicts)
    figure.legend(
      handles=arms,
      loc='outside upper left',
      ncols=max(1, min(3, len(arms))),
      frameon=False,
      fontsize=12.5,
    )
    figure.legend(handles=keys, loc='outside lower left', ncols=3, frameon=False)
    for panel, axes in zip(PANELS, figure.subplots(2, 2).flat, strict=True):
      _draw_panel(axes, panel, rungs, verdicts, bounds.get(panel.metric))
    figure.draw_without_rendering()  # lays it out once, for both formats
    figure.set_layout_engine('none')
  return figure


def figure_svg(figure: Figure) -> str:
  """The figure as SVG text, the same for the same figure: fixed ids, no date, text as outlines."""
  out = io.StringIO()
  with matplotlib.rc_context(STYLE):
    figure.savefig(out, format='svg', metadata={'Date': None, 'Creator': 'rec_sparse'})
  return out.getvalue()


def figure_png(figure: Figure) -> bytes:
  """The figure as PNG bytes, about 1900 pixels wide."""
  out = io.BytesIO()
  with matplotlib.rc_context(STYLE):
    figure.savefig(out, format='png', dpi=150, metadata={'Software': None})
  return out.getvalue()


def curve_law(rungs: Sequence[Rung], axis: str, metric: str) -> fit.Law | None:
  """The law that AICc chooses for a metric against a size, of 1 - AUC for an AUC.

  None where it is not identified.
  """
  if not rungs:
    return None
  values = [r.metrics[metric] for r in rungs]
  if metric.endswith('auc'):
    values = [1 - auc_S for auc_S in values]
  points = fit.gather_points([getattr(r, axis) for r in rungs], values)
  law = fit.choose_law(fit.fit_laws(points), points)
  return law if law is not None and law.identified else None


def show_limits(low: float, high: float, bound: float | None) -> tuple[float, float, bool]:
  """Limits of the y axis around data in [low, high], and whether they hold the bound too.

  A bound farther away than the data span would squeeze the data into a stripe: it is left outside
  and pointed at.
  """
  span = max(high - low, LEAST_SPAN)
  near = bound is not None and low - span <= bound <= high + span
  if near:
    low = min(low, bound)
    high = max(high, bound)
  pad = max(0.08 * (high - low), (span - (high - low)) / 2)
  return low - pad, high + pad, near


def _draw_panel(
  axes: Axes,
  panel: Panel,
  rungs: Mapping[str, Sequence[Rung]],
  verdicts: Mapping[str, Verdict],
  bound: Bound | None,
) -> None:
  axes.set_xlabel(panel.x_label)
  axes.set_ylabel(panel.y_label)
  axes.grid(color=FAINT, alpha=0.22, linewidth=0.8)
  every = [r for own in rungs.values() for r in own]
  undefined = any(np.isnan(r.metrics[panel.metric]).any() for r in every)  # AUC, of one class
  if undefined or not every:
    said = 'undefined: all test labels are of one class' if undefined else 'no finished trial'
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, said, transform=axes.transAxes, ha='center', va='center', fontsize=14)
    return

  heights = []
  for i, (arm, own) in enumerate(rungs.items()):
    colour = COLOURS[i % len(COLOURS)]
    marker = MARKERS[i % len(MARKERS)]
    heights.append(_draw_arm(axes, panel, own, verdicts[arm].ladder, colour, marker))
  values = np.concatenate(heights)

  _scale_x(axes, [getattr(r, panel.axis) for r in every])
  low, high, near = show_limits(values.min(), values.max(), bound.value if bound else None)
  axes.set_ylim(low, high)
  axes.ticklabel_format(axis='y', useOffset=False)
  if bound is not None:
    _draw_bound(axes, bound, near, bound.value > high, below=panel.metric == 'test_logloss')


def _draw_arm(
  axes: Axes, panel: Panel, rungs: Sequence[Rung], ladder: Sequence[str], colour: str, marker: str
) -> np.ndarray:
  """Draws the seeds, means and law of one arm; returns every height that it reached."""
  heights = [np.empty(0)]
  for rung in rungs:
    values_S = rung.metrics[panel.metric]
    strength = 1.0 if rung.name in ladder else FAINT_SHAPE
    _draw_rung(axes, getattr(rung, panel.axis), values_S, colour, marker, strength)
    heights.append(values_S)

  curve = sorted((r for r in rungs if r.name in ladder), key=lambda r: getattr(r, panel.axis))
  sizes = [getattr(r, panel.axis) for r in curve]
  means = [r.metrics[panel.metric].mean() for r in curve]
  axes.plot(sizes, means, color=colour, linewidth=2.6, alpha=0.35, zorder=2)

  law = curve_law(curve, panel.axis, panel.metric)
  if law is not None:
    x = np.geomspace(min(sizes), max(sizes), 200)
    y = 1 - law(x) if panel.metric.endswith('auc') else law(x)
    axes.plot(x, y, color=colour, linestyle=(0, (4, 2)), linewidth=1.4, zorder=4)
    heights.append(y)
  return np.concatenate(heights)


def _draw_rung(
  axes: Axes, size: float, values_S: np.ndarray, colour: str, marker: str, strength: float
) -> None:
  """A small light mark for each seed and a large one for their mean."""
  axes.plot(
    [size] * len(values_S),
    values_S,
    marker,
    color=colour,
    alpha=0.4 * strength,
    markersize=4.5,
    markeredgewidth=0,
    zorder=3,
  )
  axes.plot(
    size,
    values_S.mean(),
    marker,
    color=colour,
    alpha=strength,
    markersize=7,
    markeredgecolor=PAPER,
    markeredgewidth=0.8,
    zorder=5,
  )


def _scale_x(axes: Axes, sizes: Sequence[float]) -> None:
  axes.set_xscale('log')
  low = min(sizes)
  high = max(sizes)
  pad = max((high / low) ** 0.05, 1.1) if high > low else 4.0
  axes.set_xlim(low / pad, high * pad)
  axes.xaxis.set_minor_formatter(NullFormatter())
  if high / low < 30:
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(LogFormatterSciNotation(minor_thresholds=(10, 10)))


def _draw_bound(axes: Axes, bound: Bound, near: bool, above: bool, below: bool) -> None:
  """A line where it lies in the picture (`near`), else an arrow to where it is.

  `above`: it lies over the picture; `below`: no model can be below it, rather than above.
  """
  name = f'{bound.name} {bound.value:.4f}'
  if near:  # the name stands on the side where no model can be
    side = -1 if below else 1
    axes.axhline(bound.value, color=INK, linewidth=1.2, linestyle=(0, (1, 1.6)), zorder=1)
    axes.annotate(
      name,
      (0.01, bound.value),
      xycoords=('axes fraction', 'data'),
      xytext=(0, 3 * side),
      textcoords='offset points',
      va='top' if below else 'bottom',
      fontsize=9.5,
      zorder=6,
    )
    return

  if above:
    text = f'\N{UPWARDS ARROW} {name}, above this picture'
  else:
    text = f'\N{DOWNWARDS ARROW} {name}, below this picture'
  axes.annotate(
    text,
    (0.01, 0.98 if above else 0.02),
    xycoords='axes fraction',
    va='top' if above else 'bottom',
    fontsize=9.5,
    zorder=6,
  )


def _legend_entries(
  rungs: Mapping[str, Sequence[Rung]], verdicts: Mapping[str, Verdict]
) -> tuple[list[Line2D], list[Line2D]]:
  arms = [
    Line2D(
      [],
      [],
      color=COLOURS[i % len(COLOURS)],
      marker=MARKERS[i % len(MARKERS)],
      markersize=8.5,
      markeredgecolor=PAPER,
      linewidth=0,
      label=_legend_label(arm, verdicts[arm]),
    )
    for i, arm in enumerate(rungs)
  ]
  seed = {'marker': 'o', 'markersize': 4.5, 'alpha': 0.5, 'linewidth': 0}
  mean = {'marker': 'o', 'markersize': 7.5, 'linewidth': 2.6}
  law = {'linestyle': (0, (4, 2)), 'linewidth': 1.4}
  keys = [
    Line2D([], [], color=FAINT, label='one seed', **seed),
    Line2D([], [], color=FAINT, label='mean over seeds', **mean),
    Line2D([], [], color=FAINT, label='fitted law, where identified', **law),
  ]
  return arms, keys


def _legend_label(arm: str, v: Verdict) -> str:
  return f'{arm}: {v.call}, provisional' if v.provisional else f'{arm}: {v.call}'
