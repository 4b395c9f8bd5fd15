"""Information that a field has of a label, from count tables: what was counted, less what chance
gives, with an interval.

Plain plug-in information is biased upwards by about (cells that are filled) / 2N nats: a useless
field of 100,000 values has .25 nats in 200,000 rows, more than any useful one. Two corrections:

  permutation  labels are permuted within every stratum of the field that is given, which keeps what
               the two fields have in common. The mean of a few permutations is subtracted, and the
               rest divided by `seen`, for cells of few rows show a part of what a field tells, and
               cells of one row nothing. Cells of a permuted table are hypergeometric, so it is
               drawn from the counts, not from rows.
  split        what one half of the rows says of p(label | value) is scored on the other half: never
               above the information in expectation, and not above 0 for a useless field.

REACTION (AAAI 2026) gives no estimator; all of this is our reading. Everything is float64 in nats.

Tables: table_XxJxWx2 counts rows by half of the rows (X is 1 or 2), stratum J (1 where nothing is
given), value W and label.
"""

from collections.abc import Callable, Sequence
import functools
import math
from typing import NamedTuple

import numpy as np
from scipy import special
from scipy import stats

from rec_sparse.scaling.student import student_quantile

DRAWS = 8  # permutations
_SMOOTHING = 1.0  # rows of its stratum that every value is given, where halves are split


class Estimate(NamedTuple):
  """Nats."""

  value: float  # less what chance gives
  half: float  # half of its 95 % interval
  plug_in: float  # as counted

  @property
  def low(self) -> float:
    """Lower end of the interval."""
    return self.value - self.half

  @property
  def high(self) -> float:
    """Upper end of the interval."""
    return self.value + self.half


Method = Callable[[np.ndarray, np.random.Generator], Estimate]


class Term(NamedTuple):
  """A sum of estimates of one kind, times a weight."""

  weight: float
  estimates: Sequence[Estimate]


def combined(*terms: Term) -> Estimate:
  """Sum of terms. All estimates are of the same rows.

  Half widths add up within a term, whose errors may go together, and in quadrature over terms:
  where their errors go together too, weights of both signs make them cancel.
  """
  value = 0.0
  square = 0.0
  plug_in = 0.0
  for weight, estimates in terms:
    if not weight:  # 0 times an infinite half width is none
      continue
    value += weight * sum(estimate.value for estimate in estimates)
    square += (weight * sum(estimate.half for estimate in estimates)) ** 2
    plug_in += weight * sum(estimate.plug_in for estimate in estimates)
  return Estimate(value, math.sqrt(square), plug_in)


def permutation(table_XxJxWx2: np.ndarray, rng: np.random.Generator) -> Estimate:
  """I(value; label | stratum) less the mean of DRAWS permutations of labels in strata, over `seen`.

  The interval holds the spread of permutations, Student's t, and what the delta method finds beyond
  it: the spread over rows of the pointwise information, where there is any. It is infinite where
  every cell has one row.
  """
  table_JxWx2 = table_XxJxWx2.sum(0)
  rows = int(table_JxWx2.sum())
  values_JxW = table_JxWx2.sum(2)
  positives_J = table_JxWx2[..., 1].sum(1)
  negatives_J = table_JxWx2[..., 0].sum(1)

  counted = _moments(table_JxWx2[..., 1], values_JxW, positives_J, negatives_J)
  by_chance = np.zeros((2, DRAWS))
  for j in np.flatnonzero(positives_J):
    filled_W = values_JxW[j, values_JxW[j] > 0]
    drawn_XxW = rng.multivariate_hypergeometric(
      filled_W, positives_J[j], size=DRAWS, method='marginals'
    )
    by_chance += _moments(drawn_XxW[:, None], filled_W[None], positives_J[[j]], negatives_J[[j]])

  plug_in, square = counted / rows
  chance, square_by_chance = by_chance.mean(1) / rows
  spread = float(by_chance[0].std(ddof=1)) / rows * math.sqrt(1 + 1 / DRAWS)
  over_rows = max(square - plug_in**2 - square_by_chance + chance**2, 0.0) / rows
  half = math.hypot(
    student_quantile(0.975, DRAWS - 1) * spread, student_quantile(0.975, 10**6) * over_rows**0.5
  )
  share = _seen(values_JxW, float(positives_J.sum() / rows))
  if not share:
    return Estimate(0.0, math.inf, float(plug_in))
  return Estimate(float((plug_in - chance) / share), half / share, float(plug_in))


def _seen(values_JxW: np.ndarray, rate: float) -> float:
  """Share of a weak effect that cells of these rows show, mean over rows; 0 if none has two."""
  sizes, cells = np.unique(values_JxW[values_JxW > 0], return_counts=True)
  size_X, share_X = seen(rate)
  return float(np.average(np.interp(sizes, size_X, share_X), weights=sizes * cells))


