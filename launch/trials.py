"""Runs the trials of one shape (they differ in seed and learning rate) as one program on all devices."""

from collections.abc import Callable
from collections.abc import Sequence
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
from launch import evaluation
from launch import feeds
from rec_sparse import config as config_lib
from rec_sparse import record
from rec_sparse import schema as schema_lib
from rec_sparse import train

AXIS = 'trial'  # of the mesh


class Finished(NamedTuple):
  """A trial that has run to its end, well or not."""

  record: dict[str, Any]  # the trial record
  test_logits_NxT: np.ndarray  # float32, in the order of the test split, of the state of the best validation


class Study(NamedTuple):
  """The data that every trial of a study shares, opened once and resident on each device."""

  schema: schema_lib.FeatureSchema
  devices: Sequence[jax.Device]  # trials of one shape are dealt out among them
  splits: dict[str, resident.Data]
  labels: dict[str, tuple[np.ndarray, np.ndarray | None]]  # (label_NxT, group_N) on the host


def open_study(data: pathlib.Path, schema: schema_lib.FeatureSchema,
               devices: Sequence[jax.Device] | None = None) -> Study:
  """Opens the three splits, on all devices of this process if none are named; raises ValueError when one is damaged."""
  devices = devices or jax.local_devices()
  everywhere = jax.NamedSharding(_mesh(devices, len(devices)), jax.P())
  opened = {name: blocks.open_split(data, schema, name) for name in schema_lib.SPLITS}
  return Study(schema, devices, {name: resident.to_device(split, everywhere) for name, split in opened.items()},
               {name: evaluation.labels(split) for name, split in opened.items()})


