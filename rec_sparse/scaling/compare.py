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
  seeds, y_RxS = paired(every, 'test_logloss')
  result = Comparison(first[0].arm, second[0].arm, axis, len(seeds), None, ())
  sizes = [np.log([getattr(r, axis) for r in rungs]) for rungs in (first, second)]
  low = max(u.min() for u in sizes)
  high = min(u.max() for u in sizes)
  if low > high or not seeds:
    return result

  u_U = np.unique(np.clip(np.concatenate(sizes), low, high))
  of_first_UxR, of_second_UxR = (_interpolation(u_R, u_U) for u_R in sizes)
  weights_UxR = np.concatenate([-of_first_UxR, of_second_UxR], axis=1)
  mean_R = np.trapezoid(weights_UxR, u_U, axis=0) / (high - low) if high > low else weights_UxR[0]

  def gap(low: float, high: float, weights_R: np.ndarray) -> Gap:
    error = rows.of_contrast(every, weights_R) if rows else 0.0
    return _gap(np.exp(low), np.exp(high), weights_R @ y_RxS, error)

  points = tuple(gap(u, u, weights_R) for u, weights_R in zip(u_U, weights_UxR))
  return dataclasses.replace(result, overall=gap(low, high, mean_R), points=points)


def _interpolation(u_R: np.ndarray, at_U: np.ndarray) -> np.ndarray:
  """weights_UxR with which the rungs at ln sizes u_R give the arm's curve at sizes
  inside their range.
  """
  knots_K, where_R = np.unique(u_R, return_inverse=True)
  mean_KxR = (where_R == np.arange(len(knots_K))[:, None]) / np.bincount(where_R)[:, None]
  return np.array([np.interp(at_U, knots_K, mean_K) for mean_K in mean_KxR.T]).T


def _gap(low: float, high: float, gap_S: np.ndarray, rows_error: float) -> Gap:
  value = float(gap_S.mean())
  if len(gap_S) < 2:
    return Gap(float(low), float(high), value, None)
  half = half_width(spread_of_mean(gap_S), len(gap_S), rows_error)
  return Gap(float(low), float(high), value, (value - half, value + half))
