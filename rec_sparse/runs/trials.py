"""Runs the trials of one shape (they differ in seed and learning rate) as one program on all
devices.
"""

from collections.abc import Callable, Sequence
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
from rec_sparse.runs import standing as standing_lib
from rec_sparse.runs import timetable as timetable_lib
from rec_sparse.runs.standing import Standing

AXIS = 'trial'  # of the mesh


class Finished(NamedTuple):
  """A trial that has run to its end, well or not."""

  record: dict[str, Any]  # the trial record
  # float32, in the order of the test split, of the state of the best validation
  test_logits_ExT: np.ndarray


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


# (states, steps)
Advance = Callable[[train.TrainState, int], tuple[train.TrainState, train.StepSums]]
# (states, split) -> metrics of each trial, logits_SxExT
Evaluate = Callable[[train.TrainState, str], tuple[list[dict[str, Any] | None], np.ndarray]]


class Group(NamedTuple):
  """Trials of one shape, as one program on the devices that they are dealt out among."""

  configs: list[config_lib.Config]
  run: train.Program
  timetable: timetable_lib.Timetable
  mesh: jax.sharding.Mesh
  fillers: int  # the last trial again where a device would have one less
  advance: Advance
  evaluate: Evaluate


def open_group(opened: Resident, configs: list[config_lib.Config]) -> Group:
  """Compiles nothing yet; raises ValueError when the configs do not fit the data."""
  timetable = timetable_lib.of(configs[0], opened.schema.splits['train'].rows)
  run = train.program(configs[0], opened.schema)
  mesh = _mesh(opened.devices, len(configs))
  # copies nothing
  opened = opened._replace(splits=jax.device_put(opened.splits, jax.NamedSharding(mesh, jax.P())))
  return Group(
    configs,
    run,
    timetable,
    mesh,
    fillers=-len(configs) % mesh.size,
    advance=_advance(run, opened, mesh),
    evaluate=_evaluate(run, opened, mesh),
  )


class Begun(NamedTuple):
  """A group between two dispatches; on the host it is all that going on needs."""

  step: int  # steps of the group
  standings: tuple[Standing, ...]  # of each trial
  states: train.TrainState  # trials stacked
  best: train.TrainState | None  # in the states of their best validations; None before the first
  seconds: float  # of the group, over all sittings


class Interrupted(Exception):
  """A group was told to stop; `begun` is where it stands."""

  def __init__(self, begun: Begun):
    super().__init__('a signal came')
    self.begun = begun


def never() -> bool:
  """The answer of a caller that does not stop a group."""
  return False


# (standings of the trials after a validation, what each found; None: not finite)
Validated = Callable[[Sequence[Standing], Sequence[dict[str, Any] | None]], None]


def silent(standings: Sequence[Standing], results: Sequence[dict[str, Any] | None]) -> None:
  """Of a caller that does not want to hear of validations."""
  del standings, results


def run_group(
  opened: Resident,
  configs: list[config_lib.Config],
  progress: Callable[[int], None],
  stop_wanted: Callable[[], bool] = never,
  begun: Begun | None = None,
  validated: Validated = silent,
) -> list[Finished]:
  """Trains, validates and, once, tests every trial; `progress` is told of finished trial steps.

  A trial keeps the state of its best validation, and is tested in that state. One whose loss or
  logits are not finite is 'diverged'. One that has ended, by patience or so, runs on with the
  others, but nothing of that is recorded. Asked after every dispatch, `stop_wanted` ends the group
  with Interrupted; `begun` goes on from there, bit for bit.
  Raises ValueError when the configs do not fit the data.
  """
  clock = time.perf_counter()
  wanted = len(configs)
  group = open_group(opened, configs)
  timetable = group.timetable
  if begun is None:
    begun = begin(opened, group)
  else:
    begun = _go_on(begun, group)
  clock -= begun.seconds
  progress(begun.step * wanted)

  while _goes_on(begun, timetable):
    stop = timetable.next_stop(begun.step, feeds.DISPATCH)
    steps = stop - begun.step
    states, sums = group.advance(begun.states, steps)
    progress(steps * wanted)
    begun = _after_steps(begun, stop, states, np.asarray(sums.loss))
    if timetable.validates(stop):
      results, _ = group.evaluate(begun.states, 'valid')
      begun = _after_validation(group.run, begun, results, is_last=stop == timetable.last)
      validated(begun.standings[:wanted], results[:wanted])
    if stop_wanted():
      begun = begun._replace(seconds=time.perf_counter() - clock)
      raise Interrupted(_leave(begun, wanted))

  tested, logits = group.evaluate(begun.best, 'test')
  seconds = (time.perf_counter() - clock) / wanted
  return [
    Finished(_record(config, opened.schema, begun.standings[i], tested[i], seconds), logits[i])
    for i, config in enumerate(configs)
  ]


def _goes_on(begun: Begun, timetable: timetable_lib.Timetable) -> bool:
  """Whether any trial still runs, or none was validated yet, whose best state the test needs."""
  runs = begun.best is None or any(standing.runs for standing in begun.standings)
  return runs and begun.step < timetable.last


