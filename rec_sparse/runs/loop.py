"""One training run in its run directory: steps, validations, early stopping, checkpoints, and going
on after a cut.
"""

from collections.abc import Callable, Sequence
import contextlib
import dataclasses
import pathlib
import time
from typing import Any, NamedTuple

import jax
from jax.experimental import multihost_utils
import numpy as np
import orbax.checkpoint as ocp

from data_pipelines import blocks
from data_pipelines import order
from rec_sparse import checkpoint
from rec_sparse import config as config_lib
from rec_sparse import optimizer
from rec_sparse import record
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse.runs import claim
from rec_sparse.runs import evaluation
from rec_sparse.runs import feeds
from rec_sparse.runs import huge_pages
from rec_sparse.runs import identity
from rec_sparse.runs import metrics_log
from rec_sparse.runs import standing as standing_lib
from rec_sparse.runs import stopping
from rec_sparse.runs import timetable as timetable_lib
from rec_sparse.runs import warm_start
from rec_sparse.runs.observer import Observer
from rec_sparse.runs.observer import Trained
from rec_sparse.runs.standing import Standing


class _Sitting(NamedTuple):
  """What a run needs while it trains, from its start or its last checkpoint to its end or a cut."""

  run: train.Program
  schema: schema_lib.FeatureSchema
  timetable: timetable_lib.Timetable
  evaluate: Callable[[train.TrainState], dict[str, Any] | None]  # metrics of the validation split
  is_sound: Callable[[train.TrainState], bool]  # whether a state may be saved
  manager: ocp.CheckpointManager
  feed: feeds.TrainFeed
  hearing: Sequence[Observer]  # none but in the first of several processes
  stop_wanted: Callable[[], bool]  # whether a signal came


def run_training(
  run: train.Program,
  schema: schema_lib.FeatureSchema,
  data: pathlib.Path,
  out: pathlib.Path,
  observer: Observer | None = None,
  origin: warm_start.Origin | None = None,
) -> dict[str, Any] | None:
  """Trains until done, from the last checkpoint if `out` holds one -> trial record; None when a
  signal came first.

  A new run starts from `origin` if there is one. One that has ended, well or diverged, is left as
  it is. Of several processes, the first alone tells its observer. Raises ValueError when `out` was
  made with another config, when data or checkpoint are damaged, or when the validation split leaves
  the monitored metric undefined.
  """
  config = run.config
  claim.check(config, out)
  is_new = not (out / 'config.json').is_file()
  evaluation.check_monitor(config.monitor, schema, data)
  multihost_utils.sync_global_devices('the run directory was checked by every process')
  if (out / 'summary.json').is_file():
    return record.read_json(out / 'summary.json')

  split, valid = (blocks.open_split(data, schema, name) for name in ('train', 'valid'))
  timetable = timetable_lib.of(config, split.rows)
  evaluate = evaluation.evaluator(run, valid)
  is_sound = evaluation.soundness(run, valid)
  # shapes alone: on a resume the table must fit once, not twice
  like = train.abstract_state(run, schema)
  if origin and is_new:
    warm_start.check(origin, run, schema, data, timetable.last)
  if jax.process_index() == 0:  # after everything that wrong input can stop
    if origin and origin.is_longer and is_new:
      warm_start.copy(origin, config, data, out)
    else:
      claim.write(config, data, out)
  multihost_utils.sync_global_devices('the run directory is there')

  with contextlib.ExitStack() as stack:
    stop_wanted = stack.enter_context(stopping.on_signals())
    manager = stack.enter_context(checkpoint.manager(out, keep_every=config.keep_every))
    state, standing, position = _start(run, schema, like, manager, origin)
    feed = stack.enter_context(contextlib.closing(feeds.open_feed(run, split)))
    feed.seek(position)
    hearing = []
    if jax.process_index() == 0:
      log = stack.enter_context(metrics_log.open_log(out, config, standing.step))
      hearing = [log, observer or Observer()]
    sitting = _Sitting(
      run, schema, timetable, evaluate, is_sound, manager, feed, hearing, stop_wanted
    )
    standing = _train(sitting, state, standing)

  return None if standing.runs else _finish(config, schema, out, standing)


def _train(sitting: _Sitting, state: train.TrainState, standing: Standing) -> Standing:
  """Goes on from `state`, which is used up, until the run ends or is told to stop."""
  timetable = sitting.timetable
  began = time.perf_counter() - standing.wall_seconds
  for one in sitting.hearing:
    one.began(standing.step)
  standing = standing_lib.at_end(standing, timetable.last)
  if timetable.last == 0 and sitting.manager.latest_step() is None:
    _save(sitting, state, standing)  # the initial network

  is_told = False
  while standing.runs and not is_told:
    stop = timetable.next_stop(standing.step, feeds.DISPATCH)
    state, trained = _advance(sitting, state, standing.step, stop)
    for one in sitting.hearing:
      one.trained(trained)
    standing = standing_lib.after_steps(standing, stop, trained.loss)
    standing = dataclasses.replace(standing, wall_seconds=time.perf_counter() - began)

    is_told = _anywhere(sitting.stop_wanted())
    saves = timetable.saves(stop) or is_told
    if saves:
      state, standing = _look(sitting, state, standing)
    standing = standing_lib.at_end(standing, timetable.last)
    if saves and standing.status != 'diverged':  # what was saved before stays
      _save(sitting, state, standing)

  for one in sitting.hearing:
    one.ended(standing)
  return standing


