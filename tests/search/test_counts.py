"""Count tables: chunks, passes and devices add up to what a loop over rows counts."""

import jax
import numpy as np

from rec_sparse.search import buckets
from rec_sparse.search import counts


def test_tables_of_pairs_are_those_of_a_loop(monkeypatch):
  rng = np.random.default_rng(0)
  sizes = [3, 5, 4]
  code_FxB = [rng.integers(0, size, 101).astype(np.uint16) for size in sizes]
  label_BxT = rng.integers(0, 2, (101, 2))
  label_B = counts.joint_label(label_BxT, 0, 2)
  passes = []

  def source():
    passes.append(1)
    for start in range(0, 101, 40):
      own = slice(start, start + 40)
      chunk = counts.joint_label(label_BxT[own], start, 2)
      yield counts.Rows([code_B[own] for code_B in code_FxB], chunk)

  wanted = {}
  for field in (0, 2):
    wanted[field] = np.zeros((5, sizes[field], 8), int)
    np.add.at(wanted[field], (code_FxB[1], code_FxB[field], label_B), 1)
  on_devices = counts.on_devices(jax.devices())
  for count in (counts.on_host, on_devices):
    found = list(counts.pairs(source, 1, [0, 2], sizes, 8, count))
    for field, table in zip((0, 2), found, strict=True):
      np.testing.assert_array_equal(table, wanted[field])
      assert table.dtype == np.int64
  assert len(passes) == 2
  monkeypatch.setattr(counts, 'CELLS', 130)
  found = list(counts.pairs(source, 1, [0, 2], sizes, 8, counts.on_host))
  assert len(passes) == 4
  np.testing.assert_array_equal(found[1], wanted[2])
  _check_labels(wanted[2], label_BxT, code_FxB)


def _check_labels(table, label_BxT, code_FxB):
  """Halves and labels of the joint number, each where it belongs."""
  half_B = np.arange(101) % 2
  for task in (0, 1):
    own = np.zeros((2, 5, 4, 2), int)
    np.add.at(own, (half_B, code_FxB[1], code_FxB[2], label_BxT[:, task]), 1)
    np.testing.assert_array_equal(counts.by_label(table, 2, task), own)
    given = np.zeros((2, 2, 4, 2), int)
    np.add.at(given, (half_B, label_BxT[:, 1 - task], code_FxB[2], label_BxT[:, task]), 1)
    np.testing.assert_array_equal(counts.by_label_given(table.sum(0), 2, task, 1 - task), given)


def test_frequent_values_have_buckets_of_their_own():
  count_W = np.random.default_rng(1).integers(0, 50, 5000)
  count_W[[7, 4000]] = 900, 800
  bucket_W = buckets.of_counts(count_W, 64)
  assert bucket_W[0] == 0 and (bucket_W[1:] != 0).all() and bucket_W.max() == 63
  assert bucket_W[7] == 1 and bucket_W[4000] == 2
  rows_J = np.bincount(bucket_W)
  assert (rows_J[:32] == 1).all() and rows_J[32:].min() > 80  # the others are spread evenly
  merged = buckets.merged(np.stack([count_W, 2 * count_W], 1), bucket_W)
  np.testing.assert_array_equal(merged[:, 0], np.bincount(bucket_W, count_W))
  np.testing.assert_array_equal(buckets.of_counts(count_W[:64], 64), np.arange(64))
