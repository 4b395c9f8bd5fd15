"""Rows a second of the block feed: shuffled batches of blocks on disk, through Grain."""

from collections.abc import Iterator
import pathlib
import statistics
import tempfile
import time
from typing import NamedTuple

import numpy as np

from data_pipelines import blocks
from launch.benches import rows
from launch.benches.figure import Figure
from rec_sparse import schema as schema_lib

FIELDS = 26
TABLE = 2_600_000  # rows that the ids point to


class Sizes(NamedTuple):
  rows: int  # on disk
  batch: int  # examples of one batch
  seconds: float  # of one measurement
  rounds: int


FULL = Sizes(3_000_000, 8192, 3.0, 3)
TINY = Sizes(3000, 64, 0.1, 2)


def measure(sizes: Sizes) -> Iterator[Figure]:
  """All figures of --what=feed."""
  from data_pipelines import stream  # here: Grain is not everywhere

  with tempfile.TemporaryDirectory() as directory:
    split = write_rows(pathlib.Path(directory), sizes.rows)
    fed = []
    copied = []
    for _ in range(sizes.rounds):
      fed.append(stream.measure_feed(split, batch_size=sizes.batch, seconds=sizes.seconds))
      copied.append(_copied(split, sizes))

  rows_fed = f'{FIELDS} ids and a label, batch {sizes.batch}'
  yield Figure('feed_rows_per_s', statistics.median(fed), 'rows/s', rows_fed)
  rows_copied = 'plain copies in file order, one thread'
  yield Figure('feed_copy_rows_per_s', statistics.median(copied), 'rows/s', rows_copied)


def write_rows(directory: pathlib.Path, count: int) -> blocks.OpenSplit:
  """`count` random rows as blocks on disk, opened."""
  schema = rows.schema(FIELDS, TABLE)
  offset_F = np.array(schema.offsets, np.int32)
  dtype = blocks.record_dtype(FIELDS, tasks=1, numeric=0, grouped=False)
  writer = blocks.BlockWriter(directory, 'train', dtype)
  rng = np.random.default_rng(0)
  for start in range(0, count, 1 << 18):
    size = min(1 << 18, count - start)
    ids_BxF = rng.integers(0, TABLE // FIELDS, (size, FIELDS), np.int32) + offset_F[None]
    writer.append(ids_BxF, rng.integers(0, 2, (size, 1), np.uint8))
  splits = {'train': writer.finish()}
  written = schema_lib.FeatureSchema(schema.fields, schema.tasks, None, splits, 'bench', {})
  return blocks.open_split(directory, written, 'train')


def _copied(split: blocks.OpenSplit, sizes: Sizes) -> float:
  """Rows a second of plain copies of a batch's records, one thread: what memory allows."""
  done = 0
  began = time.perf_counter()
  while time.perf_counter() - began < sizes.seconds / 3:
    for records in split.blocks:
      for start in range(0, len(records), sizes.batch):
        done += len(records[start : start + sizes.batch].copy())
  return done / (time.perf_counter() - began)
