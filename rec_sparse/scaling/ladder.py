"""Which rungs of an arm make one curve, and which of them are its top."""

from collections.abc import Sequence

import numpy as np

from rec_sparse.scaling.records import Rung

LEAST_SIZES = 3  # that a slope is judged over
LEAST_SPAN = 1.0  # e-folds of FLOPs that they span
LAST_SPAN = 0.5  # e-folds of FLOPs of the last segment


def frontier(rungs: Sequence[Rung]) -> tuple[Rung, ...]:
  """The rungs that make one curve, by ascending FLOPs.

  They are those of one shape, or the best shapes.

  Where an arm has several depths, numbers of views or the like, a line through all of its rungs
  would zigzag between them. Then costs are cut, from the largest down, into steps as long as those
  within a shape, so that each shape has about one rung in a step, and the one with the lowest
  validation log loss stands for the step. No step is left out for being worse than a cheaper one:
  an arm that gets worse with size must be seen to.
  """
  shapes: dict[str, list[float]] = {}
  for rung in sorted(rungs, key=lambda r: r.flops):
    shapes.setdefault(rung.shape, []).append(np.log(rung.flops))
  steps = np.concatenate([[], *(np.diff(sizes) for sizes in shapes.values())])
  if len(shapes) < 2 or not steps.any():
    return tuple(rungs)

  highest = max(sizes[-1] for sizes in shapes.values())
  best: dict[int, Rung] = {}
  for rung in rungs:
    step = int((highest - np.log(rung.flops)) / np.median(steps) + 1e-9)
    if step not in best or _valid(rung) < _valid(best[step]):
      best[step] = rung
  return tuple(best[step] for step in sorted(best, reverse=True))


def _valid(rung: Rung) -> float:
  return rung.metrics['valid_logloss'].mean()


def top(
  rungs: Sequence[Rung], sizes: int = LEAST_SIZES, span: float = LEAST_SPAN
) -> tuple[Rung, ...]:
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
  """The last step of the ladder: two sizes at least.

  They are half an e-fold apart where the ladder has that.
  """
  return top(rungs, 2, LAST_SPAN)
