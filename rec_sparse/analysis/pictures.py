"""Pictures of the analyses: what an analysis returned -> a matplotlib Figure (no pyplot)."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from rec_sparse.analysis import panels


def implicit_sparsity(
  after: Mapping[str, dict], before: Mapping[str, dict] | None = None
) -> Figure:
  """Of `implicit_sparsity.network`: mass by inputs, small weights, spectrum.

  `before`, at initialisation, is dashed.
  """
  figure, (mass, small, spectrum) = panels.side_by_side(3)
  for layers, style in ((before or {}, '--'), (after, '-')):
    for (name, layer), color in zip(layers.items(), panels.colors(len(layers)), strict=True):
      look = {'linestyle': style, 'color': color, 'label': name if style == '-' else None}
      curve = 100 * np.array(layer['mass_curve_absolute'])
      mass.plot(np.linspace(0, 100, len(curve)), curve, **look)
      relative = _relative(layer['singular_values'])
      at = np.linspace(0, 100, len(relative)) if len(relative) > 1 else [0.0]
      spectrum.semilogy(at, relative, **look)

  mass.axhline(80, color=panels.GREY, linewidth=0.8, linestyle=':')
  panels.finish(
    mass,
    'Which inputs carry the weight',
    'heaviest inputs (%)',
    'share of |w| they hold (%)',
    legend=True,
  )
  panels.finish(
    spectrum, 'Spectrum', 'singular value, from the largest (%)', 'relative to the largest'
  )
  _small_weights(small, after, before)
  panels.note_before(figure, before)
  return figure


def _small_weights(
  axes: Axes, after: Mapping[str, dict], before: Mapping[str, dict] | None
) -> None:
  labels = {
    'below_1e-3': '|w| < 1e-3',
    'below_1e-2_of_max': '|w| < .01 max',
    'below_1e-2_of_init_std': '|w| < .01 init std',
  }
  known = [m for m in labels if any(layer[m] is not None for layer in after.values())]
  places = np.arange(len(known))
  height = 0.8 / len(after)

  def percent(layer: Mapping[str, Any]) -> list[float]:
    return [100 * (layer[m] or 0.0) for m in known]

  for i, ((name, layer), color) in enumerate(
    zip(after.items(), panels.colors(len(after)), strict=True)
  ):
    at = places + (i - (len(after) - 1) / 2) * height
    axes.barh(at, percent(layer), 0.9 * height, color=color)
    if before and name in before:
      axes.plot(percent(before[name]), at, '|', color='black', markersize=9)
  axes.set_yticks(places, [labels[m] for m in known])
  axes.invert_yaxis()
  panels.finish(axes, 'Small weights', 'share of the weights (%)', '')


def ics(layers: Mapping[str, dict]) -> Figure:
  """Of `ics_dynamics.network`: zeros with and without the competition, and thresholds.

  A dot or a line is a view.
  """
  with_threshold = any(layer['thresholds'] for layer in layers.values())
  figure, (zeros, *thresholds) = panels.side_by_side(1 + with_threshold)
  colors = panels.colors(len(layers))
  for i, ((name, layer), color) in enumerate(zip(layers.items(), colors, strict=True)):
    _zeros_of_layer(zeros, i, layer, color)
    for view, tau_I in enumerate(layer['thresholds'] or []):
      iterations = range(1, len(tau_I) + 1)
      label = name if view == 0 else None
      thresholds[0].plot(iterations, tau_I, '.-', color=color, linewidth=0.8, label=label)

  zeros.set_xticks(range(len(layers)), layers.keys())
  zeros.set_xlim(-0.6, len(layers) - 0.4)
  zeros.set_ylim(0, 100)
  panels.finish(zeros, 'Exact zeros per view (hollow: ReLU alone)', '', 'zeros (%)')
  for axes in thresholds:
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylim(bottom=0)
    panels.finish(
      axes, 'Thresholds per view', 'iteration t', 'mean threshold (units of z)', legend=True
    )
  return figure


def _zeros_of_layer(axes: Axes, place: int, layer: Mapping[str, Any], color: Any) -> None:
  """A dot for each view around `place`, and a line from where ReLU alone has it."""
  zeros_V = 100 * np.array(layer['zeros'])
  relu_V = 100 * np.array(layer['zeros_of_relu'])
  at = place + np.linspace(-0.25, 0.25, len(zeros_V)) * (len(zeros_V) > 1)
  axes.vlines(at, relu_V, zeros_V, color=color, linewidth=0.8)
  axes.plot(at, relu_V, 'o', color=color, markerfacecolor='white')
  axes.plot(at, zeros_V, 'o', color=color)


PATHS = (  # quantity of `ics_dynamics.layer`, title, axis
  ('zeros', 'Exact zeros (dotted: ReLU alone)', 'zeros (%)'),
  ('threshold_over_std', 'Threshold', r'$\tau_I$ / std of $z$'),
  ('alpha', r'Extinction rate $\alpha$', 'mean over iterations'),
  ('gamma_mean', r'Output scale $\gamma$', 'mean over dimensions'),
)


def ics_over_steps(found: Mapping[str, Any]) -> Figure:
  """Of `ics_dynamics.over_steps`: per layer the mean over views, and the span of views."""
  layers = {f'layer {i + 1}': layer for i, layer in enumerate(found['layers'].values())}
  shown = [panel for panel in PATHS if all(layer[panel[0]] for layer in layers.values())]
  figure, grid = panels.side_by_side(
    len(shown), height=3.2, rows=2 if len(shown) == len(PATHS) else 1
  )
  for axes, (quantity, title, label) in zip(grid, shown, strict=True):
    _paths(axes, quantity, found['steps'], layers)
    axes.set_xlim(0, max(found['steps'][-1], 1))
    panels.finish(axes, title, 'training step', label, legend=axes is grid[0])
  return figure


def _paths(
  axes: Axes, quantity: str, steps: Sequence[int], layers: Mapping[str, Mapping[str, Any]]
) -> None:
  """One quantity of every layer over the steps; shares of zeros in percent."""
  scale = 100.0 if quantity == 'zeros' else 1.0
  for (name, layer), color in zip(layers.items(), panels.colors(len(layers)), strict=True):
    values_JxV = scale * _per_view(layer[quantity])
    end = f'{name}: {values_JxV[-1].mean():.0f} % at the end'
    axes.plot(steps, values_JxV.mean(1), color=color, label=end)
    axes.fill_between(
      steps, values_JxV.min(1), values_JxV.max(1), color=color, alpha=0.2, linewidth=0
    )
    if quantity == 'zeros':
      relu_JxV = scale * _per_view(layer['zeros_of_relu'])
      axes.plot(steps, relu_JxV.mean(1), ':', color=color)
      axes.set_ylim(0, 100)


def _per_view(path: Sequence) -> np.ndarray:
  """values_JxV of a path over J steps, what else it has (iterations) averaged."""
  values_JxV = np.array(path)
  return values_JxV.mean(2) if values_JxV.ndim == 3 else values_JxV


def views(layers: Mapping[str, dict], measure: str) -> Figure:
  """Of `view_diversity`: overlaps of views, one panel per layer.

  `measure` is 'cosine' or 'subspace_overlap' of `projections`, or 'jaccard' of `filters`.
  """
  figure, grid = panels.side_by_side(len(layers))
  signed = measure == 'cosine'
  for axes, (name, layer) in zip(grid, layers.items(), strict=True):
    found = layer[measure]
    matrix_VxV = np.array(found['matrix'])
    np.fill_diagonal(matrix_VxV, np.nan)
    image = axes.imshow(
      matrix_VxV, cmap='RdBu_r' if signed else 'viridis', vmin=-1 if signed else 0, vmax=1
    )
    figure.colorbar(image, ax=axes, shrink=0.8)

    numbers = _numbers_of_views(found, signed)
    panels.finish(axes, f'{name}: {measure.replace("_", " ")}', f'view\n{numbers}', 'view')
    axes.grid(False)
    ticks = range(0, len(matrix_VxV), -(-len(matrix_VxV) // 8))
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
  return figure


def _numbers_of_views(found: Mapping[str, Any], signed: bool) -> str:
  if signed:
    labels = {'mean': 'mean', 'mean_absolute': 'mean size', 'max': 'max'}
  else:
    labels = {'mean': 'mean', 'expected': 'expected', 'max': 'max'}
  numbers = {label: found[key] for key, label in labels.items()}
  return ', '.join(f'{label} {value:.3f}' for label, value in numbers.items() if value is not None)


def embeddings(found: Mapping[str, dict]) -> Figure:
  """Of `embedding_collapse.fields`: abundance of every field beside its maximum, and spectra."""
  figure, (bars, spectra) = panels.side_by_side(2, height=max(3.6, 0.22 * len(found)))
  ordered = sorted(found.items(), key=lambda item: item[1]['abundance_share'])
  _abundances(bars, [name for name, _ in ordered], [field for _, field in ordered])
  for (_, field), color in zip(ordered, panels.colors(len(ordered)), strict=True):
    relative = _relative(field['singular_values'])
    at = range(1, len(relative) + 1)
    spectra.semilogy(at, relative, '.-', color=color, linewidth=0.8)
  spectra.xaxis.get_major_locator().set_params(integer=True)
  panels.finish(bars, 'Fields, collapsed ones at the bottom', 'directions', '')
  panels.finish(spectra, 'Spectra (dark: collapsed)', 'singular value', 'relative to the largest')
  return figure


def _abundances(axes: Axes, names: Sequence[str], fields: Sequence[Mapping[str, Any]]) -> None:
  """A bar for each field, before that of what is possible."""
  at = np.arange(len(fields))
  abundance = np.array([field['abundance'] for field in fields])
  share = np.array([field['abundance_share'] for field in fields])
  possible = np.divide(abundance, share, out=np.zeros(len(fields)), where=abundance > 0)
  axes.barh(at, possible, color='0.9', label='possible: min(rows, dimensions)')
  axes.barh(at, abundance, color='tab:blue', label='information abundance')
  labels = [f'{name} ({field["rows"]:,} rows)' for name, field in zip(names, fields, strict=True)]
  axes.set_yticks(at, labels, fontsize='small')
  axes.set_ylim(-0.6, len(fields) - 0.4)
  axes.legend(
    frameon=False, fontsize='small', loc='lower center', bbox_to_anchor=(0.5, 1.06), ncols=2
  )


def _relative(singular: Sequence[float]) -> np.ndarray:
  """Singular values over the largest, for a logarithmic axis."""
  values = np.array(singular)
  return np.maximum(values / (values.max() or 1.0), 1e-8)
