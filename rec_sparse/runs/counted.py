"""The training rows of a data set on disk as rec_sparse/search counts them: in chunks, out of core.

Memory follows the table and the buckets of pairs of fields, not the rows.
"""

from collections.abc import Iterator, Sequence
import functools
import math
import pathlib
from typing import NamedTuple

import jax
import numpy as np

from data_pipelines import blocks
from rec_sparse import schema as schema_lib
from rec_sparse.search import afe
from rec_sparse.search import buckets
from rec_sparse.search import counts
from rec_sparse.search import heldout
from rec_sparse.search import information
from rec_sparse.search import values

CHUNK = 1 << 18  # rows
LARGEST = 1 << 29  # cells of a table of two fields: 4 GB
SAMPLE = 1 << 18  # training rows, evenly spaced, of the orders that learn: lasso and gates


class Counted(NamedTuple):
  """The training rows of a data set, their fields counted by label once."""

  schema: schema_lib.FeatureSchema
  train: blocks.OpenSplit
  edges_AxX: list[np.ndarray]  # inner edges of the buckets of each column of numbers
  halves: int
  counts: list[np.ndarray]  # count_WxY of each field
  bucket_of: list[np.ndarray]  # bucket_W of each field
  sizes: list[int]  # buckets of each field
  count: counts.Count


def open_data(
  data: pathlib.Path, schema: schema_lib.FeatureSchema, most: int, halves: int
) -> Counted:
  """Counts each field by label, in one pass, and gives it at most `most` buckets.

  Edges of the buckets of numbers are quantiles of the first block. Raises ValueError naming the
  file when a block is damaged, and when a pair of fields has too many pairs of buckets to count.
  """
  train = blocks.open_split(data, schema, 'train')
  edges_AxX = [buckets.edges(train.blocks[0]['value'][:, a]) for a in range(schema.numeric_count)]
  labels = halves << len(schema.tasks)
  sizes = [f.vocab_size if f.kind == 'categorical' else buckets.NUMBERS + 1 for f in schema.fields]
  found = [np.zeros(size * labels, np.int64) for size in sizes]
  for value_FxB, label_BxT, first in _chunks(schema, train, edges_AxX):
    label_B = counts.joint_label(label_BxT, first, halves)
    for total, value_B in zip(found, value_FxB, strict=True):
      total += np.bincount(value_B.astype(np.int64) * labels + label_B, minlength=len(total))

  found = [total.reshape(-1, labels) for total in found]
  bucket_of = [buckets.of_counts(count_WxY.sum(1), most) for count_WxY in found]
  sizes = [int(bucket_W.max()) + 1 for bucket_W in bucket_of]
  cells = math.prod(sorted(sizes)[-2:]) * labels
  if cells > LARGEST:
    raise ValueError(
      f'--buckets={most}: the two largest fields have a table of {cells:,} cells together, at most '
      f'{LARGEST:,} are counted; give fewer buckets'
    )
  return Counted(
    schema=schema,
    train=train,
    edges_AxX=edges_AxX,
    halves=halves,
    counts=found,
    bucket_of=bucket_of,
    sizes=sizes,
    count=counts.on_host if jax.default_backend() == 'cpu' else counts.on_devices(jax.devices()),
  )


def _chunks(
  schema: schema_lib.FeatureSchema, split: blocks.OpenSplit, edges_AxX: list[np.ndarray]
) -> Iterator[tuple[list[np.ndarray], np.ndarray, int]]:
  """Yields (value_FxB: of each field its row, counted from 0, or its bucket of numbers from 1 on,
  0 where missing; label_BxT; place of the first row).
  """
  categorical = len(schema.fields) - schema.numeric_count
  first = 0
  for records in split.blocks:
    for start in range(0, len(records), CHUNK):
      piece = records[start : start + CHUNK]
      value_FxB = [piece['ids'][:, f] - schema.offsets[f] for f in range(categorical)]
      for a, edges in enumerate(edges_AxX):
        is_missing_B = piece['ids'][:, categorical + a] > schema.offsets[categorical + a]
        bucket_B = 1 + np.searchsorted(edges, piece['value'][:, a], side='right')
        value_FxB.append(np.where(is_missing_B, 0, bucket_B))
      yield value_FxB, piece['label'], first
      first += len(piece)


