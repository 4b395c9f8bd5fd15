"""Pictures of what a trained network could do without: its weights by density, its units."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from rec_sparse.analysis import panels

CURVES = {  # name -> how it is called and drawn
  'magnitude': ('pruned by |w|', {'color': 'tab:blue', 'linestyle': '--'}),
  'magnitude_retrained': ('by |w|, retrained', {'color': 'tab:blue'}),
  'gradient': ('pruned by |w g|', {'color': 'tab:orange', 'linestyle': '--'}),
  'gradient_retrained': ('by |w g|, retrained', {'color': 'tab:orange'}),
  'small_dense': ('small network, from scratch', {'color': 'black', 'linestyle': ':'}),
}
KEPT = 0.985  # the share that the paper speaks of


def density(found: Mapping[str, Any]) -> Figure:
  """Of `runs/density_numbers.summary`: test log loss, and what AUC is lost, against size.

  Bars are the intervals of differences to the dense network.
  """
  figure, (loss, auc) = panels.side_by_side(2, height=4.2)
  for name, points in found['curves'].items():
    label, look = CURVES[name]
    kept = [100 * point['dense_params'] / found['dense_params'] for point in points]
    _curve(loss, kept, points, 'logloss', 1.0, label=label, **look)
    if points and points[0]['against_dense']['auc']:
      _curve(auc, kept, points, 'auc', -100.0, label=label, **look)

  loss.axhline(found['dense']['test']['logloss'], color=panels.GREY, linewidth=0.8)
  _marks_of_auc(auc, found['dense']['test']['auc'])
  for axes in (loss, auc):
    axes.set_xscale('log')
    axes.xaxis.set_major_formatter('{x:g}')
    axes.xaxis.set_minor_formatter('')
    axes.set_xticks([1, 2, 5, 10, 25, 50, 100])
  panels.finish(loss, 'Test log loss', 'dense parameters that are left (%)', 'nats')
  panels.finish(
    auc, 'AUC lost against the whole network', 'dense parameters that are left (%)', 'points (1e-2)'
  )
  handles, names = loss.get_legend_handles_labels()
  figure.legend(
    handles, names, frameon=False, fontsize='small', loc='outside upper center', ncols=len(names)
  )
  seeds = found['seeds']
  said = f'{seeds} seeds; bars: 95 %, paired, over seeds and test rows' if seeds > 1 else 'one seed'
  figure.supxlabel(said, fontsize='small', color=panels.GREY)
  return figure


def _curve(
  axes: Axes,
  kept: Sequence[float],
  points: Sequence[Mapping[str, Any]],
  metric: str,
  scale: float,
  **look: Any,
) -> None:
  """The metric itself, or times a negative scale what is lost of it."""
  changes = [point['against_dense'][metric] for point in points]
  change = np.array([one['value'] for one in changes])
  means = np.array([point['test'][metric] for point in points])
  at = means if scale > 0 else scale * change
  half = [
    abs(scale) * (one['interval'][1] - one['value']) if one['interval'] else 0.0 for one in changes
  ]
  axes.errorbar(kept, at, half, marker='.', capsize=2, elinewidth=0.8, **look)


def _marks_of_auc(axes: Axes, dense: float | None) -> None:
  """Where KEPT of the AUC, and of what it is above .5, is left."""
  axes.set_yscale('symlog', linthresh=0.1)
  axes.yaxis.set_major_formatter('{x:g}')
  axes.axhline(0, color=panels.GREY, linewidth=0.8)
  if dense is None:
    return
  for floor, what in ((0.0, 'AUC'), (0.5, 'AUC - .5')):
    lost = 100 * (1 - KEPT) * (dense - floor)
    axes.axhline(lost, color=panels.GREY, linewidth=0.8, linestyle=':')
    axes.annotate(
      f'{100 * KEPT:g} % of {what}',
      (1, lost),
      xycoords=('axes fraction', 'data'),
      ha='right',
      va='bottom',
      fontsize='x-small',
      color=panels.GREY,
    )


def units(
  layers: Mapping[str, dict], before: Mapping[str, dict], kernels: Mapping[str, dict]
) -> Figure:
  """Of `units.layer`: information of every unit, now and at initialisation (dashed); and how many
  directions each kernel uses, of those that it could.
  """
  figure, (information, ranks) = panels.side_by_side(2)
  top = max(max(layer['as_counted']) for layer in layers.values())
  edges = np.geomspace(1e-5, max(top, 1e-4), 31)
  for found, style in ((before, '--'), (layers, '-')):
    for (name, layer), color in zip(found.items(), panels.colors(len(found)), strict=True):
      share = f'{name}: {100 * layer["not_above_chance"]:.0f} % not above chance'
      nats = np.clip(layer['as_counted'], edges[0], edges[-1])
      weights = np.full(len(nats), 100 / len(nats))
      label = share if style == '-' else None
      information.hist(
        nats, edges, weights=weights, histtype='step', color=color, linestyle=style, label=label
      )
  chance = np.concatenate(
    [np.subtract(layer['as_counted'], layer['information']) for layer in layers.values()]
  ).mean()
  information.axvline(max(chance, edges[0]), color=panels.GREY, linewidth=0.8, linestyle=':')
  information.set_xscale('log')
  information.margins(y=0.4)  # room for the legend
  panels.finish(
    information,
    'What a unit tells of the label (dotted: by chance)',
    'mutual information as counted (nats)',
    'share of the units (%)',
    legend=True,
  )
  _ranks(ranks, kernels)
  panels.note_before(figure, before)
  return figure


def _ranks(axes: Axes, kernels: Mapping[str, dict]) -> None:
  """Two bars for each kernel, and where they were at initialisation."""
  places = np.arange(len(kernels))
  for shift, (measure, label) in zip(
    (-0.2, 0.2), {'entropy_rank': 'effective rank', 'abundance': 'abundance'}.items(), strict=True
  ):
    now, start = (
      [100 * kernel[when][measure] / kernel['possible'] for kernel in kernels.values()]
      for when in ('now', 'at_init')
    )
    axes.barh(places + shift, now, 0.36, label=label)
    axes.plot(start, places + shift, '|', color='black', markersize=9)
  axes.set_yticks(places, kernels.keys())
  axes.invert_yaxis()
  axes.set_xlim(0, 100)
  axes.legend(
    frameon=False, fontsize='small', loc='lower center', bbox_to_anchor=(0.5, 1.06), ncols=2
  )
  panels.finish(axes, 'Directions that a kernel uses', 'of those that it could (%)', '')