def _after_steps(begun: Begun, step: int, states: train.TrainState, losses: np.ndarray) -> Begun:
  """A group after training up to `step`, with the mean loss of each trial."""
  standings = tuple(
    standing_lib.after_steps(standing, step, loss)
    for standing, loss in zip(begun.standings, losses, strict=True)
  )
  return begun._replace(step=step, standings=standings, states=states)


def _after_validation(
  run: train.Program, begun: Begun, results: Sequence[dict[str, Any] | None], is_last: bool
) -> Begun:
  """A group after a validation that gave each trial these results; the best states are kept."""
  config = run.config
  settled = train.settled(run)
  standings = tuple(
    standing_lib.judge(run.objective, config.patience, standing, found, settled)
    for standing, found in zip(begun.standings, results, strict=True)
  )
  is_better = np.array([own.is_best and own.step == begun.step for own in standings])

  states = begun.states
  best = begun.best
  best = states if best is None or is_better.all() else _select(is_better, states, best)
  of_trials = config_lib.in_trial(config, states.trial)
  is_well = is_better | (begun.step < settled)
  scale = optimizer.after_validation(of_trials, states.rate_scale, is_well)
  states = states._replace(rate_scale=scale)
  if not is_last:
    states = jax.tree.map(jnp.copy, states)  # `best` is not donated
  return begun._replace(standings=standings, states=states, best=best)


def begin(opened: Resident, group: Group) -> Begun:
  """A group at step 0."""
  configs = group.configs + group.configs[-1:] * group.fillers
  placed = jax.NamedSharding(group.mesh, jax.P(AXIS))
  states = train.init_trials(group.run, opened.schema, configs, placed)
  return Begun(0, (Standing(),) * len(configs), states, None, 0.0)


def _go_on(begun: Begun, group: Group) -> Begun:
  """A group that was left, on the devices at hand."""
  fillers = group.fillers
  place = jax.NamedSharding(group.mesh, jax.P(AXIS))

  def placed(stack: train.TrainState | None) -> train.TrainState | None:
    filled = jax.tree.map(lambda leaf: np.concatenate([leaf, *[leaf[-1:]] * fillers]), stack)
    return jax.device_put(filled, place)

  return begun._replace(
    standings=begun.standings + begun.standings[-1:] * fillers,
    states=placed(begun.states),
    best=placed(begun.best),
  )


def _leave(begun: Begun, wanted: int) -> Begun:
  """The inverse of `_go_on`."""

  def on_host(stack: train.TrainState | None) -> train.TrainState | None:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:wanted], stack)

  return begun._replace(
    standings=begun.standings[:wanted],
    states=on_host(begun.states),
    best=on_host(begun.best),
  )


def training(run: train.Program, mesh: jax.sharding.Mesh) -> jax.stages.Wrapped:
  """The program (states, training data, steps) -> (states, sums) of all trials; donates states."""
  return jax.jit(
    on_each_device(mesh, functools.partial(feeds.advance_resident, run)), donate_argnums=0
  )


def _advance(run: train.Program, opened: Resident, mesh: jax.sharding.Mesh) -> Advance:
  program = training(run, mesh)
  return lambda states, steps: program(states, opened.splits['train'], np.int32(steps))


def _evaluate(run: train.Program, opened: Resident, mesh: jax.sharding.Mesh) -> Evaluate:
  mapped = jax.jit(on_each_device(mesh, functools.partial(feeds.evaluate_resident, run)))

  def call(states, split):
    sums, logits = jax.device_get(mapped(train.without_optimizer(states), opened.splits[split]))
    found = []
    for i, logits_ExT in enumerate(logits):
      of_trial = train.unstack(sums, i)
      found.append(run.objective.compute(of_trial, logits_ExT, opened.labels[split]))
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

    def local(states: train.TrainState, shared: tuple) -> Any:
      return over_trials(lambda state: fn(state, *shared), states)

    return jax.shard_map(
      local, mesh=mesh, in_specs=(jax.P(AXIS), jax.P()), out_specs=jax.P(AXIS), check_vma=False
    )(states, shared)

  return mapped


def over_trials(fn: Callable, states: train.TrainState) -> Any:
  """Maps over stacked trials: side by side where the device has room, in turn on a CPU, which is no
  slower there.
  """
  return jax.lax.map(fn, states) if jax.default_backend() == 'cpu' else jax.vmap(fn)(states)


def _select(take: np.ndarray, new: train.TrainState, old: train.TrainState) -> train.TrainState:
  def pick(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(take.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

  return jax.tree.map(pick, new, old)


def _record(
  config: config_lib.Config,
  schema: schema_lib.FeatureSchema,
  standing: Standing,
  test: dict[str, Any] | None,
  seconds: float,
) -> dict[str, Any]:
  standing = standing_lib.at_end(standing, standing.step)
  if standing.status == 'finished' and test is None:
    standing = standing_lib.diverge(standing, 'logits of the test split became NaN or infinite')
  rows = schema.splits['train'].rows
  if standing.status == 'diverged':
    found = {'error': standing.why}
  else:
    found = record.measured('valid', standing.best) | record.measured('test', test)
  return record.make(
    config,
    schema,
    status=standing.status,
    train_examples=order.examples_of(standing.step, config.batch_size, rows),
    wall_seconds=seconds,
    **found,
  )
