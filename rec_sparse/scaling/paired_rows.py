"""Two arms on the same test rows from the same seeds: how a metric differs, and how surely.

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
  """Share of negatives that a positive outranks, or of positives that outrank a negative.

  Ties count half. The mean over either class is the AUC (DeLong's components, by ranks as in Sun
  and Xu 2014). Raises ValueError with one class only.
  """
  positive_E = np.asarray(label_E) > 0.5
  positives = int(positive_E.sum())
  negatives = len(positive_E) - positives
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
  first_SxExT: np.ndarray, second_SxExT: np.ndarray, label_ExT: np.ndarray
) -> Difference:
  """Difference in AUC, mean over T tasks, of logits of S paired seeds on the same E rows."""
  tasks = label_ExT.shape[1]
  gap_S = np.zeros(len(first_SxExT))
  influence_E = np.zeros(len(label_ExT))
  for t in range(tasks):
    gap_SxE = np.stack(
      [
        placements(b, label_ExT[:, t]) - placements(a, label_ExT[:, t])
        for a, b in zip(first_SxExT[..., t], second_SxExT[..., t], strict=True)
      ]
    )
    positive_E = np.asarray(label_ExT[:, t]) > 0.5
    gap_S += gap_SxE[:, positive_E].mean(1) / tasks
    influence_E += _influence(gap_SxE.mean(0), positive_E) / tasks
  return _difference(gap_S, float(np.sum(np.square(influence_E))))


def _influence(gap_E: np.ndarray, positive_E: np.ndarray) -> np.ndarray:
  """What each row adds to the error of a difference in AUC.

  Squares sum to DeLong's variance, S_10 / m + S_01 / n: of the differences between two models in
  the placements of m positives and of n negatives, the variances with m - 1 and n - 1. Tasks add
  up row by row, as their errors on a row go together.
  """
  influence_E = np.empty(len(gap_E))
  for own_E in (positive_E, ~positive_E):
    rows = int(own_E.sum())
    apart = gap_E[own_E] - gap_E[own_E].mean()
    influence_E[own_E] = apart / math.sqrt(rows * (rows - 1)) if rows > 1 else math.inf
  return influence_E


def logloss_difference(
  first_SxExT: np.ndarray, second_SxExT: np.ndarray, label_ExT: np.ndarray
) -> Difference:
  """Difference in log loss, nats per example, mean over tasks, of logits of S paired seeds."""
  gap_SxE = row_losses(second_SxExT, label_ExT) - row_losses(first_SxExT, label_ExT)
  return _difference(gap_SxE.mean(1), _variance_of_mean(gap_SxE.mean(0)))


def row_losses(logit_SxExT: np.ndarray, label_ExT: np.ndarray) -> np.ndarray:
  """Log loss of every row under the logits of every seed, mean over tasks, nats, float64 (S, E)."""
  sign_ExT = np.where(np.asarray(label_ExT) > 0.5, -1.0, 1.0)
  return np.logaddexp(0.0, sign_ExT * np.asarray(logit_SxExT, np.float64)).mean(2)


def _variance_of_mean(x_E: np.ndarray) -> float:
  if len(x_E) < 2:
    return math.inf
  return float(x_E.var(ddof=1)) / len(x_E)


def _difference(gap_S: np.ndarray, rows: float) -> Difference:
  """Student's t with Satterthwaite's degrees of freedom.

  `rows` is the variance over rows; the degrees of freedom of these are many.
  """
  seeds = len(gap_S)
  value = float(gap_S.mean())
  if seeds < 2:
    return Difference(value, None, math.sqrt(rows), None, seeds)

  over_seeds = _variance_of_mean(gap_S)
  total = rows + over_seeds
  freedom = math.inf
  if over_seeds:
    freedom = (seeds - 1) * (total / over_seeds) ** 2
  half = student_quantile(0.975, math.floor(min(freedom, 10**6))) * math.sqrt(total)
  return Difference(
    value=value,
    interval=(value - half, value + half),
    rows_error=math.sqrt(rows),
    seeds_error=math.sqrt(over_seeds),
    seeds=seeds,
  )
