"""Pictures of a selection (no pyplot)."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
import numpy as np

from rec_sparse.search.afe import Step

COUNTS = {
  'k': 'fields kept',
  'share': "share kept of an example's entries",
  'table_rows': 'table rows kept',
  'embedding_params': 'parameters of the table kept',
}
_PARTS = {'pi': 'preference (PI)', 'bi': 'behaviour (BI)', 'ci': 'collaboration (CI)'}


def trace(
  steps: Sequence[Step], names: Sequence[str], kept: Sequence[int], heldout: Sequence[float]
) -> Figure:
  """J of each choice as its parts, with its interval, as counted, and the held-out loss below."""
  rows = 2 if heldout else 1
  figure = Figure(figsize=(max(5.0, 1.5 + 0.45 * len(steps)), 3.2 * rows), layout='constrained')
  panels = figure.subplots(rows, 1, squeeze=False, sharex=True)[:, 0]
  places = np.arange(1, len(steps) + 1)
  above = np.zeros(len(steps))
  below = np.zeros(len(steps))
  for part, label in _PARTS.items():
    height = np.array([getattr(step, part).value for step in steps])
    if not height.any():
      continue
    bottom = np.where(height > 0, above, below)
    panels[0].bar(places, height, bottom=bottom, width=0.7, label=label, alpha=0.7)
    above += np.maximum(height, 0)
    below += np.minimum(height, 0)
  j = np.array([step.j for step in steps])
  panels[0].errorbar(places, j[:, 0], j[:, 1], fmt='k.', capsize=3, label='J, 95 % interval')
  panels[0].plot(places, j[:, 2], 'o', mfc='none', color='0.4', label='J as counted (plug-in)')
  panels[0].axhline(0, color='black', linewidth=0.8)
  panels[0].set_ylabel('nats')
  panels[0].legend(frameon=False, fontsize=8)
  if heldout:
    panels[1].plot(np.arange(len(heldout)), heldout, 'k.-')
    panels[1].axvline(len(kept), color='0.5', linestyle=':', linewidth=0.8)
    panels[1].set_ylabel('held-out log loss')
  marks = [names[step.field] + (' (redundant)' if step.redundant_to >= 0 else '') for step in steps]
  panels[-1].set_xticks(places, marks, rotation=60, ha='right', fontsize=8)
  for panel in panels:
    panel.spines[['top', 'right']].set_visible(False)
  return figure


def normalised_information(nmi_FxF: np.ndarray, names: Sequence[str]) -> Figure:
  """Which fields say the same: I / min(H, H) of all pairs."""
  side = 2.5 + 0.35 * len(names)
  figure = Figure(figsize=(side + 0.8, side), layout='constrained')
  axes = figure.subplots()
  image = axes.imshow(nmi_FxF, vmin=0, vmax=1, cmap='Greys')
  for i, j in np.argwhere(nmi_FxF >= 0.005):
    color = 'white' if nmi_FxF[i, j] > 0.5 else 'black'
    shown = f'{nmi_FxF[i, j]:.2f}'.removeprefix('0')
    axes.text(j, i, shown, ha='center', va='center', fontsize=7, color=color)
  axes.set_xticks(range(len(names)), names, rotation=60, ha='right', fontsize=8)
  axes.set_yticks(range(len(names)), names, fontsize=8)
  figure.colorbar(image, ax=axes, label='I / min(H, H)', shrink=0.8)
  return figure


def kept(rows: Sequence[dict[str, Any]], against: str, title: str) -> Figure:
  """Test log loss minus that of all fields, an order a line; `against`: a count."""
  figure = Figure(figsize=(6.5, 4.2), layout='constrained')
  axes = figure.subplots()
  orders = list(dict.fromkeys(row['order'] for row in rows))
  count = 'k' if against == 'share' else against
  for i, order in enumerate(orders):
    own = sorted((row for row in rows if row['order'] == order), key=lambda row: row[count])
    places = np.array([row[count] for row in own], float)
    if against == 'k':
      places += 0.06 * (i - (len(orders) - 1) / 2)
    gap = 1e3 * np.array([row['logloss_difference'] for row in own])
    line = axes.plot(places, gap, '.-', label=order)[0]
    for place, row in zip(places, own, strict=True):
      if row['logloss_low'] is not None:
        ends = [1e3 * row['logloss_low'], 1e3 * row['logloss_high']]
        axes.plot([place, place], ends, color=line.get_color(), linewidth=1)
  axes.axhline(0, color='black', linewidth=0.8)
  axes.set_yscale('symlog', linthresh=1)
  if against in ('embedding_params', 'share'):
    axes.set_xscale('log')
  axes.set_xlabel(COUNTS[against])
  axes.set_ylabel('test log loss minus that of all, 1e-3 nats')
  axes.set_title(title, fontsize=10)
  axes.margins(y=0.08)
  figure.legend(loc='outside right upper', frameon=False, fontsize=8)
  axes.spines[['top', 'right']].set_visible(False)
  return figure


def kept_dims(kept: dict[str, np.ndarray], field_Z: np.ndarray, names: Sequence[str]) -> Figure:
  """How many dimensions each bin of each field keeps, from frequent to rare values.

  `kept`: title -> kept_ZxD of a panel.
  """
  place_Z = np.arange(len(field_Z)) - np.searchsorted(field_Z, field_Z)  # of a bin in its field
  height = 0.9 + 0.28 * len(names)
  figure = Figure(figsize=(1.6 + 2.4 * len(kept), height), layout='constrained')
  panels = figure.subplots(1, len(kept), squeeze=False, sharey=True)[0]
  for panel, (title, kept_ZxD) in zip(panels, kept.items(), strict=True):
    count_FxJ = np.full((len(names), place_Z.max() + 1), np.nan)
    count_FxJ[field_Z, place_Z] = kept_ZxD.sum(1)
    panel.imshow(count_FxJ, vmin=0, vmax=kept_ZxD.shape[1], cmap='Blues', aspect='auto')
    for f, j in np.argwhere(~np.isnan(count_FxJ)):
      color = 'white' if count_FxJ[f, j] > 0.6 * kept_ZxD.shape[1] else 'black'
      panel.text(j, f, f'{count_FxJ[f, j]:.0f}', ha='center', va='center', fontsize=7, color=color)
    panel.set_title(title, fontsize=9)
    panel.set_xticks([0, count_FxJ.shape[1] - 1], ['frequent', 'rare'], fontsize=8)
  panels[0].set_yticks(range(len(names)), names, fontsize=8)
  return figure
