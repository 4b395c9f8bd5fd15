"""Intervals that stay honest at three to five seeds: Student's t, and contrasts of rungs with paired seeds.

The percentile bootstrap of four seeds misses a true value far more often than it says (scaling method, section 4): its
variance is (S - 1) / S of the real one, and it ignores that the spread is itself uncertain. Student's t repairs both.
"""

import functools
import math
import statistics
from typing import NamedTuple

import numpy as np


class Contrast(NamedTuple):
  """A linear contrast of rung means, and how sure the seeds make it; fields share the leading shape of the input."""

  value: np.ndarray  # sum of c_r times the mean of rung r
  spread: np.ndarray  # standard deviation of the contrast for a single seed; nan with one seed
  freedom: int  # degrees of freedom of the spread; 0 with one seed


@functools.cache
def student_quantile(p: float, freedom: int) -> float:
  """Quantile of Student's t for 0.5 <= p < 1, absolute error below 1e-6 (Abramowitz and Stegun 26.7.3, 26.7.4)."""
  if freedom > 100:  # Cornish-Fisher expansion (26.7.5)
    z = statistics.NormalDist().inv_cdf(p)
    terms = (z, (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return sum(term / freedom**i for i, term in enumerate(terms))
  low, high = 0.0, math.pi / 2  # angle whose tangent is t / sqrt(freedom)
  for _ in range(60):
    middle = (low + high) / 2
    low, high = (middle, high) if _two_sided(middle, freedom) < 2 * p - 1 else (low, middle)
  return math.sqrt(freedom) * math.tan(low)


def _two_sided(angle: float, freedom: int) -> float:
  """P(|t| < sqrt(freedom) tan(angle)), a finite sum for whole degrees of freedom."""
  sine, cosine = math.sin(angle), math.cos(angle)
  term, total = (cosine, 0.0) if freedom % 2 else (1.0, 0.0)
  for i in range(1 + freedom % 2, freedom, 2):
    total += term
    term *= cosine**2 * i / (i + 1)
  return 2 / math.pi * (angle + sine * total) if freedom % 2 else sine * total


def slope_weights(x_R: np.ndarray) -> np.ndarray:
  """Weights c_R with sum c_r y_r = least-squares slope of y against x; they add up to 0."""
  centred = x_R - x_R.mean()
  return centred / (centred**2).sum()


def paired_contrast(weights_R: np.ndarray, y_RxS: np.ndarray) -> Contrast:
  """A contrast of rung means where the same seed means the same data order on every rung; y is (..., R, S).

  Two-way analysis of variance: y_rs = rung + seed + rest. What a seed does to every rung alike cancels in a contrast
  whose weights add up to 0; the rest, pooled over rungs, has (R - 1)(S - 1) degrees of freedom. Pooling understates the
  spread if the rungs that carry the weight are the noisy ones, so the spread of the per-seed contrasts takes its place
  wherever that is larger.
  """
  rungs, seeds = y_RxS.shape[-2:]
  freedom = (rungs - 1) * (seeds - 1)
  if not freedom:
    return Contrast(y_RxS.mean(-1) @ weights_R, np.full(y_RxS.shape[:-2], np.nan), 0)
  rest = y_RxS - y_RxS.mean(-1, keepdims=True) - y_RxS.mean(-2, keepdims=True) + y_RxS.mean((-2, -1), keepdims=True)
  pooled = np.sqrt((rest**2).sum((-2, -1)) / freedom * (weights_R**2).sum())
  by_seed = (y_RxS.swapaxes(-2, -1) @ weights_R).std(-1, ddof=1)
  return Contrast(y_RxS.mean(-1) @ weights_R, np.maximum(pooled, by_seed), freedom)


def mean_of_seeds(y_S: np.ndarray) -> Contrast:
  """The mean over seeds of one number per seed (..., S), such as a paired difference of two arms."""
  seeds = y_S.shape[-1]
  spread = y_S.std(-1, ddof=1) if seeds > 1 else np.full(y_S.shape[:-1], np.nan)
  return Contrast(y_S.mean(-1), spread, seeds - 1)


def half_width(spread: np.ndarray, freedom: int, seeds: int, level: float = 0.95) -> np.ndarray:
  """Half the Student interval of a contrast over `seeds` seeds; nan where the spread is not known."""
  if freedom < 1:
    return np.full(np.shape(spread), np.nan)
  return student_quantile((1 + level) / 2, freedom) * spread / math.sqrt(seeds)
