"""Joins the feeds of data_pipelines with the steps of rec_sparse: functions that advance or
evaluate a state.

Both feeds give the same batches in the same order. `advance` runs a traced number of steps in one
compiled loop, so the program is the same wherever a run is cut, and a resumed run repeats the
uninterrupted one bit for bit.
"""

from collections.abc import Callable
import functools
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines import blocks
from data_pipelines import order
from data_pipelines import resident
from data_pipelines import stream
from rec_sparse import train

# steps of one dispatch at most: the progress bar moves and signals are heeded between dispatches
DISPATCH = 64
STACK = 8  # batches that the stream hands over at once; while they are computed it reads the next
EVAL_BATCH = 4096  # examples of one evaluation step


class TrainFeed(NamedTuple):
  """A feed joined with the training step."""

  # (state, steps)
  advance: Callable[[train.TrainState, int], tuple[train.TrainState, train.StepSums]]
  position: Callable[[], dict]  # the place in the data, JSON
  seek: Callable[[dict | None], None]  # goes to a saved position; None: stays
  close: Callable[[], None]


# state -> (sums of the objective, logits_ExT in file order)
Evaluate = Callable[[train.TrainState], tuple[Any, np.ndarray]]


def open_feed(run: train.Program, split: blocks.OpenSplit) -> TrainFeed:
  """The feed that the config names."""
  if run.config.feed == 'resident':
    return resident_feed(run, on_devices(run, split))
  return stream_feed(run, split)


def open_evaluate(run: train.Program, split: blocks.OpenSplit) -> Evaluate:
  """Evaluation through the feed that the config names."""
  if run.config.feed == 'resident':
    return resident_evaluate(run, on_devices(run, split))
  return stream_evaluate(run, split)


def on_devices(run: train.Program, split: blocks.OpenSplit) -> resident.Data:
  """The whole split in the memory of each device of the mesh."""
  return resident.to_device(split, jax.NamedSharding(run.mesh, jax.P()))


def resident_feed(run: train.Program, data: resident.Data) -> TrainFeed:
  """The split lies in device memory; the place in the data is the state's own step."""
  advance = jax.jit(functools.partial(advance_resident, run), donate_argnums=0)
  return TrainFeed(
    lambda state, steps: advance(state, data, np.int32(steps)),
    lambda: {'feed': 'resident'},
    lambda position: None,
    lambda: None,
  )


def advance_resident(
  run: train.Program, state: train.TrainState, data: resident.Data, steps: jax.Array
) -> tuple[train.TrainState, train.StepSums]:
  """`steps` training steps on batches gathered inside the loop."""
  cfg = run.config
  length = padded(run, cfg.batch_size)

  def body(_, carry):
    state, sums = carry
    batch = resident.batch_at(
      data,
      state.step,
      batch_size=cfg.batch_size,
      seed=state.trial['seed'],
      shuffle=cfg.shuffle,
      length=length,
    )
    return train.train_step(run, state, sums, batch)

  return jax.lax.fori_loop(0, steps, body, (state, train.zero_sums(run.terms)))


