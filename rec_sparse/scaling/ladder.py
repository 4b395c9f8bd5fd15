"""Which rungs of an arm make one curve, and which of them are its top."""

from collections.abc import Sequence

import numpy as np

from rec_sparse.scaling.records import Rung

BIN = 0.5  # e-folds of FLOPs within which two shapes have the same cost
LEAST_SIZES = 3  # that a slope is judged over
LEAST_SPAN = 1.0  # e-folds of FLOPs that they span
LAST_SPAN = 0.5  # e-folds of FLOPs of the last segment


def frontier(rungs: Sequence[Rung]) -> tuple[Rung, ...]:
  """The rungs that make one curve, by ascending FLOPs: all those of one depth and number of views, or the best shapes.

  Where an arm has several depths or numbers of views, a line through all of its rungs would zigzag between them. Then
  each cost, half an e-fold of FLOPs wide, is represented by the shape with the lowest validation log loss there. No
  rung is dropped for being worse than a cheaper one: an arm that gets worse with size must be seen to.
  """
  families = {(r.depth, r.views) for r in rungs}
  if len(families) < 2:
    return tuple(rungs)

  bins: list[list[Rung]] = []
  for rung in sorted(rungs, key=lambda r: r.flops):
    if bins and np.log(rung.flops / bins[-1][0].flops) < BIN:
      bins[-1].append(rung)
    else:
      bins.append([rung])
  return tuple(min(own, key=lambda r: r.metrics['valid_logloss'].mean()) for own in bins)


def top(rungs: Sequence[Rung], sizes: int = LEAST_SIZES, span: float = LEAST_SPAN) -> tuple[Rung, ...]:
  """The fewest last rungs, by ascending FLOPs, of so many sizes and e-folds.

  Where the whole ladder spans less, all of it; none where it has fewer sizes.
  """
  for start in range(len(rungs) - sizes, -1, -1):
    flops = [r.flops for r in rungs[start:]]
    long_enough = np.log(flops[-1] / flops[0]) >= span
    if len(set(flops)) >= sizes and (long_enough or start == 0):
      return tuple(rungs[start:])
  return ()


def last_segment(rungs: Sequence[Rung]) -> tuple[Rung, ...]:
  """The last step of the ladder: two sizes at least, half an e-fold apart where the ladder has that."""
  return top(rungs, 2, LAST_SPAN)
