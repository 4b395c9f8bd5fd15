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


def placements(logit_E: np.ndarray, label_E: np.ndarray) -> np.ndarray:
  """Of a positive, the share of negatives that it outranks; of a negative, the share of positives
  that outrank it.

  Ties count half. The mean over either class is the AUC (DeLong's components, by ranks as in Sun
  and Xu 2014). Raises ValueError with one class only.
  """
  positive_E = np.asarray(label_E) > 0.5
  positives, negatives = int(positive_E.sum()), int((~positive_E).sum())
  if not positives or not negatives:
    raise ValueError('the test labels are all of one class: AUC is undefined')
  outranked_E = _midranks(logit_E)
  # leaves the negatives below each positive
  outranked_E[positive_E] -= _midranks(logit_E[positive_E])
  # and the positives below each negative
  outranked_E[~positive_E] -= _midranks(logit_E[~positive_E])
  return np.where(positive_E, outranked_E / negatives, 1.0 - outranked_E / positives)


def _midranks(x_E: np.ndarray) -> np.ndarray:
  _, which_E, count_J = np.unique(x_E, return_inverse=True, return_counts=True)
  return (np.cumsum(count_J) - (count_J - 1) / 2)[which_E]


def auc_difference(
  first_SxE: np.ndarray, second_SxE: np.ndarray, label_E: np.ndarray
) -> Difference:
  """Difference in AUC of logits of S paired seeds on the same E rows."""
  gap_SxE = np.stack(
    [
      placements(b, label_E) - placements(a, label_E)
      for a, b in zip(first_SxE, second_SxE, strict=True)
    ]
  )
  positive_E = np.asarray(label_E) > 0.5
  mean_E = gap_SxE.mean(0)
  variance = sum(_variance_of_mean(mean_E[own_E]) for own_E in (positive_E, ~positive_E))
  return _difference(gap_SxE[:, positive_E].mean(1), variance)


def logloss_difference(
  first_SxE: np.ndarray, second_SxE: np.ndarray, label_E: np.ndarray
) -> Difference:
  """Difference in log loss, nats per example, of logits of S paired seeds on the same E rows."""
  gap_SxE = row_losses(second_SxE, label_E) - row_losses(first_SxE, label_E)
  return _difference(gap_SxE.mean(1), _variance_of_mean(gap_SxE.mean(0)))


def row_losses(logit_SxE: np.ndarray, label_E: np.ndarray) -> np.ndarray:
  """Log loss of every row under the logits of every seed, nats, float64 (S, E)."""
  sign_E = np.where(np.asarray(label_E) > 0.5, -1.0, 1.0)
  return np.logaddexp(0.0, sign_E * np.asarray(logit_SxE, np.float64))


def _variance_of_mean(x_E: np.ndarray) -> float:
  return float(x_E.var(ddof=1)) / len(x_E) if len(x_E) > 1 else math.inf


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