def _coded(counted: Counted, value_FxB: list[np.ndarray]) -> list[np.ndarray]:
  """code_FxB: the buckets of values."""
  return [bucket_W[value_B] for bucket_W, value_B in zip(counted.bucket_of, value_FxB, strict=True)]


def rows(counted: Counted) -> Iterator[counts.Rows]:
  """A pass over the training rows, labels as one number."""
  for value_FxB, label_BxT, first in _chunks(counted.schema, counted.train, counted.edges_AxX):
    label_B = counts.joint_label(label_BxT, first, counted.halves)
    yield counts.Rows(_coded(counted, value_FxB), label_B)


def labelled(counted: Counted, split: blocks.OpenSplit) -> Iterator[heldout.Rows]:
  """A pass over the rows of a split, labels task by task."""
  for value_FxB, label_BxT, _ in _chunks(counted.schema, split, counted.edges_AxX):
    yield heldout.Rows(_coded(counted, value_FxB), label_BxT)


def pairs(counted: Counted) -> afe.Pairs:
  """What counts a field together with others."""
  labels = counted.halves << len(counted.schema.tasks)
  source = functools.partial(rows, counted)
  return lambda given, candidates: counts.pairs(
    source, given, candidates, counted.sizes, labels, counted.count
  )


def cells(counted: Counted, given: int, fields: Sequence[int]) -> list[values.Cells]:
  """The values of each of these fields by the buckets of `given`, in one pass over the rows.

  Memory follows the pairs of values that occur.
  """
  tasks = len(counted.schema.tasks)
  strata = counted.sizes[given]
  found: list[list[values.Cells]] = [[] for _ in fields]
  for value_FxB, label_BxT, _ in _chunks(counted.schema, counted.train, counted.edges_AxX):
    stratum_B = counted.bucket_of[given][value_FxB[given]].astype(np.int64)
    for own, field in zip(found, fields, strict=True):
      cell_B = value_FxB[field].astype(np.int64) * strata + stratum_B
      own.append(_gathered(cell_B, np.ones(len(cell_B)), label_BxT, strata))
  return [_merged(own, strata, tasks) for own in found]


def _merged(parts: list[values.Cells], strata: int, tasks: int) -> values.Cells:
  cell_J = np.concatenate([part.value_J * strata + part.stratum_J for part in parts])
  rows_J = np.concatenate([part.rows_J for part in parts])
  positive_JxT = np.concatenate([part.positive_JxT for part in parts]).reshape(-1, tasks)
  return _gathered(cell_J, rows_J, positive_JxT, strata)


def _gathered(
  cell_J: np.ndarray, rows_J: np.ndarray, positive_JxT: np.ndarray, strata: int
) -> values.Cells:
  """Sums of those that have one cell in common."""
  distinct, place_J = np.unique(cell_J, return_inverse=True)
  summed = [np.bincount(place_J, column_J) for column_J in (rows_J, *positive_JxT.T)]
  return values.Cells(distinct // strata, distinct % strata, summed[0], np.stack(summed[1:], 1))


def tables(counted: Counted) -> list[np.ndarray]:
  """table_WxY of the buckets of each field."""
  return [buckets.merged(*own) for own in zip(counted.counts, counted.bucket_of, strict=True)]


def sample(counted: Counted) -> tuple[list[np.ndarray], np.ndarray]:
  """About SAMPLE training rows, evenly spaced: (code_FxE, label_ExT)."""
  every = max(counted.train.rows // SAMPLE, 1)
  parts = [
    ([code_B[::every] for code_B in chunk.code_FxB], chunk.label_BxT[::every])
    for chunk in labelled(counted, counted.train)
  ]
  codes = zip(*(code_FxB for code_FxB, _ in parts), strict=True)
  return [np.concatenate(own) for own in codes], np.concatenate([label for _, label in parts])


def normalised(counted: Counted) -> np.ndarray:
  """I / min(H, H) of all pairs of fields, a pass over the rows for each."""
  nmi_FxF = np.eye(len(counted.sizes))
  for given in range(len(counted.sizes) - 1):
    others = range(given + 1, len(counted.sizes))
    for field, table_JxWxY in zip(others, pairs(counted)(given, others), strict=True):
      shared = information.normalised(table_JxWxY.sum(2))
      nmi_FxF[given, field] = shared
      nmi_FxF[field, given] = shared
  return nmi_FxF
