"""Rows whose useful, redundant and useless fields are known."""

import numpy as np

from rec_sparse.search import buckets
from rec_sparse.search import counts

Fields = dict[str, np.ndarray]  # name -> value of each row, from 1 on


def tables(fields: Fields, label_BxT: np.ndarray, halves: int = 1, chunk: int = 4096):
  """(table_WxY of each field, pairs): what `afe.steps` asks for, counted in chunks."""
  labels = halves << label_BxT.shape[1]
  label_B = counts.joint_label(label_BxT, 0, halves)
  code_FxB = []
  for value_B in fields.values():
    code_FxB.append(buckets.of_counts(np.bincount(value_B))[value_B])
  sizes = [int(code_B.max()) + 1 for code_B in code_FxB]

  def source():
    for start in range(0, len(label_B), chunk):
      own = slice(start, start + chunk)
      yield counts.Rows([code_B[own] for code_B in code_FxB], label_B[own])

  def pairs(given, candidates):
    return counts.pairs(source, given, candidates, sizes, labels, counts.on_host)

  found = []
  for code_B, size in zip(code_FxB, sizes, strict=True):
    cell_B = code_B.astype(np.int64) * labels + label_B
    found.append(np.bincount(cell_B, minlength=size * labels).reshape(size, labels))
  return found, pairs
