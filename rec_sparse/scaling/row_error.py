"""What the test rows add to the error of a study.

Other rows would give every rung another log loss.

Rungs are scored on the same rows, so what a row does to all of them alike cancels in a slope or a
difference; what is left is a covariance of rung means over draws of the rows. Sweeps keep the
logits of the test split for it.
"""

from collections.abc import Callable, Sequence
import dataclasses
import math
import pathlib

import numpy as np

from rec_sparse.scaling import paired_rows
from rec_sparse.scaling.records import Results
from rec_sparse.scaling.records import Rung

CHUNK = 1 << 16  # rows at a time
Key = tuple[str, str]  # arm and name of a rung


@dataclasses.dataclass(frozen=True)
class RowError:
  """Covariance of the mean log losses of rungs over draws of the test rows.

  The trained models are given.
  """

  rows: int  # test rows that it was measured on
  place: dict[Key, int]  # rung -> its place in the covariance
  covariance_PxP: np.ndarray  # nats^2, of means over so many rows, without what differs by seed

  def of_contrast(self, rungs: Sequence[Rung], weights_P: np.ndarray) -> float:
    """Standard error over the test rows of sum w_r times the mean of rung r.

    The rungs may have any numbers of seeds.
    """
    return math.sqrt(max(0.0, weights_P @ self.of_means(rungs) @ weights_P))

  def of_means(self, rungs: Sequence[Rung]) -> np.ndarray:
    """The covariance of these rungs' means."""
    places = [self.place[r.arm, r.name] for r in rungs]
    return self.covariance_PxP[np.ix_(places, places)]


def read_row_error(results: Results, rungs: Sequence[Rung]) -> RowError | None:
  """Measures it on the logits that its directory keeps of these rungs' trials, all of them or None.

  Raises ValueError naming the file that is damaged.
  """
  folder = results.directory / 'logits'
  wanted = [folder / f'{run_id}.npy' for rung in rungs for run_id in rung.run_ids]
  labels = folder / 'labels.npy'
  if not rungs or not all(path.is_file() for path in [labels, *wanted]):
    return None

  label_ExT = read_array(labels)
  rows = len(label_ExT)
  logits = []  # of each rung, of each of its trials
  for rung in rungs:
    paths = [folder / f'{run_id}.npy' for run_id in rung.run_ids]
    logits.append([read_array(path, rows) for path in paths])

  def losses(start: int, stop: int) -> list[np.ndarray]:
    of_rungs = []
    for trials in logits:
      logit_SxBxT = np.array([logit_ExT[start:stop] for logit_ExT in trials])
      of_rungs.append(paired_rows.row_losses(logit_SxBxT, label_ExT[start:stop]))
    return of_rungs

  return measure(rungs, rows, losses)


def measure(
  rungs: Sequence[Rung], rows: int, losses: Callable[[int, int], list[np.ndarray]]
) -> RowError:
  """From the log losses of every trial on every row.

  `losses(start, stop)` gives, for each rung, loss_SxB of its seeds on the rows [start, stop). What
  a row and a seed do together differs from seed to seed, so the spread over seeds holds it already:
  its share, estimated from seeds that two rungs have in common, is taken out.
  """
  seeds_P = np.array([len(r.seeds) for r in rungs])
  common_PxP = np.array([[len(set(a.seeds) & set(b.seeds)) for b in rungs] for a in rungs])
  every = sorted({seed for r in rungs for seed in r.seeds})
  sum_P = np.zeros(len(rungs))
  squares_PxP = np.zeros((len(rungs), len(rungs)))
  together_PxP = np.zeros((len(rungs), len(rungs)))

  for start in range(0, rows, CHUNK):
    stop = min(rows, start + CHUNK)
    apart_PxSxB = np.zeros((len(rungs), len(every), stop - start))  # 0 for seeds that a rung lacks
    mean_PxB = np.empty((len(rungs), stop - start))
    for k, (rung, loss_SxB) in enumerate(zip(rungs, losses(start, stop), strict=True)):
      centred_SxB = loss_SxB - rung.metrics['test_logloss'][:, None]
      mean_PxB[k] = centred_SxB.mean(0)
      apart_PxSxB[k, [every.index(seed) for seed in rung.seeds]] = centred_SxB - mean_PxB[k]
    sum_P += mean_PxB.sum(1)
    squares_PxP += mean_PxB @ mean_PxB.T
    together_PxP += np.tensordot(apart_PxSxB, apart_PxSxB, ((1, 2), (1, 2)))

  of_rows_PxP = (squares_PxP - np.outer(sum_P, sum_P) / rows) / (rows - 1)
  of_seeds_PxP = together_PxP / rows / np.maximum(common_PxP - 1, 1)  # of one seed and row
  share_PxP = common_PxP / np.outer(seeds_P, seeds_P)  # of means: only common seeds vary together
  place = {(r.arm, r.name): k for k, r in enumerate(rungs)}
  return RowError(rows, place, (of_rows_PxP - of_seeds_PxP * share_PxP) / rows)


def read_array(path: pathlib.Path, rows: int | None = None) -> np.ndarray:
  """A memory-mapped (E, T) array of logits or labels.

  Raises ValueError naming the file when it is something else.
  """
  try:
    array_ExT = np.load(path, mmap_mode='r', allow_pickle=False)
  except (ValueError, EOFError, OSError) as e:
    raise ValueError(f'{path}: damaged ({e}); delete it, and the sweep makes it again') from None
  if array_ExT.ndim != 2 or rows not in (None, len(array_ExT)):
    raise ValueError(
      f'{path}: holds an array of shape {array_ExT.shape}, expected one row for '
      f'each of {rows} test rows; delete it, and the sweep makes it again'
    )
  return array_ExT
