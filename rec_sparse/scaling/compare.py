"""Arm against arm at equal size.

That is at equal forward FLOPs per example, and at equal non-zero dense parameters.
"""

from collections.abc import Sequence
import dataclasses
import itertools
from typing import Literal

import numpy as np

from rec_sparse.scaling.records import paired
from rec_sparse.scaling.records import Rung
from rec_sparse.scaling.row_error import RowError
from rec_sparse.scaling.student import half_width
from rec_sparse.scaling.student import spread_of_mean
from rec_sparse.scaling.verdict import Interval

Axis = Literal['flops', 'nonzero']
AXES: tuple[Axis, ...] = ('flops', 'nonzero')


@dataclasses.dataclass(frozen=True)
class Gap:
  """Test log loss of the second arm minus that of the first, seed by seed.

  At one size or over a range.
  """

  low: float  # size, or where the range begins
  high: float  # the same size, or where the range ends
  value: float  # nats per example; negative: the second arm is better
  interval: Interval  # 95 % over paired seeds and test rows; None below two seeds


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Two arms over the sizes that both reach; outside them nothing is said."""

  first: str  # reference arm
  second: str  # other arm
  axis: Axis  # what is held equal
  seeds: int  # seeds that both arms finished on every rung
  # mean over the shared range of ln x; None if the ranges do not meet, or no seed is shared
  overall: Gap | None
  points: tuple[Gap, ...]  # at every rung of either arm inside the shared range


def compare_arms(
  rungs: dict[str, Sequence[Rung]], rows: RowError | None = None
) -> tuple[Comparison, ...]:
  """Every pair of arms that have rungs, on both axes."""
  arms = [arm for arm in rungs if rungs[arm]]
  comparisons = []
  for first, second in itertools.combinations(arms, 2):
    for axis in AXES:
      comparisons.append(compare(rungs[first], rungs[second], axis, rows))
  return tuple(comparisons)


def compare(
  first: Sequence[Rung], second: Sequence[Rung], axis: Axis, rows: RowError | None = None
) -> Comparison:
  """Paired differences of two arms at equal size, linear in ln x between the rungs of each.

  Rungs of one arm at one and the same size are averaged. The seed fixes the data order in both
  arms, so differences are taken seed by seed, and their Student interval (seeds - 1 degrees of
  freedom) holds for any correlation between rungs. `rows` adds the error over test rows.
  """
  every = [*first, *second]
  seeds, y_PxS = paired(every, 'test_logloss')
  result = Comparison(first[0].arm, second[0].arm, axis, len(seeds), None, ())
  first_P = np.log([getattr(r, axis) for r in first])
  second_P = np.log([getattr(r, axis) for r in second])
  low = max(first_P.min(), second_P.min())
  high = min(first_P.max(), second_P.max())
  if low > high or not seeds:
    return result

  u_J = np.unique(np.clip(np.concatenate([first_P, second_P]), low, high))
  of_first_JxP = _interpolation(first_P, u_J)
  of_second_JxP = _interpolation(second_P, u_J)
  weights_JxP = np.concatenate([-of_first_JxP, of_second_JxP], axis=1)
  mean_P = weights_JxP[0]
  if high > low:
    mean_P = np.trapezoid(weights_JxP, u_J, axis=0) / (high - low)

  def gap(low: float, high: float, weights_P: np.ndarray) -> Gap:
    error = rows.of_contrast(every, weights_P) if rows else 0.0
    return _gap(np.exp(low), np.exp(high), weights_P @ y_PxS, error)

  points = tuple(gap(u, u, weights_P) for u, weights_P in zip(u_J, weights_JxP, strict=True))
  return dataclasses.replace(result, overall=gap(low, high, mean_P), points=points)


def _interpolation(u_P: np.ndarray, at_J: np.ndarray) -> np.ndarray:
  """weights_JxP with which rungs at ln sizes u_P give their curve at the sizes at_J, inside."""
  knots_J, where_P = np.unique(u_P, return_inverse=True)
  is_at_JxP = where_P == np.arange(len(knots_J))[:, None]
  mean_JxP = is_at_JxP / np.bincount(where_P)[:, None]
  weights_PxJ = [np.interp(at_J, knots_J, mean_J) for mean_J in mean_JxP.T]
  return np.array(weights_PxJ).T


def _gap(low: float, high: float, gap_S: np.ndarray, rows_error: float) -> Gap:
  value = float(gap_S.mean())
  if len(gap_S) < 2:
    return Gap(float(low), float(high), value, None)
  half = half_width(spread_of_mean(gap_S), len(gap_S), rows_error)
  return Gap(float(low), float(high), value, (value - half, value + half))
