"""Runs the trials of one shape (they differ in seed and learning rate) as one program on all
devices.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines import blocks
from data_pipelines import order
from data_pipelines import resident
from rec_sparse import config as config_lib
from rec_sparse import objective
from rec_sparse import optimizer
from rec_sparse import record
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse.runs import evaluation
from rec_sparse.runs import feeds

AXIS = 'trial'  # of the mesh


class Finished(NamedTuple):
  """A trial that has run to its end, well or not."""

  record: dict[str, Any]  # the trial record
  # float32, in the order of the test split, of the state of the best validation
  test_logits_NxT: np.ndarray


class Resident(NamedTuple):
  """The data that trials side by side share, opened once and resident on each device."""

  schema: schema_lib.FeatureSchema
  devices: Sequence[jax.Device]  # trials of one shape are dealt out among them
  splits: dict[str, resident.Data]
  labels: dict[str, objective.Labels]


def open_data(
  data: pathlib.Path, schema: schema_lib.FeatureSchema, devices: Sequence[jax.Device] | None = None
) -> Resident:
  """Opens the three splits, on all devices of this process if none are named; raises ValueError
  when one is damaged.
  """
  devices = devices or jax.local_devices()
  everywhere = jax.NamedSharding(_mesh(devices, len(devices)), jax.P())
  splits = {name: blocks.open_split(data, schema, name) for name in schema_lib.SPLITS}
  return Resident(
    schema,
    devices,
    {name: resident.to_device(split, everywhere) for name, split in splits.items()},
    {name: evaluation.labels(split) for name, split in splits.items()},
  )


@dataclasses.dataclass
class Standing:
  """How far the trials of a group are; arrays and lists have an entry per trial."""

  found: list[dict[str, Any] | None]  # what the best validation found; None before the first
  waited: np.ndarray  # validations since then
  running: np.ndarray  # False once a trial has ended, by patience or so
  error: list[str]  # why a trial diverged; '' where it did not
  ran: np.ndarray  # steps until a trial ended
  step: int = 0  # steps of the group
  seconds: float = 0.0  # of the group, over all sittings


class Begun(NamedTuple):
  """A group between two dispatches, on the host: all that going on needs."""

  standing: Standing
  states: train.TrainState  # trials stacked
  best: train.TrainState | None  # in the states of their best validations; None before the first


class Interrupted(Exception):
  """A group was told to stop; `begun` is where it stands."""

  def __init__(self, begun: Begun):
    super().__init__('a signal came')
    self.begun = begun


def never() -> bool:
  """The answer of a caller that does not stop a group."""
  return False


def run_group(
  opened: Resident,
  configs: list[config_lib.Config],
  progress: Callable[[int], None],
  stop_wanted: Callable[[], bool] = never,
  begun: Begun | None = None,
) -> list[Finished]:
  """Trains, validates and, once, tests every trial; `progress` is told of finished trial steps.

  A trial keeps the state of its best validation, and is tested in that state. One whose loss or
  logits are not finite is 'diverged'. One that has ended, by patience or so, runs on with the
  others, but nothing of that is recorded. Asked after every dispatch, `stop_wanted` ends the group
  with Interrupted; `begun` goes on from there, bit for bit.
  Raises ValueError when the configs do not fit the data.
  """
  clock, config, wanted = time.perf_counter(), configs[0], len(configs)
  run, mesh = train.program(config, opened.schema), _mesh(opened.devices, wanted)
  # copies nothing
  opened = opened._replace(splits=jax.device_put(opened.splits, jax.NamedSharding(mesh, jax.P())))
  fillers = -wanted % mesh.size  # the last trial again where a device would have one less
  per_epoch = order.steps_per_epoch(opened.schema.splits['train'].rows, config.batch_size)
  last, eval_every = config.epochs * per_epoch, config.eval_every or per_epoch
  advance, evaluate = _advance(run, opened, mesh), _evaluate(run, opened, mesh)
  now, states, best = (
    _begin(run, opened, configs, mesh, fillers) if begun is None else _go_on(begun, mesh, fillers)
  )
  clock -= now.seconds
  progress(now.step * wanted)
  while now.step < last and (now.running.any() or best is None):
    due = min(last, (now.step // eval_every + 1) * eval_every)
    while now.step < due:
      count = min(feeds.DISPATCH, due - now.step)
      states, sums = advance(states, count)
      now.step += count
      now.ran = np.where(now.running, now.step, now.ran)
      _diverge(now, ~np.isfinite(np.asarray(sums.loss)), 'the training loss became NaN or infinite')
      progress(count * wanted)
      if stop_wanted() and now.step < due:  # at an evaluation, after it
        raise Interrupted(_leave(now, states, best, wanted, clock))
    results, _ = evaluate(states, 'valid')
    lost = np.array([new is None for new in results])
    _diverge(now, lost, 'logits of the validation split are NaN or infinite')
    rank = run.objective.rank
    won = np.array([_better(rank, new, old) for new, old in zip(results, now.found, strict=True)])
    better = now.running & won
    best = states if best is None or better.all() else _select(better, states, best)
    now.found = [
      new if take else old for take, new, old in zip(better, results, now.found, strict=True)
    ]
    now.waited = np.where(better, 0, now.waited + 1)
    now.running &= now.waited < (config.patience or np.inf)
    rate_scale = optimizer.after_validation(
      config_lib.in_trial(config, states.trial), states.rate_scale, better
    )
    states = states._replace(rate_scale=rate_scale)
    states = jax.tree.map(jnp.copy, states) if now.step < last else states  # `best` is not donated
    if stop_wanted():
      raise Interrupted(_leave(now, states, best, wanted, clock))
  tested, logits = evaluate(best, 'test')
  seconds = (time.perf_counter() - clock) / wanted
  return [
    Finished(_record(config, opened.schema, now, i, tested[i], seconds), logits[i])
    for i, config in enumerate(configs)
  ]


def _begin(
  run: train.Program,
  opened: Resident,
  configs: list[config_lib.Config],
  mesh: jax.sharding.Mesh,
  fillers: int,
) -> tuple[Standing, train.TrainState, None]:
  """(standing, states, best) at step 0."""
  configs = configs + configs[-1:] * fillers
  placed = jax.NamedSharding(mesh, jax.P(AXIS))
  states = train.init_trials(run, opened.schema, configs, placed)
  size = len(configs)
  standing = Standing(
    found=[None] * size,
    waited=np.zeros(size, int),
    running=np.ones(size, bool),
    error=[''] * size,
    ran=np.zeros(size, int),
  )
  return standing, states, None


def _go_on(
  begun: Begun, mesh: jax.sharding.Mesh, fillers: int
) -> tuple[Standing, train.TrainState, train.TrainState | None]:
  """(standing, states, best) of a group that was left, on the devices at hand."""

  def filled(leaf: np.ndarray) -> np.ndarray:
    return np.concatenate([leaf, np.repeat(leaf[-1:], fillers, 0)])

  then = begun.standing
  standing = dataclasses.replace(
    then,
    found=then.found + then.found[-1:] * fillers,
    waited=filled(then.waited),
    running=filled(then.running),
    error=then.error + then.error[-1:] * fillers,
    ran=filled(then.ran),
  )
  place = jax.NamedSharding(mesh, jax.P(AXIS))
  states, best = (
    stack and jax.device_put(jax.tree.map(filled, stack), place)
    for stack in (begun.states, begun.best)
  )
  return standing, states, best


def _leave(
  now: Standing, states: train.TrainState, best: train.TrainState | None, wanted: int, clock: float
) -> Begun:
  """The inverse of `_go_on`."""
  standing = dataclasses.replace(
    now,
    found=now.found[:wanted],
    waited=now.waited[:wanted],
    running=now.running[:wanted],
    error=now.error[:wanted],
    ran=now.ran[:wanted],
    seconds=time.perf_counter() - clock,
  )
  states, best = (
    stack and jax.tree.map(lambda leaf: np.asarray(leaf)[:wanted], stack)
    for stack in (states, best)
  )
  return Begun(standing, states, best)


def _diverge(now: Standing, lost: np.ndarray, why: str) -> None:
  """Ends the running trials that are lost."""
  lost = lost & now.running
  now.error = [
    f'{why} by step {now.step}' if own else error
    for own, error in zip(lost, now.error, strict=True)
  ]
  now.running &= ~lost


# (states, steps)
Advance = Callable[[train.TrainState, int], tuple[train.TrainState, train.StepSums]]


def _advance(run: train.Program, opened: Resident, mesh: jax.sharding.Mesh) -> Advance:
  mapped = jax.jit(
    on_each_device(mesh, functools.partial(feeds.advance_resident, run)), donate_argnums=0
  )
  return lambda states, steps: mapped(states, opened.splits['train'], np.int32(steps))


# metrics, logits_SxNxT
Evaluate = Callable[[train.TrainState, str], tuple[list[dict[str, Any] | None], np.ndarray]]


def _evaluate(run: train.Program, opened: Resident, mesh: jax.sharding.Mesh) -> Evaluate:
  mapped = jax.jit(on_each_device(mesh, functools.partial(feeds.evaluate_resident, run)))

  def call(states, split):
    sums, logits = jax.device_get(mapped(train.without_optimizer(states), opened.splits[split]))
    found = [
      run.objective.compute(
        jax.tree.map(lambda leaf: leaf[i], sums), logits[i], opened.labels[split]
      )
      for i in range(len(logits))
    ]
    return found, logits

  return call


def _mesh(devices: Sequence[jax.Device], trials: int) -> jax.sharding.Mesh:
  """As few of the devices as leave none of them with more of the trials."""
  most = -(-trials // len(devices))  # trials of a device
  used = -(-trials // most)
  return jax.make_mesh(
    (used,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,), devices=devices[:used]
  )


def on_each_device(mesh: jax.sharding.Mesh, fn: Callable) -> Callable:
  """(states, *shared) -> fn(state, *shared) of every trial, each device its own ones; they exchange
  nothing.
  """

  def mapped(states: train.TrainState, *shared: Any) -> Any:
    local = lambda states, shared: over_trials(lambda state: fn(state, *shared), states)
    return jax.shard_map(
      local, mesh=mesh, in_specs=(jax.P(AXIS), jax.P()), out_specs=jax.P(AXIS), check_vma=False
    )(states, shared)

  return mapped


def over_trials(fn: Callable, states: train.TrainState) -> Any:
  """Maps over stacked trials: side by side where the device has room, in turn on a CPU, which is no
  slower there.
  """
  return jax.lax.map(fn, states) if jax.default_backend() == 'cpu' else jax.vmap(fn)(states)


def _better(rank: Callable[[dict], float], new: dict | None, old: dict | None) -> bool:
  return new is not None and (old is None or rank(new) > rank(old))


def _select(take: np.ndarray, new: train.TrainState, old: train.TrainState) -> train.TrainState:
  def pick(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(take.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

  return jax.tree.map(pick, new, old)


def _record(
  config: config_lib.Config,
  schema: schema_lib.FeatureSchema,
  now: Standing,
  trial: int,
  test: dict[str, Any] | None,
  seconds: float,
) -> dict[str, Any]:
  error = now.error[trial] or ('' if test else 'logits of the test split are NaN or infinite')
  examples = order.examples_of(int(now.ran[trial]), config.batch_size, schema.splits['train'].rows)
  if error:
    return record.make(
      config, schema, status='diverged', train_examples=examples, wall_seconds=seconds, error=error
    )
  measured = record.measured('valid', now.found[trial]) | record.measured('test', test)
  return record.make(
    config, schema, status='finished', train_examples=examples, wall_seconds=seconds, **measured
  )