def stream_feed(run: train.Program, split: blocks.OpenSplit) -> TrainFeed:
  """Blocks from disk through Grain, in stacks of STACK batches;
  of the last, what is asked for is run.

  One program computes all stacks, so bits do not depend on where a run is cut. Nothing waits for a
  result here. Of several processes, each reads the examples of its own devices; those whose devices
  share a batch over `model` read the same ones.
  """
  cfg = run.config
  length = padded(run, cfg.batch_size)
  steps = cfg.epochs * order.steps_per_epoch(split.rows, cfg.batch_size)
  placed = jax.NamedSharding(run.mesh, jax.P(None, 'data'))
  mine = [
    index[1].indices(length)
    for index in placed.addressable_devices_indices_map((STACK, length)).values()
  ]
  first, end = min(start for start, _, _ in mine), max(stop for _, stop, _ in mine)
  batches = stream.train_stream(
    split,
    batch_size=cfg.batch_size,
    seed=cfg.seed,
    shuffle=cfg.shuffle,
    steps=steps,
    part=(first, end),
    length=length,
  )

  def loop(state, sums, stacked, steps):
    def body(i, carry):
      batch = jax.tree.map(operator.itemgetter(i), stacked)
      return train.train_step(run, *carry, batch)

    return jax.lax.fori_loop(0, steps, body, (state, sums))

  compiled = jax.jit(loop, donate_argnums=(0, 1))

  def whole(part: np.ndarray) -> jax.Array:
    """The batches on all devices, of which this process has read a part (axis 1)."""

    def of_device(index: tuple[slice, ...]) -> np.ndarray:
      start, stop, _ = index[1].indices(length)
      return part[:, start - first : stop - first]

    return jax.make_array_from_callback((STACK, length, *part.shape[2:]), placed, of_device)

  def advance(state, steps):
    zeros = train.zero_sums(run.terms)
    sums = jax.device_put(zeros, jax.NamedSharding(run.mesh, jax.P()))
    for start in range(0, steps, STACK):
      count = min(STACK, steps - start)
      taken = [next(batches) for _ in range(count)]
      taken += taken[:1] * (STACK - count)
      stacked = jax.tree.map(lambda *leaves: whole(np.stack(leaves)), *taken)
      state, sums = compiled(state, sums, stacked, np.int32(count))
    return state, sums

  return TrainFeed(
    advance,
    lambda: {'feed': 'stream', 'grain': batches.get_state()},
    lambda position: position and batches.set_state(position['grain']),
    batches.close,
  )


def resident_evaluate(run: train.Program, data: resident.Data) -> Evaluate:
  """Evaluates a state on a split in device memory, in one dispatch."""
  everywhere = jax.NamedSharding(run.mesh, jax.P())
  evaluate = jax.jit(functools.partial(evaluate_resident, run), out_shardings=everywhere)

  def call(state):
    sums, logits_ExT = evaluate(train.without_optimizer(state), data)
    return sums, np.asarray(logits_ExT)

  return call


def evaluate_resident(
  run: train.Program, state: train.TrainState, data: resident.Data
) -> tuple[Any, jax.Array]:
  """(sums of the objective, logits_ExT) over all rows of the split."""
  rows, tasks = data['label_BxT'].shape
  size = eval_batch_size(run, rows)

  def body(sums, index):
    return train.eval_step(run, state, sums, resident.eval_batch_at(data, index, size))

  sums, logits = jax.lax.scan(
    body, run.objective.zeros(), jnp.arange(stream.eval_steps(rows, size))
  )
  return sums, logits.reshape(-1, tasks)[:rows]


def stream_evaluate(run: train.Program, split: blocks.OpenSplit) -> Evaluate:
  """Evaluates a state on blocks from disk, a batch a dispatch."""
  size = eval_batch_size(run, split.rows)
  everywhere = jax.NamedSharding(run.mesh, jax.P())
  step = jax.jit(
    functools.partial(train.eval_step, run), donate_argnums=1, out_shardings=everywhere
  )
  zeros = jax.jit(run.objective.zeros, out_shardings=everywhere)

  def call(state):
    state = train.without_optimizer(state)
    sums, logits = zeros(), []
    for batch in stream.eval_batches(split, size):
      sums, logits_BxT = step(state, sums, batch)  # every process has the whole batch
      logits.append(logits_BxT)
    return sums, np.concatenate([np.asarray(part) for part in logits])[: split.rows]

  return call


def eval_batch_size(run: train.Program, rows: int) -> int:
  """EVAL_BATCH, or less for a smaller split."""
  return padded(run, min(EVAL_BATCH, rows))


def padded(run: train.Program, examples: int) -> int:
  """The length of a batch that divides over the data axis of the mesh."""
  devices = run.mesh.shape['data']
  return -(-examples // devices) * devices
