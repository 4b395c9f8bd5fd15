"""Arm against arm at equal forward FLOPs per example, and at equal non-zero dense parameters
(design, 5.3).
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
  """Test log loss of the second arm minus that of the first, seed by seed, at one size or over a
  range.
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
  pairs = itertools.combinations([arm for arm in rungs if rungs[arm]], 2)
  return tuple(compare(rungs[a], rungs[b], axis, rows) for a, b in pairs for axis in AXES)


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
  sizes = [np.log([getattr(r, axis) for r in rungs]) for rungs in (first, second)]
  low = max(u.min() for u in sizes)
  high = min(u.max() for u in sizes)
  if low > high or not seeds:
    return result

  u_J = np.unique(np.clip(np.concatenate(sizes), low, high))
  of_first_JxP, of_second_JxP = (_interpolation(u_P, u_J) for u_P in sizes)
  weights_JxP = np.concatenate([-of_first_JxP, of_second_JxP], axis=1)
  mean_P = np.trapezoid(weights_JxP, u_J, axis=0) / (high - low) if high > low else weights_JxP[0]

  def gap(low: float, high: float, weights_P: np.ndarray) -> Gap:
    error = rows.of_contrast(every, weights_P) if rows else 0.0
    return _gap(np.exp(low), np.exp(high), weights_P @ y_PxS, error)

  points = tuple(gap(u, u, weights_P) for u, weights_P in zip(u_J, weights_JxP))
  return dataclasses.replace(result, overall=gap(low, high, mean_P), points=points)


def _interpolation(u_P: np.ndarray, at_J: np.ndarray) -> np.ndarray:
  """weights_JxP with which the rungs at ln sizes u_P give the arm's curve at sizes
  inside their range.
  """
  knots_J, where_P = np.unique(u_P, return_inverse=True)
  mean_JxP = (where_P == np.arange(len(knots_J))[:, None]) / np.bincount(where_P)[:, None]
  return np.array([np.interp(at_J, knots_J, mean_J) for mean_J in mean_JxP.T]).T


def _gap(low: float, high: float, gap_S: np.ndarray, rows_error: float) -> Gap:
  value = float(gap_S.mean())
  if len(gap_S) < 2:
    return Gap(float(low), float(high), value, None)
  half = half_width(spread_of_mean(gap_S), len(gap_S), rows_error)
  return Gap(float(low), float(high), value, (value - half, value + half))
