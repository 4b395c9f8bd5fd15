"""Which values of a field deserve a table row: each scored by its part of what its field tells.

Ours: REACTION (AAAI 2026) selects among "high-dimensional sparse features" and does not say whether
these are fields or values. The information of a field is a sum over its values, and so is what it
tells given another field s, or another label, a *stratum* of whose rows is those of one value,

  I(m; l)     = sum_v n_v / N KL(p(l | v) || p(l))
  I(m; l | s) = sum_v sum_s' n_vs' / N KL(p(l | v, s') || p(l | s'))

so the part of a value has a closed form in counts. A value's J adds up its parts of PI, BI and CI
(`afe.py`), where CI is a mean over the fields that AFE has chosen.

What chance gives a part is its expectation when labels are dealt out anew: for I(m; l) as draws
from p(l), for I(m; l | s) within each stratum. It is exact up to EXACT rows, and within strata
where few rows of one label are expected; beyond, half a degree of freedom, which is then near it.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

EXACT = 128  # rows


class Cells(NamedTuple):
  """Training rows by value and stratum; a cell that holds none is not there."""

  value_J: np.ndarray  # the value, counted from 0
  stratum_J: np.ndarray  # counted from 0
  rows_J: np.ndarray
  positive_JxT: np.ndarray  # those that have label 1


def preference(positive_RxT: np.ndarray, rows_R: np.ndarray, total: int) -> np.ndarray:
  """Nats of every table row, over all labels: sum_l of its part of PI, less what chance gives.

  `positive_RxT`: training rows that hold the value and have label 1; `rows_R`: that hold it;
  `total`: all training rows.
  """
  score_R = np.zeros(len(rows_R))
  few_R = np.minimum(rows_R, EXACT + 1)
  fields_mean_T = positive_RxT.sum(0) / max(rows_R.sum(), 1)
  for t, rate in enumerate(fields_mean_T.tolist()):
    by_chance = [_by_chance(n, rate) for n in range(EXACT + 1)] + [0.5]
    score_R += _part(positive_RxT[:, t], rows_R, rate) - np.array(by_chance)[few_R]
  return np.where(rows_R > 0, score_R, 0.0) / total


def of_table(table_JxWx2: np.ndarray) -> Cells:
  """Cells of one label, by stratum, value and label."""
  rows_JxW = table_JxWx2.sum(2)
  stratum_J, value_J = np.nonzero(rows_JxW)
  positive_J = table_JxWx2[stratum_J, value_J, 1]
  return Cells(value_J, stratum_J, rows_JxW[stratum_J, value_J], positive_J[:, None])


def given(cells: Cells, alone_W: np.ndarray, rows_W: np.ndarray, total: int) -> np.ndarray:
  """Nats of every value: its part of sum_l I(m; l | s), less what chance gives.

  A cell of one row tells nothing of an interaction: its share of the value counts as the value does
  alone. `alone_W`: `preference` of the same labels; `rows_W`: rows that hold a value; `total`: all.
  """
  rows_of_stratum = np.bincount(cells.stratum_J, cells.rows_J)
  known_J = cells.rows_J > 1
  value_J = cells.value_J[known_J]
  rows_J = cells.rows_J[known_J]
  all_J = rows_of_stratum[cells.stratum_J][known_J]

  score_W = np.zeros(len(rows_W))
  for positive_J in cells.positive_JxT.T:
    positive_of_stratum = np.bincount(cells.stratum_J, positive_J)
    all_positive_J = positive_of_stratum[cells.stratum_J][known_J]
    part_J = _part(positive_J[known_J], rows_J, all_positive_J / all_J)
    part_J -= _by_chance_within(rows_J, all_J, all_positive_J)
    score_W += np.bincount(value_J, part_J, len(rows_W)) / total
  lone_W = np.bincount(cells.value_J[~known_J], minlength=len(rows_W))
  return score_W + lone_W / np.maximum(rows_W, 1) * alone_W


def _by_chance_within(rows_J: np.ndarray, all_J: np.ndarray, positive_J: np.ndarray) -> np.ndarray:
  """The expected part of `rows` of the `all` rows of a stratum, `positive` of them of label 1."""
  rarer_J = np.minimum(positive_J, all_J - positive_J)  # rows of the label that fewer have
  of_labels, place_J = np.unique(
    np.stack((rows_J, all_J, rarer_J)).astype(np.int64), axis=1, return_inverse=True
  )
  rows_X, all_X, rarer_X = of_labels
  chance_X = (all_X - rows_X) / np.maximum(2 * (all_X - 1), 1)
  is_exact_X = (rows_X <= EXACT) | (rows_X * rarer_X <= EXACT / 4 * all_X)
  most_X = np.minimum(np.minimum(rows_X, rarer_X), EXACT)  # drawn; more hardly ever are
  for most in np.unique(most_X[is_exact_X]).tolist():
    own = is_exact_X & (most_X == most)
    chance_X[own] = _expected(most, rows_X[own], all_X[own], rarer_X[own])
  return chance_X[place_J]


def _expected(most: int, rows_X: np.ndarray, all_X: np.ndarray, rarer_X: np.ndarray) -> np.ndarray:
  """E n KL(k / n || rarer / all), k hypergeometric and at most `most`."""
  drawn_Jx1 = np.arange(most + 1)[:, None]
  chance_JxX = stats.hypergeom.pmf(drawn_Jx1, all_X, rarer_X, rows_X)
  return np.sum(chance_JxX * _part(drawn_Jx1, rows_X, rarer_X / all_X), 0)


def _part(positive: np.ndarray, rows: np.ndarray, rate: float | np.ndarray) -> np.ndarray:
  """n KL(p(l | v) || p(l))."""
  share = positive / np.maximum(rows, 1)
  return rows * (_term(share, rate) + _term(1 - share, 1 - rate))


def _term(share: np.ndarray, rate: float | np.ndarray) -> np.ndarray:
  return share * np.log(np.maximum(share, 1e-300) / np.maximum(rate, 1e-300))


def _by_chance(rows: int, rate: float) -> float:
  positive = np.arange(rows + 1)
  chance = stats.binom.pmf(positive, rows, rate)
  return float(chance @ _part(positive, np.full(rows + 1, rows), rate))