def _look(
  sitting: _Sitting, state: train.TrainState, standing: Standing
) -> tuple[train.TrainState, Standing]:
  """Looks at a state before it is saved, and validates where that is due.

  The state changes where a schedule follows the validations.
  """
  if not standing.runs:
    return state, standing
  if not sitting.is_sound(state):
    what = 'parameters, optimizer or logits became NaN or infinite'
    return state, standing_lib.diverge(standing, what)
  if not sitting.timetable.validates(standing.step):
    return state, standing

  run = sitting.run
  found = sitting.evaluate(state)
  settled = train.settled(run)
  standing = standing_lib.judge(run.objective, run.config.patience, standing, found, settled)
  if found:
    for one in sitting.hearing:
      one.validated(standing, found)
  is_well = standing.is_best or standing.step < settled
  scale = optimizer.after_validation(run.config, state.rate_scale, is_well)
  return state._replace(rate_scale=scale), standing


def _advance(
  sitting: _Sitting, state: train.TrainState, step: int, stop: int
) -> tuple[train.TrainState, Trained]:
  """Trains from `step` to `stop`; raises ValueError when ids were dropped on their way."""
  began = time.perf_counter()
  state, sums = sitting.feed.advance(state, stop - step)
  if sums.dropped:
    raise ValueError(
      f'{int(sums.dropped)} ids did not fit the buckets of --lookup=all_to_all; use reduce_scatter'
    )
  loss = float(sums.loss) / (stop - step)
  terms = {name: float(total) / (stop - step) for name, total in sums.terms.items()}
  seconds = time.perf_counter() - began

  rows = sitting.schema.splits['train'].rows
  batch_size = sitting.run.config.batch_size
  examples = order.examples_of(stop, batch_size, rows) - order.examples_of(step, batch_size, rows)
  rate = float(train.learning_rate(sitting.run, state))
  return state, Trained(stop, loss, rate, examples / seconds, terms)


def _start(
  run: train.Program,
  schema: schema_lib.FeatureSchema,
  like: train.TrainState,
  manager: ocp.CheckpointManager,
  origin: warm_start.Origin | None,
) -> tuple[train.TrainState, Standing, dict | None]:
  """The state, standing and data position of the last checkpoint, or of the beginning."""
  if manager.latest_step() is None:
    state = warm_start.start(origin, run, schema) if origin else train.init(run, schema)
    return huge_pages.advise(state), Standing(), None
  state, position, metadata = checkpoint.restore(manager, manager.latest_step(), run, like)
  standing = Standing(**metadata['progress'])
  standing = standing_lib.reopened(standing, int(state.step), run.config.patience)
  return huge_pages.advise(state), standing, position


def _save(sitting: _Sitting, state: train.TrainState, standing: Standing) -> None:
  """Saves; only a checkpoint that `standing` calls the best has a rank,
  so it is the one that retention keeps.
  """
  run = sitting.run
  metadata = {
    'config': config_lib.to_raw(run.config),
    'run_id': config_lib.run_id(run.config),
    **identity.metadata(sitting.schema),
    'versions': record.versions(),
    'progress': dataclasses.asdict(standing),
  }
  value = run.objective.rank(standing.best) if standing.is_best else None
  checkpoint.save(sitting.manager, run, state, sitting.feed.position(), metadata, value)


def _finish(
  config: config_lib.Config, schema: schema_lib.FeatureSchema, out: pathlib.Path, standing: Standing
) -> dict[str, Any]:
  """Writes the record of a run that has ended."""
  rows = schema.splits['train'].rows
  measured = record.measured('valid', standing.best) if standing.best else {}
  error = {'error': standing.why} if standing.status == 'diverged' else {}
  found = record.make(
    config,
    schema,
    status=standing.status,
    train_examples=order.examples_of(standing.step, config.batch_size, rows),
    wall_seconds=standing.wall_seconds,
    best_step=standing.best_step,
    **error,
    **measured,
  )
  if jax.process_index() == 0:
    record.write_json(out / 'summary.json', found)
  return found


def _anywhere(stop_wanted: bool) -> bool:
  """Whether any process was told to stop: all must leave the loop at the same step."""
  if jax.process_count() == 1:
    return stop_wanted
  return bool(multihost_utils.process_allgather(np.array(stop_wanted)).any())
