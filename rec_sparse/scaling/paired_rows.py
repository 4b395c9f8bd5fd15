"""Two arms scored on the same test rows from the same seeds: the difference of a metric, and how
sure it is.

Two things make a difference uncertain: which rows are in the test split (given the trained models),
and which seeds the models were trained from (given the rows). The first is DeLong's variance
(DeLong, DeLong and Clarke-Pearson 1988) of the mean over seeds, the second the spread of the paired
differences over seeds. Their sum counts the part that belongs to both twice, so the interval is
rather too wide than too narrow.
"""

import math
from typing import NamedTuple

import numpy as np

from rec_sparse.scaling.student import student_quantile


class Difference(NamedTuple):
  """Metric of the second arm minus that of the first, mean over paired seeds."""

  value: float
  interval: tuple[float, float] | None  # 95 %, over rows and seeds; None with one seed
  rows_error: float  # standard error over test rows, the models given
  seeds_error: float | None  # standard error over seeds, the rows given; None with one seed
  seeds: int  # paired seeds


def placements(logit_N: np.ndarray, label_N: np.ndarray) -> np.ndarray:
  """Of a positive, the share of negatives that it outranks; of a negative, the share of positives
  that outrank it.

  Ties count half. The mean over either class is the AUC (DeLong's components, by ranks as in Sun
  and Xu 2014). Raises ValueError with one class only.
  """
  positive_N = np.asarray(label_N) > 0.5
  positives, negatives = int(positive_N.sum()), int((~positive_N).sum())
  if not positives or not negatives:
    raise ValueError('the test labels are all of one class: AUC is undefined')
  outranked_N = _midranks(logit_N)
  # leaves the negatives below each positive
  outranked_N[positive_N] -= _midranks(logit_N[positive_N])
  # and the positives below each negative
  outranked_N[~positive_N] -= _midranks(logit_N[~positive_N])
  return np.where(positive_N, outranked_N / negatives, 1.0 - outranked_N / positives)


def _midranks(x_N: np.ndarray) -> np.ndarray:
  _, which_N, count_M = np.unique(x_N, return_inverse=True, return_counts=True)
  return (np.cumsum(count_M) - (count_M - 1) / 2)[which_N]


def auc_difference(
  first_SxN: np.ndarray, second_SxN: np.ndarray, label_N: np.ndarray
) -> Difference:
  """Difference in AUC of logits of S paired seeds on the same N rows."""
  gap_SxN = np.stack(
    [
      placements(b, label_N) - placements(a, label_N)
      for a, b in zip(first_SxN, second_SxN, strict=True)
    ]
  )
  positive_N = np.asarray(label_N) > 0.5
  mean_N = gap_SxN.mean(0)
  variance = sum(_variance_of_mean(mean_N[own_N]) for own_N in (positive_N, ~positive_N))
  return _difference(gap_SxN[:, positive_N].mean(1), variance)


def logloss_difference(
  first_SxN: np.ndarray, second_SxN: np.ndarray, label_N: np.ndarray
) -> Difference:
  """Difference in log loss, nats per example, of logits of S paired seeds on the same N rows."""
  gap_SxN = row_losses(second_SxN, label_N) - row_losses(first_SxN, label_N)
  return _difference(gap_SxN.mean(1), _variance_of_mean(gap_SxN.mean(0)))


def row_losses(logit_SxN: np.ndarray, label_N: np.ndarray) -> np.ndarray:
  """Log loss of every row under the logits of every seed, nats, float64 (S, N)."""
  sign_N = np.where(np.asarray(label_N) > 0.5, -1.0, 1.0)
  return np.logaddexp(0.0, sign_N * np.asarray(logit_SxN, np.float64))


def _variance_of_mean(x_N: np.ndarray) -> float:
  return float(x_N.var(ddof=1)) / len(x_N) if len(x_N) > 1 else math.inf


def _difference(gap_S: np.ndarray, rows: float) -> Difference:
  """`rows`: variance over rows. Student's t with Satterthwaite's degrees of freedom; those of the
  rows are many.
  """
  seeds, value = len(gap_S), float(gap_S.mean())
  if seeds < 2:
    return Difference(value, None, math.sqrt(rows), None, seeds)
  over_seeds = _variance_of_mean(gap_S)
  total = rows + over_seeds
  freedom = (seeds - 1) * (total / over_seeds) ** 2 if over_seeds else math.inf
  half = student_quantile(0.975, math.floor(min(freedom, 10**6))) * math.sqrt(total)
  return Difference(
    value, (value - half, value + half), math.sqrt(rows), math.sqrt(over_seeds), seeds
  )
