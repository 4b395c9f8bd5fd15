"""What each hidden unit tells of the label: the mutual information of its activation, in quantile
bins, less what chance gives.

REACTION argues that much of a network matters little (AAAI 2026); this measure of it is ours.
"""

from typing import Any

import numpy as np

from rec_sparse.search import information

BINS = 16


def layer(units_HxE: np.ndarray, label_ExT: np.ndarray, seed: int = 0) -> dict[str, Any]:
  """Mutual information of each unit with the label, nats, mean over tasks.

  `as_counted` is the plain estimate and `information` the corrected one, see
  search/information.py; a unit is `not_above_chance` where the interval of that holds 0, as it is
  for 97.5 % of units that tell nothing. A unit that is constant is among them.
  """
  bins_HxE = quantile_bins(units_HxE)
  rng = np.random.default_rng(seed)
  found = []
  for bins_E in bins_HxE:
    tables = [_table(bins_E, label_E > 0.5) for label_E in label_ExT.T]
    estimates = [information.permutation(table_1x1xZx2, rng) for table_1x1xZx2 in tables]
    found.append(information.combined(information.Term(1 / len(estimates), estimates)))
  return {
    'units': len(units_HxE),
    'constant': float(np.mean(np.ptp(units_HxE, axis=1) == 0)),
    'not_above_chance': float(np.mean([estimate.low <= 0 for estimate in found])),
    'mean_information': float(np.mean([estimate.value for estimate in found])),
    'information': [estimate.value for estimate in found],
    'half_interval': [estimate.half for estimate in found],
    'as_counted': [estimate.plug_in for estimate in found],
  }


def quantile_bins(units_HxE: np.ndarray) -> np.ndarray:
  """bins_HxE below BINS: each unit by its own quantiles; equal values are in one bin."""
  inner = np.linspace(0, 1, BINS + 1)[1:-1]
  edges_ZxH = np.quantile(units_HxE, inner, axis=1)
  bins_HxE = np.zeros(units_HxE.shape, np.int8)
  for edge_H in edges_ZxH:
    bins_HxE += units_HxE > edge_H[:, None]
  return bins_HxE


def _table(bins_E: np.ndarray, positive_E: np.ndarray) -> np.ndarray:
  """Counts by bin and label, with the axes of search/information.py."""
  counts = np.bincount(2 * bins_E.astype(np.int64) + positive_E, minlength=2 * BINS)
  return counts.reshape(1, 1, BINS, 2)
