"""Cutting missing splits from train by a keyed hash of the row number.

So the cut is exact, streamed, and free of the order that rows are read in.
"""

import numpy as np

from data_pipelines import hashing

TRAIN_SHARE = 8  # rows of train for each row of a split that is cut from it


def split_of_rows(first: int, count: int, missing: int, seed: int) -> np.ndarray:
  """Which split the rows [first, first + count) of train files go to: int64 (count,).

  0 is train, 1 and on are the `missing` splits. In every run of 8 + missing consecutive rows, one
  row each goes to the missing splits.
  """
  row_B = np.arange(first, first + count)
  if missing == 0:
    return np.zeros(count, np.int64)

  length = TRAIN_SHARE + missing
  run_B, place_B = np.divmod(row_B, length)
  split_B = np.zeros(count, np.int64)
  taken_BxJ = np.empty((count, 0), np.int64)
  for split in range(1, missing + 1):
    chosen_B = hashing.hash_words(seed, run_B, split).astype(np.int64) % (length - split + 1)
    # the chosen_B-th of the places that are still free
    for other_B in np.sort(taken_BxJ, axis=1).T:
      chosen_B += chosen_B >= other_B
    taken_BxJ = np.column_stack([taken_BxJ, chosen_B])
    split_B[place_B == chosen_B] = split
  return split_B
