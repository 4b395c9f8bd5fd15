"""Intervals that stay honest at two to thirty seeds.

Student's t is for seeds, the normal for test rows.

The percentile bootstrap of four seeds misses a true value far more often than it says (its variance
is (S - 1) / S of the real one, and it ignores that the spread is itself uncertain). Student's t
repairs both.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from scipy import special

LEVEL = 0.95  # of every interval of a report
CONTRAST_LEVEL = 0.1  # chance to call even noise uneven for a contrast; more below five seeds
RUNG_LEVEL = 0.2  # and for the sake of any of the judged rungs; more below five seeds
FEW_RUNGS = 4  # judged over more of them, noise always counts as uneven


class Spread(NamedTuple):
  """How much a number would differ from seed to seed."""

  deviation: float  # standard deviation of the number of a single seed
  freedom: int  # degrees of freedom that it was estimated with


@functools.cache
def student_quantile(p: float, freedom: int) -> float:
  """Quantile of Student's t."""
  return float(special.stdtrit(freedom, p))


@functools.cache
def fisher_quantile(p: float, upper: int, lower: int) -> float:
  """Quantile of the F distribution, `upper` and `lower` degrees of freedom of the two variances."""
  return float(special.fdtri(upper, lower, p))


def half_width(spread: Spread, seeds: int, rows_error: float = 0.0, level: float = LEVEL) -> float:
  """Half the interval of a mean over `seeds` seeds on test rows of standard error `rows_error`.

  The half widths over seeds and over rows add up in quadrature. Satterthwaite's approximation would
  trust a spread that two seeds happen to make small; this does not.
  """
  tail = (1 + level) / 2
  over_seeds = student_quantile(tail, spread.freedom) * spread.deviation / math.sqrt(seeds)
  over_rows = float(special.ndtri(tail)) * rows_error
  return math.hypot(over_seeds, over_rows)


def slope_weights(x_P: np.ndarray) -> np.ndarray:
  """Weights c_P with sum c_r y_r = least-squares slope of y against x; they add up to 0."""
  centred_P = x_P - x_P.mean()
  return centred_P / np.square(centred_P).sum()


def spread_of_mean(y_S: np.ndarray) -> Spread:
  """Of one number per seed, such as a paired difference of two arms; takes two seeds or more."""
  return Spread(float(np.std(y_S, ddof=1)), len(y_S) - 1)


def spread_of_contrast(weights_P: np.ndarray, y_PxS: np.ndarray) -> Spread:
  """The spread of sum c_r y_r over the rungs of a ladder.

  The same seed means the same data order on every rung.

  Two estimates: the pooled one, and the deviation of the S contrasts themselves, which holds
  whatever the noise is like but has S - 1 degrees of freedom. Where the noise is uneven the wider
  one of the two counts, else the pooled one.

  Takes two seeds and two rungs or more, and weights that add up to 0.
  """
  rungs, seeds = y_PxS.shape
  pooled = pooled_spread(weights_P, y_PxS)
  own = spread_of_mean(weights_P @ y_PxS)
  if rungs == 2 or not _uneven(weights_P, _squares(y_PxS), seeds, own.deviation, pooled.deviation):
    return pooled
  return max(pooled, own, key=lambda spread: half_width(spread, seeds))


def pooled_spread(weights_P: np.ndarray, y_PxS: np.ndarray) -> Spread:
  """As `spread_of_contrast`, were the noise of all rungs, judged or not, the same.

  y_rs = rung + seed + rest: the rest has one standard deviation, known with (P - 1)(S - 1) degrees
  of freedom. What a seed does to every rung alike cancels in weights that add up to 0.
  """
  rungs, seeds = y_PxS.shape
  freedom = (rungs - 1) * (seeds - 1)
  variance = _squares(y_PxS).sum() / freedom
  return Spread(math.sqrt(variance * np.square(weights_P).sum()), freedom)


def _squares(y_PxS: np.ndarray) -> np.ndarray:
  """squares_P, over seeds, of what neither rung nor seed explains."""
  rest_PxS = y_PxS - y_PxS.mean(1, keepdims=True) - y_PxS.mean(0) + y_PxS.mean()
  return np.square(rest_PxS).sum(1)


def _uneven(
  weights_P: np.ndarray, squares_P: np.ndarray, seeds: int, own: float, pooled: float
) -> bool:
  """Whether a judged rung is noisier than the others, or the contrast than the pooled noise.

  Two F tests at lenient levels: what they miss makes intervals too narrow, what they see in vain
  only makes them wide. The fewer the seeds, the less a test can see, so the more lenient it is.
  Over many rungs the noise of single trials averages out, and a slope that a seed has of its own
  does not: there the answer is always yes.
  """
  rungs = len(weights_P)
  judged_P = weights_P != 0
  if np.count_nonzero(judged_P) > FEW_RUNGS:
    return True

  freedom = (rungs - 1) * (seeds - 1)
  level = max(CONTRAST_LEVEL, min(0.7, 2.6 / seeds**2))
  if own**2 > fisher_quantile(1 - level, seeds - 1, freedom) * pooled**2:
    return True

  of_one = freedom / rungs  # degrees of freedom that lie in one rung
  others_P = (squares_P.sum() - squares_P) / (freedom - of_one)
  level = max(RUNG_LEVEL, min(1.0, 4 / seeds**2)) / np.count_nonzero(judged_P)
  limit = fisher_quantile(1 - level, seeds - 1, (rungs - 2) * (seeds - 1))
  noisier_P = squares_P / of_one > limit * others_P
  return bool(noisier_P[judged_P].any())
