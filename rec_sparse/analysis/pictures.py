"""Pictures of the analyses: a function takes what its analysis returned and gives a matplotlib
Figure (no pyplot).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

GREY = '0.45'


def implicit_sparsity(
  after: Mapping[str, dict], before: Mapping[str, dict] | None = None
) -> Figure:
  """Of `implicit_sparsity.network`: mass by inputs, small weights, spectrum; `before`
  (initialisation) is dashed.
  """
  figure, (mass, small, spectrum) = _panels(3)
  for found, style in ((before or {}, '--'), (after, '-')):
    for (name, layer), color in zip(found.items(), _colors(len(found)), strict=True):
      label = name if style == '-' else None
      curve = layer['mass_curve_absolute']
      mass.plot(
        np.linspace(0, 100, len(curve)), 100 * np.array(curve), style, color=color, label=label
      )
      singular = np.array(layer['singular_values'])
      at = np.linspace(0, 100, len(singular)) if len(singular) > 1 else [0.0]
      spectrum.semilogy(
        at, np.maximum(singular / (singular.max() or 1.0), 1e-8), style, color=color, label=label
      )
  mass.axhline(80, color=GREY, linewidth=0.8, linestyle=':')
  _finish(
    mass,
    'Which inputs carry the weight',
    'heaviest inputs (%)',
    'share of |w| they hold (%)',
    legend=True,
  )
  _finish(spectrum, 'Spectrum', 'singular value, from the largest (%)', 'relative to the largest')
  _small_weights(small, after, before)
  _note_before(figure, before)
  return figure


def _small_weights(
  axes: Axes, after: Mapping[str, dict], before: Mapping[str, dict] | None
) -> None:
  labels = (
    ('below_1e-3', '|w| < 1e-3'),
    ('below_1e-2_of_max', '|w| < .01 max'),
    ('below_1e-2_of_init_std', '|w| < .01 init std'),
  )
  measures = {
    m: label for m, label in labels if any(layer[m] is not None for layer in after.values())
  }
  height = 0.8 / len(after)
  for i, ((name, layer), color) in enumerate(zip(after.items(), _colors(len(after)), strict=True)):
    at = np.arange(len(measures)) + (i - (len(after) - 1) / 2) * height
    axes.barh(at, [100 * (layer[m] or 0.0) for m in measures], 0.9 * height, color=color)
    if before and name in before:
      axes.plot(
        [100 * (before[name][m] or 0.0) for m in measures], at, '|', color='black', markersize=9
      )
  axes.set_yticks(np.arange(len(measures)), measures.values())
  axes.invert_yaxis()
  _finish(axes, 'Small weights', 'share of the weights (%)', '')


def ics(layers: Mapping[str, dict]) -> Figure:
  """Of `ics_dynamics.network`: zeros with and without the competition, and thresholds, a dot or a
  line per view.
  """
  with_threshold = any(layer['thresholds'] for layer in layers.values())
  figure, (zeros, *thresholds) = _panels(1 + with_threshold)
  for i, ((name, layer), color) in enumerate(
    zip(layers.items(), _colors(len(layers)), strict=True)
  ):
    at = i + np.linspace(-0.25, 0.25, len(layer['zeros'])) * (len(layer['zeros']) > 1)
    zeros.vlines(
      at,
      100 * np.array(layer['zeros_of_relu']),
      100 * np.array(layer['zeros']),
      color=color,
      linewidth=0.8,
    )
    zeros.plot(
      at, 100 * np.array(layer['zeros_of_relu']), 'o', color=color, markerfacecolor='white'
    )
    zeros.plot(at, 100 * np.array(layer['zeros']), 'o', color=color)
    for view, tau_I in enumerate(layer['thresholds'] or []):
      label = name if view == 0 else None
      thresholds[0].plot(
        range(1, len(tau_I) + 1), tau_I, '.-', color=color, linewidth=0.8, label=label
      )
  zeros.set_xticks(range(len(layers)), layers.keys())
  zeros.set_xlim(-0.6, len(layers) - 0.4)
  zeros.set_ylim(0, 100)
  _finish(zeros, 'Exact zeros per view (hollow: ReLU alone)', '', 'zeros (%)')
  for axes in thresholds:
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylim(bottom=0)
    _finish(axes, 'Thresholds per view', 'iteration t', 'mean threshold (units of z)', legend=True)
  return figure


PATHS = (  # quantity of `ics_dynamics.layer`, title, axis
  ('zeros', 'Exact zeros (dotted: ReLU alone)', 'zeros (%)'),
  ('threshold_over_std', 'Threshold', r'$\tau_I$ / std of $z$'),
  ('alpha', r'Extinction rate $\alpha$', 'mean over iterations'),
  ('gamma_mean', r'Output scale $\gamma$', 'mean over dimensions'),
)


def ics_over_steps(found: Mapping[str, Any]) -> Figure:
  """Of `ics_dynamics.over_steps`: per layer the mean over views, from the lowest to the highest
  view.
  """
  layers = {f'layer {i + 1}': layer for i, layer in enumerate(found['layers'].values())}
  panels = [panel for panel in PATHS if all(layer[panel[0]] for layer in layers.values())]
  figure, grid = _panels(len(panels), height=3.2, rows=2 if len(panels) == len(PATHS) else 1)
  for axes, (quantity, title, label) in zip(grid, panels, strict=True):
    for (name, layer), color in zip(layers.items(), _colors(len(layers)), strict=True):
      scale = 100.0 if quantity == 'zeros' else 1.0
      values_JxV = _per_view(layer[quantity]) * scale
      end = f'{name}: {values_JxV[-1].mean():.0f} % at the end'
      axes.plot(found['steps'], values_JxV.mean(1), color=color, label=end)
      axes.fill_between(
        found['steps'], values_JxV.min(1), values_JxV.max(1), color=color, alpha=0.2, linewidth=0
      )
      if quantity == 'zeros':
        axes.plot(
          found['steps'], scale * _per_view(layer['zeros_of_relu']).mean(1), ':', color=color
        )
        axes.set_ylim(0, 100)
    axes.set_xlim(0, max(found['steps'][-1], 1))
    _finish(axes, title, 'training step', label, legend=axes is grid[0])
  return figure


def _per_view(path: Sequence) -> np.ndarray:
  """values_JxV of a path over S steps, what else it has (iterations) averaged."""
  values_JxV = np.array(path)
  return values_JxV.mean(2) if values_JxV.ndim == 3 else values_JxV


def views(layers: Mapping[str, dict], measure: str) -> Figure:
  """Of `view_diversity.projections` ('cosine', 'subspace_overlap') or `.filters` ('jaccard'), one
  panel per layer.
  """
  figure, grid = _panels(len(layers))
  for axes, (name, layer) in zip(grid, layers.items(), strict=True):
    found = layer[measure]
    matrix_VxV = np.array(found['matrix'])
    np.fill_diagonal(matrix_VxV, np.nan)
    signed = measure == 'cosine'
    image = axes.imshow(
      matrix_VxV, cmap='RdBu_r' if signed else 'viridis', vmin=-1 if signed else 0, vmax=1
    )
    figure.colorbar(image, ax=axes, shrink=0.8)
    labels = {
      'mean': 'mean',
      **({'mean_absolute': 'mean size'} if signed else {'expected': 'expected'}),
      'max': 'max',
    }
    numbers = ', '.join(
      f'{label} {found[n]:.3f}' for n, label in labels.items() if found[n] is not None
    )
    _finish(axes, f'{name}: {measure.replace("_", " ")}', f'view\n{numbers}', 'view')
    axes.grid(False)
    ticks = range(0, len(matrix_VxV), -(-len(matrix_VxV) // 8))
    axes.set_xticks(ticks), axes.set_yticks(ticks)
  return figure


def embeddings(found: Mapping[str, dict]) -> Figure:
  """Of `embedding_collapse.fields`: abundance of every field beside its maximum, and spectra."""
  figure, (bars, spectra) = _panels(2, height=max(3.6, 0.22 * len(found)))
  ordered = sorted(found.items(), key=lambda item: item[1]['abundance_share'])
  at = np.arange(len(ordered))
  possible = [
    field['abundance'] / field['abundance_share'] if field['abundance'] else 0.0
    for _, field in ordered
  ]
  bars.barh(at, possible, color='0.9', label='possible: min(rows, dimensions)')
  bars.barh(
    at,
    [field['abundance'] for _, field in ordered],
    color='tab:blue',
    label='information abundance',
  )
  bars.set_yticks(
    at, [f'{name} ({field["rows"]:,} rows)' for name, field in ordered], fontsize='small'
  )
  bars.set_ylim(-0.6, len(ordered) - 0.4)
  bars.legend(
    frameon=False, fontsize='small', loc='lower center', bbox_to_anchor=(0.5, 1.06), ncols=2
  )
  for (_, field), color in zip(ordered, _colors(len(ordered)), strict=True):
    singular = np.array(field['singular_values'])
    spectra.semilogy(
      range(1, len(singular) + 1),
      np.maximum(singular / (singular.max() or 1.0), 1e-8),
      '.-',
      color=color,
      linewidth=0.8,
    )
  spectra.xaxis.get_major_locator().set_params(integer=True)
  _finish(bars, 'Fields, collapsed ones at the bottom', 'directions', '')
  _finish(spectra, 'Spectra (dark: collapsed)', 'singular value', 'relative to the largest')
  return figure


def _panels(count: int, height: float = 3.6, rows: int = 1) -> tuple[Figure, Sequence[Axes]]:
  columns = count // rows
  figure = Figure(figsize=(4.4 * columns, height * rows), layout='constrained', dpi=120)
  return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _colors(count: int) -> list:
  """From dark to light in the order of the layers."""
  return [colormaps['viridis'](x) for x in np.linspace(0, 0.85, count)]


def _finish(axes: Axes, title: str, x: str, y: str, legend: bool = False) -> None:
  axes.set_title(title, fontsize='medium', loc='left')
  axes.set_xlabel(x)
  axes.set_ylabel(y)
  axes.grid(alpha=0.25)
  axes.set_axisbelow(True)
  axes.spines[['top', 'right']].set_visible(False)
  if legend:
    axes.legend(frameon=False, fontsize='small')


def _note_before(figure: Figure, before: Mapping[str, dict] | None) -> None:
  if before:
    figure.supxlabel(
      'dashed lines and black ticks: at initialisation', fontsize='small', color=GREY
    )
