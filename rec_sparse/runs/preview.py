"""What a study asks of this machine, before it runs: the size, memory and time of every shape.

Memory is the compiler's account of the program that a sweep runs. Time is measured on the training
data themselves, by a few steps and a validation; patience can only make it less.
"""

from collections.abc import Iterator, Sequence
import time
from typing import NamedTuple

import jax
import numpy as np

from rec_sparse import config as config_lib
from rec_sparse import train
from rec_sparse.runs import memory as memory_lib
from rec_sparse.runs import sweep
from rec_sparse.runs import trials
from rec_sparse.scaling import grid

STEPS = 20  # are measured at most,
SECONDS = 2.0  # and no more of them than take so long


class Shape(NamedTuple):
  """Trials that run as one program."""

  config: config_lib.Config  # of one of them
  trials: int
  dense_params: int  # that are not structurally zero
  embedding_params: int
  flops_per_example: int
  memory_bytes: int  # of a device, with the states of the best validations
  fits: bool
  step_seconds: float | None  # of all trials; None: not measured, it does not fit
  # of all trials to the last epoch, with compiling, validations and the test; None as above
  seconds: float | None


def of_study(
  datasets: Sequence[sweep.Data], configs: Sequence[config_lib.Config]
) -> Iterator[Shape]:
  """Of the trials to come on these data sets, one shape after another.

  Raises ValueError when a config does not fit its data.
  """
  for data in datasets:
    own = [config for config in configs if config.data_fingerprint == data.schema.fingerprint]
    if not own:
      continue
    sweep.check(data.directory, data.schema, own)
    opened = trials.open_data(data.directory, data.schema)
    memory = memory_lib.of_device(opened.devices)
    for group in grid.groups(own):
      yield _shape(opened, group, memory)


def total(found: Sequence[Shape]) -> str:
  """One line for people."""
  count = sum(shape.trials for shape in found)
  seconds = sum(shape.seconds or 0 for shape in found)
  most = max((shape.memory_bytes for shape in found), default=0)
  left_out = sum(not shape.fits for shape in found)
  return (
    f'{count} trials in {len(found)} shapes, at most {in_words(seconds)} on this machine; '
    f'the largest needs {most / 1e9:.2f} GB'
    + (f'; {left_out} do not fit, and are not in this time' if left_out else '')
  )


def line(shape: Shape) -> str:
  """One shape, for people."""
  said = config_lib.in_short(shape.config)
  if shape.config.views > 1:
    said += f', {shape.config.views} views'
  said += (
    f': {shape.trials} trials, {shape.dense_params:,} dense parameters, '
    f'{shape.flops_per_example:,} FLOPs an example, {shape.memory_bytes / 1e9:.2f} GB'
  )
  if shape.seconds is None:
    return f'{said}: does not fit; half as many trials at a time may'
  return f'{said}, {shape.step_seconds * 1e3:.1f} ms a step, at most {in_words(shape.seconds)}'


def in_words(seconds: float) -> str:
  """'42 s', '3 min 05 s' or '2 h 10 min'."""
  whole = round(seconds)
  if whole < 60:
    return f'{whole} s'
  if whole < 3600:
    return f'{whole // 60} min {whole % 60:02d} s'
  return f'{whole // 3600} h {whole % 3600 // 60:02d} min'


def _shape(opened: trials.Resident, configs: list[config_lib.Config], memory: int) -> Shape:
  group = trials.open_group(opened, configs)
  counts = train.counts(configs[0], opened.schema)
  states = trials.begin(opened, group).states
  state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(states)) // group.mesh.size

  began = time.perf_counter()
  data = opened.splits['train']
  compiled = trials.training(group.run, group.mesh).lower(states, data, np.int32(1)).compile()
  compiling = time.perf_counter() - began
  needed = memory_lib.needed(compiled) + state_bytes

  step = None
  seconds = None
  if needed <= memory:
    states, step = _step_seconds(compiled, states, data)
    seconds = compiling + group.timetable.last * step + _evaluations(opened, group, states)
  return Shape(
    config=configs[0],
    trials=len(configs),
    dense_params=counts['dense_params_nonzero'],
    embedding_params=counts['embedding_params'],
    flops_per_example=counts['flops_per_example'],
    memory_bytes=needed,
    fits=needed <= memory,
    step_seconds=step,
    seconds=seconds,
  )


def _step_seconds(
  compiled: jax.stages.Compiled, states: train.TrainState, data: object
) -> tuple[train.TrainState, float]:
  """The states some steps on, and the seconds of one step of all trials."""

  def run(states: train.TrainState, steps: int) -> tuple[train.TrainState, float]:
    began = time.perf_counter()
    states, sums = compiled(states, data, np.int32(steps))
    jax.block_until_ready(sums)
    return states, time.perf_counter() - began

  states, _ = run(states, 1)  # touches its memory for the first time
  states, one = run(states, 1)
  steps = max(1, min(STEPS, int(SECONDS / max(one, 1e-9))))
  states, seconds = run(states, steps)
  return states, seconds / steps


def _evaluations(opened: trials.Resident, group: trials.Group, states: train.TrainState) -> float:
  """Seconds of all validations and the test, with compiling."""
  began = time.perf_counter()
  group.evaluate(states, 'valid')
  first = time.perf_counter() - began
  began = time.perf_counter()
  group.evaluate(states, 'valid')
  again = time.perf_counter() - began

  rows = {name: split.rows for name, split in opened.schema.splits.items()}
  validations = -(-group.timetable.last // group.timetable.eval_every)
  of_test = rows['test'] / rows['valid']
  compiling = 2 * max(first - again, 0)  # the test has a program of its own
  return compiling + again * (validations + of_test)
