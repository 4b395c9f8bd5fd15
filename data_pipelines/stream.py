"""The Grain feed: blocks on disk, a whole batch an element, an exact position to restore."""

from collections.abc import Iterator
import contextlib
import dataclasses
import time

import grain
import numpy as np

from data_pipelines import blocks
from data_pipelines import order

ENDLESS = 2**31 - 1  # steps of a stream without an end


@dataclasses.dataclass(frozen=True)
class TrainBatches:
  """Grain random-access source: element i is this host's part of the batch of global step i."""

  split: blocks.OpenSplit
  batch_size: int  # examples of a step over all hosts
  seed: int
  shuffle: bool
  steps: int
  part: tuple[int, int]  # of each padded batch: from, and up to but without, these examples
  length: int  # of a batch with its padding

  def __len__(self) -> int:
    return self.steps

  def __getitem__(self, step: int) -> blocks.Batch:
    rows_B, weight_B = order.batch_rows(
      step, self.batch_size, self.split.rows, self.seed, self.shuffle, length=self.length
    )
    mine = slice(*self.part)
    return blocks.take(self.split, rows_B[mine]) | {'weight_B': weight_B[mine]}


def train_stream(
  split: blocks.OpenSplit,
  *,
  batch_size: int,
  seed: int,
  shuffle: bool,
  steps: int = ENDLESS,
  threads: int = 2,
  read_ahead: int = 8,
  part: tuple[int, int] | None = None,
  length: int | None = None,
) -> grain.DatasetIterator:
  """Grain iterator over the batches of steps 0 to `steps` - 1.

  get_state and set_state save and restore its position. `threads` read up to `read_ahead` batches
  in advance; `length` is that of a padded batch (None: batch_size), `part` is which examples of it
  to read (None: all). Call close() when done. Raises ValueError when batch_size is not in [1, rows]
  or the part not in the batch.
  """
  order.steps_per_epoch(split.rows, batch_size)
  length = length or batch_size
  first, end = part or (0, length)
  if not 0 <= first < end <= length:
    raise ValueError(f'part={first},{end}: not a part of a batch of {length} examples')
  source = TrainBatches(split, batch_size, seed, shuffle, steps, (first, end), length)
  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=read_ahead)
  return iter(grain.MapDataset.source(source).to_iter_dataset(options))


def eval_steps(rows: int, batch_size: int) -> int:
  """Batches of one evaluation, the padded last one included."""
  return -(-rows // batch_size)


def eval_batches(split: blocks.OpenSplit, batch_size: int) -> Iterator[blocks.Batch]:
  """All rows in file order.

  weight_B is float32: 1, and 0 for padding (copies of row 0) in the last batch.
  """
  for step in range(eval_steps(split.rows, batch_size)):
    position_B = step * batch_size + np.arange(batch_size)
    real_B = position_B < split.rows
    batch = blocks.take(split, np.where(real_B, position_B, 0))
    yield batch | {'weight_B': real_B.astype(np.float32)}


def measure_feed(
  split: blocks.OpenSplit, *, batch_size: int, seconds: float, threads: int = 2
) -> float:
  """Rows per second through the shuffled Grain feed, after a short warm-up."""
  stream = train_stream(split, batch_size=batch_size, seed=0, shuffle=True, threads=threads)
  with contextlib.closing(stream):
    for _ in range(20):
      next(stream)

    steps = 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
      next(stream)
      steps += 1
    return steps * batch_size / (time.perf_counter() - start)