@functools.cache
def seen(rate: float) -> tuple[np.ndarray, np.ndarray]:
  """(n, share): of a weak effect, what the plug-in of a cell of n rows shows beyond chance.

  In a cell where the label has probability p the plug-in adds E phi(k / n), k binomial, where phi
  is the negative entropy; if p varies from cell to cell, the information is half its variance times
  phi''(p) = 1 / p (1 - p), and what is seen half its variance times the second derivative of
  E phi(k / n), which is n (n - 1) E of a second difference. 0 for n = 1; 1 for many rows.
  """
  variance = rate * (1 - rate)
  if not variance:
    return np.array([1.0]), np.array([0.0])
  most = max(100 / min(rate, 1 - rate), 4)
  size_X = np.unique(np.geomspace(1, most, 48).round())
  share_X = np.zeros(len(size_X))
  for i, n in enumerate(size_X[1:], 1):
    k = np.arange(n - 1)
    chance = stats.binom.pmf(k, n - 2, rate)
    second = _negentropy((k + 2) / n) - 2 * _negentropy((k + 1) / n) + _negentropy(k / n)
    share_X[i] = variance * n * (n - 1) * (chance @ second)
  return size_X, share_X


def _negentropy(p: np.ndarray) -> np.ndarray:
  return special.xlogy(p, p) + special.xlogy(1 - p, 1 - p)


def split(table_XxJxWx2: np.ndarray, rng: np.random.Generator) -> Estimate:
  """What one half of the rows (X = 2) says of labels given the value, scored on the other half.

  Mean of both directions; p(label | value, stratum) is smoothed towards p(label | stratum).
  """
  del rng
  sums = np.zeros(2)
  for own_JxWx2, other_JxWx2 in (table_XxJxWx2, table_XxJxWx2[::-1]):
    of_stratum_Jx1x2 = own_JxWx2.sum(1, keepdims=True) + 0.5
    p_Jx1x2 = of_stratum_Jx1x2 / of_stratum_Jx1x2.sum(2, keepdims=True)
    smoothed_JxWx2 = own_JxWx2 + _SMOOTHING * p_Jx1x2
    ratio_JxWx2 = np.log(smoothed_JxWx2 / smoothed_JxWx2.sum(2, keepdims=True) / p_Jx1x2)
    sums += [(other_JxWx2 * ratio_JxWx2).sum(), (other_JxWx2 * ratio_JxWx2**2).sum()]
  rows = table_XxJxWx2.sum()
  value, square = sums / rows
  error = math.sqrt(max(square - value**2, 0.0) / rows)
  return Estimate(float(value), student_quantile(0.975, 10**6) * error, plug_in(table_XxJxWx2))


def as_counted(table_XxJxWx2: np.ndarray, rng: np.random.Generator) -> Estimate:
  """Plain plug-in: for comparison. The interval is the delta method's."""
  del rng
  table_JxWx2 = table_XxJxWx2.sum(0)
  n_JxWx2 = table_JxWx2.sum((1, 2))
  positives_J = table_JxWx2[..., 1].sum(1)
  first, second = (
    _moments(table_JxWx2[..., 1], table_JxWx2.sum(2), positives_J, n_JxWx2 - positives_J)
    / n_JxWx2.sum()
  )
  error = math.sqrt(max(second - first**2, 0.0) / n_JxWx2.sum())
  return Estimate(float(first), student_quantile(0.975, 10**6) * error, float(first))


def plug_in(table_XxJxWx2: np.ndarray) -> float:
  """I(value; label | stratum) as counted."""
  table_JxWx2 = table_XxJxWx2.sum(0)
  return (
    entropy(table_JxWx2.sum(2))
    + entropy(table_JxWx2.sum(1))
    - entropy(table_JxWx2)
    - entropy(table_JxWx2.sum((1, 2)))
  )


def entropy(counts: np.ndarray) -> float:
  """Of the distribution that counts of any shape give."""
  n = np.asarray(counts, np.float64)
  total = n.sum()
  return float(np.log(total) - np.sum(n * np.log(np.maximum(n, 1))) / total)


def normalised(pair_WxJ: np.ndarray) -> float:
  """I / min(H, H) of two fields, in [0, 1].

  What chance gives is subtracted to first order (Panzeri and Treves 1996, cells that are filled).
  """
  of_first_W = pair_WxJ.sum(1)
  of_second_J = pair_WxJ.sum(0)
  first = entropy(of_first_W)
  second = entropy(of_second_J)
  if not min(first, second):
    return 0.0
  filled = [np.count_nonzero(counts) for counts in (pair_WxJ, of_first_W, of_second_J)]
  by_chance = (filled[0] - filled[1] - filled[2] + 1) / (2 * pair_WxJ.sum())
  shared = first + second - entropy(pair_WxJ) - by_chance
  return float(np.clip(shared / min(first, second), 0, 1))


def _moments(
  positive_JxW: np.ndarray, values_JxW: np.ndarray, positives_J: np.ndarray, negatives_J: np.ndarray
) -> np.ndarray:
  """Sum over rows of the pointwise information and of its square, log p(label | value) / p(label).

  Axes before J stay: the result is (2, ...).
  """
  n_J = np.maximum(positives_J + negatives_J, 1)
  n_JxW = np.maximum(values_JxW, 1)
  sums = np.zeros((2, *positive_JxW.shape[:-2]))
  for own_JxW, of_stratum_J in (
    (positive_JxW, positives_J),
    (values_JxW - positive_JxW, negatives_J),
  ):
    base_Jx1 = np.maximum(of_stratum_J, 1)[:, None] / n_J[:, None]
    i_JxW = np.log(np.maximum(own_JxW, 1) / n_JxW / base_Jx1)
    sums += [(own_JxW * i_JxW).sum((-2, -1)), (own_JxW * np.square(i_JxW)).sum((-2, -1))]
  return sums


METHODS: dict[str, Method] = {'permutation': permutation, 'split': split, 'none': as_counted}
