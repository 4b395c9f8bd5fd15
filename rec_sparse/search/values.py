"""Which values of a field deserve a table row: each scored by what it alone tells.

Ours: REACTION (AAAI 2026) selects among "high-dimensional sparse features" and does not say whether
these are fields or values. The preference information of a field is a sum over its values,

  I(m; l) = sum_v n_v / N KL(p(l | v) || p(l)),

so the part of a value has a closed form in three counts. What chance gives a value that n rows hold
is the expectation of its part when n labels are drawn from p(l): exact up to EXACT rows, 1 / 2N
beyond, where the difference is below 1 %.
Behaviour and collaboration of single values are not counted.
"""

import numpy as np
from scipy import stats

EXACT = 128  # rows


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


def _part(positive: np.ndarray, rows: np.ndarray, rate: float) -> np.ndarray:
  """n KL(p(l | v) || p(l))."""
  share = positive / np.maximum(rows, 1)
  return rows * (_term(share, rate) + _term(1 - share, 1 - rate))


def _term(share: np.ndarray, rate: float) -> np.ndarray:
  return share * np.log(np.maximum(share, 1e-300) / max(rate, 1e-300))


def _by_chance(rows: int, rate: float) -> float:
  positive = np.arange(rows + 1)
  chance = stats.binom.pmf(positive, rows, rate)
  return float(chance @ _part(positive, np.full(rows + 1, rows), rate))
