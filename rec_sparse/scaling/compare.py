"""Arm against arm at equal forward FLOPs per example, and at equal non-zero dense parameters (design, 5.3)."""

from collections.abc import Sequence
import dataclasses
import itertools
from typing import Literal

import numpy as np

from rec_sparse.scaling.records import Rung, paired
from rec_sparse.scaling.student import mean_of_seeds
from rec_sparse.scaling.verdict import Interval, contrast_interval

Axis = Literal['flops', 'nonzero']
AXES: tuple[Axis, ...] = ('flops', 'nonzero')


@dataclasses.dataclass(frozen=True)
class Gap:
  """Test log loss of the second arm minus that of the first, seed by seed, at one size or over a range."""

  low: float  # size, or where the range begins
  high: float  # the same size, or where the range ends
  value: float  # nats per example; negative: the second arm is better
  interval: Interval  # 95 % over paired seeds; None below two


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Two arms over the sizes that both reach; outside them nothing is said."""

  first: str  # reference arm
  second: str  # other arm
  axis: Axis  # what is held equal
  seeds: int  # seeds that both arms finished on every rung
  overall: Gap | None  # mean over the shared range of ln x; None if the ranges do not meet, or no seed is shared
  points: tuple[Gap, ...]  # at every rung of either arm inside the shared range


def compare_arms(rungs: dict[str, Sequence[Rung]]) -> tuple[Comparison, ...]:
  """Every pair of arms that have rungs, on both axes."""
  pairs = itertools.combinations([arm for arm in rungs if rungs[arm]], 2)
  return tuple(compare(rungs[a], rungs[b], axis) for a, b in pairs for axis in AXES)


def compare(first: Sequence[Rung], second: Sequence[Rung], axis: Axis) -> Comparison:
  """Paired differences of two arms at equal size, linear in ln x between the rungs of each.

  Rungs of one arm at one and the same size are averaged. The seed fixes the data order in both arms, so differences are
  taken seed by seed, and their Student interval (seeds - 1 degrees of freedom) holds for any correlation between rungs.
  """
  seeds, _ = paired([*first, *second], 'test_logloss')
  result = Comparison(first[0].arm, second[0].arm, axis, len(seeds), None, ())
  curves = [_curve(rungs, axis, seeds) for rungs in (first, second)]
  low, high = max(u[0] for u, _ in curves), min(u[-1] for u, _ in curves)
  if low > high or not seeds:
    return result
  u = np.unique(np.clip(np.concatenate([u for u, _ in curves]), low, high))
  a_SxU, b_SxU = (np.array([np.interp(u, knots, y) for y in y_SxR]) for knots, y_SxR in curves)
  gap_SxU = b_SxU - a_SxU
  mean_S = np.trapezoid(gap_SxU, u, axis=1) / (high - low) if high > low else gap_SxU[:, 0]
  points = tuple(_gap(np.exp(x), np.exp(x), gap_S) for x, gap_S in zip(u, gap_SxU.T))
  return dataclasses.replace(result, overall=_gap(np.exp(low), np.exp(high), mean_S), points=points)


def _curve(rungs: Sequence[Rung], axis: Axis, seeds: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
  """Distinct ln sizes, ascending, and the test log loss y_SxR there of the given seeds."""
  own, y_RxS = paired(rungs, 'test_logloss')
  kept = y_RxS[:, [own.index(seed) for seed in seeds]]
  sizes = np.log([getattr(r, axis) for r in rungs])
  u, where = np.unique(sizes, return_inverse=True)
  return u, np.array([kept[where == i].mean(0) for i in range(len(u))]).T


def _gap(low: float, high: float, gap_S: np.ndarray) -> Gap:
  mean = mean_of_seeds(gap_S)
  return Gap(float(low), float(high), float(mean.value), contrast_interval(mean, len(gap_S)))
