"""One training run in its run directory: steps, validations, early stopping, checkpoints, and going
on after a cut.
"""

import contextlib
import dataclasses
import pathlib
import time
from typing import Any

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
from rec_sparse.runs import evaluation
from rec_sparse.runs import feeds
from rec_sparse.runs import huge_pages
from rec_sparse.runs import identity
from rec_sparse.runs import metrics_log
from rec_sparse.runs import standing as standing_lib
from rec_sparse.runs import stopping
from rec_sparse.runs import timetable as timetable_lib
from rec_sparse.runs.observer import Observer
from rec_sparse.runs.observer import Trained
from rec_sparse.runs.standing import Standing


def run_training(
  run: train.Program,
  schema: schema_lib.FeatureSchema,
  data: pathlib.Path,
  out: pathlib.Path,
  observer: Observer | None = None,
) -> dict[str, Any] | None:
  """Trains until done, from the last checkpoint if `out` holds one -> trial record; None when a
  signal came first.

  A run that has ended, well or diverged, is left as it is. Of several processes, the first alone
  tells its observer. Raises ValueError when `out` was made with another config, when data or
  checkpoint are damaged, or when the validation split leaves the monitored metric undefined.
  """
  config = run.config
  observer = observer or Observer()
  _check_claim(config, out)
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
  if jax.process_index() == 0:
    _claim(config, data, out)  # after everything that wrong input can stop

  with contextlib.ExitStack() as stack:
    stop_wanted = stack.enter_context(stopping.on_signals())
    manager = stack.enter_context(checkpoint.manager(out, keep_every=config.keep_every))
    state, standing, position = _start(run, schema, like, manager)
    feed = stack.enter_context(contextlib.closing(feeds.open_feed(run, split)))
    feed.seek(position)
    if jax.process_index() == 0:
      log = stack.enter_context(metrics_log.open_log(out, config, standing.step))
    else:
      log = observer = Observer()

    began = time.perf_counter() - standing.wall_seconds
    observer.began(standing.step)
    standing = standing_lib.at_end(standing, timetable.last)
    if timetable.last == 0 and manager.latest_step() is None:
      _save(run, schema, manager, state, feed, standing)  # the initial network
    is_told = False
    is_compiled = False
    while standing.runs and not is_told:
      stop = timetable.next_stop(standing.step, feeds.DISPATCH)
      state, trained = _advance(run, feed, state, standing.step, stop, split.rows)
      trained = trained if is_compiled else trained._replace(examples_per_second=None)
      is_compiled = True
      log.trained(trained)
      observer.trained(trained)
      seconds = time.perf_counter() - began
      standing = dataclasses.replace(standing, wall_seconds=seconds)
      standing = standing_lib.after_steps(standing, stop, trained.loss)
      is_told = _anywhere(stop_wanted())

      saves = timetable.saves(stop) or is_told
      if standing.runs and saves and not is_sound(state):
        standing = standing_lib.diverge(
          standing, 'parameters, optimizer or logits became NaN or infinite'
        )
      if standing.runs and timetable.validates(stop):
        found = evaluate(state)
        standing = standing_lib.judge(run.objective, config.patience, standing, found)
        if found:
          log.validated(standing, found)
          observer.validated(standing, found)
        scale = optimizer.after_validation(config, state.rate_scale, standing.is_best)
        state = state._replace(rate_scale=scale)
      standing = standing_lib.at_end(standing, timetable.last)
      if saves and standing.status != 'diverged':  # what was saved before stays
        _save(run, schema, manager, state, feed, standing)
    observer.ended(standing)

  return None if standing.runs else _finish(config, schema, out, standing)


def _advance(
  run: train.Program,
  feed: feeds.TrainFeed,
  state: train.TrainState,
  step: int,
  stop: int,
  rows: int,
) -> tuple[train.TrainState, Trained]:
  """Trains from `step` to `stop`; raises ValueError when ids were dropped on their way."""
  began = time.perf_counter()
  state, sums = feed.advance(state, stop - step)
  if sums.dropped:
    raise ValueError(
      f'{int(sums.dropped)} ids did not fit the buckets of --lookup=all_to_all; use reduce_scatter'
    )
  loss = float(sums.loss) / (stop - step)
  seconds = time.perf_counter() - began
  batch_size = run.config.batch_size
  examples = order.examples_of(stop, batch_size, rows) - order.examples_of(step, batch_size, rows)
  rate = float(train.learning_rate(run, state))
  return state, Trained(stop, loss, rate, examples / seconds)


def _check_claim(config: config_lib.Config, out: pathlib.Path) -> None:
  """Raises ValueError unless `out` is free or this config's run directory."""
  path = out / 'config.json'
  if path.exists():
    theirs, ours = record.read_json(path), config_lib.to_raw(config)
    differ = config_lib.differing(theirs, ours)
    if differ:
      raise ValueError(
        f'{out}: made with another config ({", ".join(differ)} differ); choose another --out'
      )
  elif out.exists() and any(out.iterdir()):
    raise ValueError(f'{out}: is not empty and holds no config.json, so it is not a run directory')


def _claim(config: config_lib.Config, data: pathlib.Path, out: pathlib.Path) -> None:
  out.mkdir(parents=True, exist_ok=True)
  record.write_json(out / 'data.json', {'data': str(data.resolve())})
  record.write_text(out / 'config.json', config_lib.to_json(config))


def _start(
  run: train.Program,
  schema: schema_lib.FeatureSchema,
  like: train.TrainState,
  manager: ocp.CheckpointManager,
) -> tuple[train.TrainState, Standing, dict | None]:
  """The state, standing and data position of the last checkpoint, or of the beginning."""
  if manager.latest_step() is None:
    return huge_pages.advise(train.init(run, schema)), Standing(), None
  state, position, metadata = checkpoint.restore(manager, manager.latest_step(), run, like)
  standing = Standing(**metadata['progress'])
  standing = standing_lib.reopened(standing, int(state.step), run.config.patience)
  return huge_pages.advise(state), standing, position


def _save(
  run: train.Program,
  schema: schema_lib.FeatureSchema,
  manager: ocp.CheckpointManager,
  state: train.TrainState,
  feed: feeds.TrainFeed,
  standing: Standing,
) -> None:
  """Saves; only a checkpoint that `standing` calls the best has a rank,
  so it is the one that retention keeps.
  """
  config = run.config
  metadata = {
    'config': config_lib.to_raw(config),
    'run_id': config_lib.run_id(config),
    **identity.metadata(schema),
    'versions': record.versions(),
    'progress': dataclasses.asdict(standing),
  }
  value = run.objective.rank(standing.best) if standing.is_best else None
  checkpoint.save(manager, run, state, feed.position(), metadata, value)


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