def run_group(study: Study, configs: list[config_lib.Config], progress: Callable[[int], None]) -> list[Finished]:
  """Trains, validates and, once, tests every trial; `progress` is told of finished trial steps.

  A trial keeps the state of its best validation, and is tested in that state. One whose loss is not finite is
  'diverged'. One that has ended, by patience or so, runs on with the others, but nothing of that is recorded. Raises
  ValueError when the configs do not fit the data.
  """
  began, config, wanted = time.perf_counter(), configs[0], len(configs)
  run, mesh = train.program(config, study.schema), _mesh(study.devices, wanted)
  study = study._replace(splits=jax.device_put(study.splits, jax.NamedSharding(mesh, jax.P())))  # copies nothing
  configs = configs + configs[-1:] * (-wanted % mesh.size)  # the last one again where a device would have a trial less
  per_epoch = order.steps_per_epoch(study.schema.splits['train'].rows, config.batch_size)
  last, eval_every = config.epochs * per_epoch, config.eval_every or per_epoch
  advance, evaluate = _advance(run, study, mesh), _evaluate(run, study, mesh)
  states = train.init_trials(run, study.schema, [c.seed for c in configs], [c.learning_rate for c in configs],
                             jax.NamedSharding(mesh, jax.P(AXIS)))
  best, found, waited = None, [None] * len(configs), np.zeros(len(configs), int)
  running, diverged = np.ones(len(configs), bool), np.zeros(len(configs), bool)
  ran, step = np.zeros(len(configs), int), 0  # steps that each trial ran, and all of them
  while step < last and running.any():
    stop = min(last, (step // eval_every + 1) * eval_every)
    for start in range(step, stop, feeds.DISPATCH):
      count = min(feeds.DISPATCH, stop - start)
      states, sums = advance(states, count)
      ran = np.where(running, start + count, ran)
      diverged |= running & ~np.isfinite(np.asarray(sums.loss))
      running &= ~diverged
      progress(count * wanted)
    step = stop
    results, _ = evaluate(states, 'valid')
    diverged |= running & np.array([new is None for new in results])
    running &= ~diverged
    better = running & np.array([_better(config, new, old) for new, old in zip(results, found, strict=True)])
    best = states if best is None or better.all() else _select(better, states, best)
    found = [new if take else old for take, new, old in zip(better, results, found, strict=True)]
    waited = np.where(better, 0, waited + 1)
    running &= waited < (config.patience or np.inf)
    states = jax.tree.map(jnp.copy, states) if step < last else states  # `best` must outlive the donated state
  tested, logits = evaluate(best, 'test')
  seconds = (time.perf_counter() - began) / wanted
  return [Finished(_record(c, study.schema, lost, v, t, steps, seconds), logits_NxT)
          for c, lost, v, t, steps, logits_NxT in zip(
              configs, diverged, found, tested, ran.tolist(), logits, strict=True)][:wanted]


Advance = Callable[[train.TrainState, int], tuple[train.TrainState, train.StepSums]]  # (states, steps)


def _advance(run: train.Program, study: Study, mesh: jax.sharding.Mesh) -> Advance:
  mapped = jax.jit(on_each_device(mesh, functools.partial(feeds.advance_resident, run)), donate_argnums=0)
  return lambda states, steps: mapped(states, study.splits['train'], np.int32(steps))


Evaluate = Callable[[train.TrainState, str], tuple[list[dict[str, Any] | None], np.ndarray]]  # metrics, logits_SxNxT


def _evaluate(run: train.Program, study: Study, mesh: jax.sharding.Mesh) -> Evaluate:
  mapped = jax.jit(on_each_device(mesh, functools.partial(feeds.evaluate_resident, run)))

  def call(states, split):
    sums, logits = jax.device_get(mapped(feeds.without_optimizer(states), study.splits[split]))
    found = [evaluation.summarize(study.schema.tasks, jax.tree.map(lambda leaf: leaf[i], sums), logits[i],
                                  *study.labels[split]) for i in range(len(logits))]
    return found, logits

  return call


def _mesh(devices: Sequence[jax.Device], trials: int) -> jax.sharding.Mesh:
  """As few of the devices as leave none of them with more of the trials."""
  most = -(-trials // len(devices))  # trials of a device
  used = -(-trials // most)
  return jax.make_mesh((used,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,), devices=devices[:used])


def on_each_device(mesh: jax.sharding.Mesh, fn: Callable) -> Callable:
  """(states, *shared) -> fn(state, *shared) of every trial, each device its own ones; they exchange nothing."""

  def mapped(states: train.TrainState, *shared: Any) -> Any:
    local = lambda states, shared: over_trials(lambda state: fn(state, *shared), states)
    return jax.shard_map(local, mesh=mesh, in_specs=(jax.P(AXIS), jax.P()), out_specs=jax.P(AXIS),
                         check_vma=False)(states, shared)

  return mapped


def over_trials(fn: Callable, states: train.TrainState) -> Any:
  """Maps over stacked trials: side by side where the device has room, in turn on a CPU, which is no slower there."""
  return jax.lax.map(fn, states) if jax.default_backend() == 'cpu' else jax.vmap(fn)(states)


def _better(config: config_lib.Config, new: dict[str, Any], old: dict[str, Any] | None) -> bool:
  return new is not None and (old is None or evaluation.rank(config, new) > evaluation.rank(config, old))


def _select(take: np.ndarray, new: train.TrainState, old: train.TrainState) -> train.TrainState:
  def pick(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(take.reshape(-1, *(1,) * (a.ndim - 1)), a, b)
  return jax.tree.map(pick, new, old)


def _record(config: config_lib.Config, schema: schema_lib.FeatureSchema, diverged: bool, valid: dict[str, Any] | None,
            test: dict[str, Any] | None, steps: int, seconds: float) -> dict[str, Any]:
  trained = order.examples_of(steps, config.batch_size, schema.splits['train'].rows)
  measured = {}
  if not diverged and valid and test:
    measured = {f'{split}_{name}': found[name] for split, found in (('valid', valid), ('test', test))
                for name in ('logloss', 'auc')}
  return record.make(config, schema, status='diverged' if diverged else 'finished',
                     train_examples=trained, wall_seconds=seconds, **measured)
