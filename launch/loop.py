"""One training run in its run directory: steps, validations, early stopping, checkpoints, and going on after a cut."""

from collections.abc import Iterator
import contextlib
import dataclasses
import math
import pathlib
import signal
import time
from typing import Any

import jax
from jax.experimental import multihost_utils
import numpy as np
import orbax.checkpoint as ocp
import tqdm

from data_pipelines import blocks
from data_pipelines import order
from launch import evaluation
from launch import feeds
from launch import huge_pages
from launch import identity
from launch import metrics_log
from rec_sparse import checkpoint
from rec_sparse import config as config_lib
from rec_sparse import record
from rec_sparse import schema as schema_lib
from rec_sparse import train


@dataclasses.dataclass(frozen=True)
class Progress:
  """What a run knows beyond its state; every checkpoint carries it."""

  status: str = 'running'  # then 'finished' or 'diverged'
  best_step: int = 0  # step of the best validation so far
  best: dict[str, Any] | None = None  # what that validation found; None before the first
  waited: int = 0  # validations since then
  wall_seconds: float = 0.0  # of training, over all sittings


def run_training(run: train.Program, schema: schema_lib.FeatureSchema, data: pathlib.Path,
                 out: pathlib.Path) -> dict[str, Any] | None:
  """Trains until done, from the last checkpoint if `out` holds one -> trial record; None when a signal came first.

  A run that has ended is left as it is. Raises ValueError when `out` was made with another config, or when data or
  checkpoint are damaged.
  """
  config = run.config
  _check_claim(config, out)
  multihost_utils.sync_global_devices('the run directory was checked by every process')
  split = blocks.open_split(data, schema, 'train')
  evaluate = evaluation.evaluator(run, schema, data, 'valid')
  per_epoch = order.steps_per_epoch(split.rows, config.batch_size)
  last, eval_every = config.epochs * per_epoch, config.eval_every or per_epoch
  save_every = [every for every in (config.checkpoint_every, config.keep_every) if every]
  like = train.abstract_state(run, schema)  # shapes alone: on a resume the table must fit once, not twice
  if jax.process_index() == 0:
    _claim(config, data, out)  # after everything that wrong input can stop
  with contextlib.ExitStack() as stack:
    stopping = stack.enter_context(_signals())
    manager = stack.enter_context(checkpoint.manager(out, keep_every=config.keep_every))
    state, progress, position = _start(run, schema, like, manager)
    step, began = int(state.step), time.perf_counter() - progress.wall_seconds
    if progress.status != 'running' and (out / 'summary.json').is_file():
      return record.read_json(out / 'summary.json')
    feed = stack.enter_context(contextlib.closing(feeds.open_feed(run, split)))
    feed.seek(position)
    log = stack.enter_context(metrics_log.open_log(out, step) if jax.process_index() == 0 else _no_log())
    bar = stack.enter_context(tqdm.tqdm(total=last, initial=step, unit='step', desc=config.model, mininterval=1.0,
                                        disable=jax.process_index() != 0))
    stop_asked = False
    while step < last and progress.status == 'running' and not stop_asked:
      stop = min(last, step + feeds.DISPATCH, *(_next(step, every) for every in (eval_every, *save_every)))
      state, sums = feed.advance(state, stop - step)
      if sums.dropped:
        raise ValueError(f'{int(sums.dropped)} ids did not fit the buckets of --lookup=all_to_all; use reduce_scatter')
      loss = float(sums.loss) / (stop - step)
      bar.update(stop - step)
      step, stop_asked = stop, _anywhere(stopping)
      log(step, 'train', {'loss': loss})
      due = step % eval_every == 0 or step == last
      found = evaluate(state) if due and math.isfinite(loss) else None
      if not math.isfinite(loss) or due and not found:
        progress = dataclasses.replace(progress, status='diverged')  # the last good checkpoint stays
        break
      if found:
        log(step, 'valid', found)
        progress = _judge(config, progress, step, found)
      if step == last:
        progress = dataclasses.replace(progress, status='finished')
      progress = dataclasses.replace(progress, wall_seconds=time.perf_counter() - began)
      if found or stop_asked or any(step % every == 0 for every in save_every):
        _save(run, schema, manager, state, feed, progress, found)
    if step == 0 and manager.latest_step() is None:
      progress = dataclasses.replace(progress, status='finished')
      _save(run, schema, manager, state, feed, progress, None)  # --epochs=0: the network as it was initialized
  if step < last and progress.status == 'running':
    return None
  return _finish(config, schema, out, progress, step)


def _check_claim(config: config_lib.Config, out: pathlib.Path) -> None:
  """Raises ValueError unless `out` is free or this config's run directory."""
  path = out / 'config.json'
  if path.exists():
    theirs, ours = record.read_json(path), config_lib.to_raw(config)
    differ = config_lib.differing(theirs, ours)
    if differ:
      raise ValueError(f'{out}: made with another config ({", ".join(differ)} differ); choose another --out')
  elif out.exists() and any(out.iterdir()):
    raise ValueError(f'{out}: is not empty and holds no config.json, so it is not a run directory')


def _claim(config: config_lib.Config, data: pathlib.Path, out: pathlib.Path) -> None:
  out.mkdir(parents=True, exist_ok=True)
  record.write_json(out / 'data.json', {'data': str(data.resolve())})
  record.write_text(out / 'config.json', config_lib.to_json(config))


def _start(run: train.Program, schema: schema_lib.FeatureSchema, like: train.TrainState,
           manager: ocp.CheckpointManager) -> tuple[train.TrainState, Progress, dict | None]:
  """The state, progress and data position of the last checkpoint, or of the beginning."""
  if manager.latest_step() is None:
    return huge_pages.advise(train.init(run, schema)), Progress(), None
  state, position, metadata = checkpoint.restore(manager, manager.latest_step(), run, like)
  return huge_pages.advise(state), Progress(**metadata['progress']), position


def _judge(config: config_lib.Config, progress: Progress, step: int, found: dict[str, Any]) -> Progress:
  """Early stopping: `patience` validations in a row without a better one end the run."""
  if progress.best is None or evaluation.rank(config, found) > evaluation.rank(config, progress.best):
    return dataclasses.replace(progress, best_step=step, best=found, waited=0)
  waited = progress.waited + 1
  status = 'finished' if config.patience and waited >= config.patience else 'running'
  return dataclasses.replace(progress, waited=waited, status=status)


def _save(run: train.Program, schema: schema_lib.FeatureSchema, manager: ocp.CheckpointManager,
          state: train.TrainState, feed: feeds.TrainFeed, progress: Progress, found: dict[str, Any] | None) -> None:
  config = run.config
  metadata = {'config': config_lib.to_raw(config), 'run_id': config_lib.run_id(config),
              **identity.metadata(schema), 'versions': record.versions(),
              'progress': dataclasses.asdict(progress)}
  checkpoint.save(manager, run, state, feed.position(), metadata, evaluation.rank(config, found) if found else None)


def _finish(config: config_lib.Config, schema: schema_lib.FeatureSchema, out: pathlib.Path, progress: Progress,
            step: int) -> dict[str, Any]:
  best = progress.best or {}
  found = record.make(
      config, schema, status='diverged' if progress.status == 'diverged' else 'finished',
      train_examples=order.examples_of(step, config.batch_size, schema.splits['train'].rows),
      wall_seconds=progress.wall_seconds, best_step=progress.best_step,
      valid_logloss=best.get('logloss'), valid_auc=best.get('auc'))
  if jax.process_index() == 0:
    record.write_json(out / 'summary.json', found)
  return found


def _next(step: int, every: int) -> int:
  """The next multiple of `every` after `step`."""
  return (step // every + 1) * every


def _anywhere(stopping: list[bool]) -> bool:
  """Whether any process was told to stop: all must leave the loop at the same step."""
  return bool(stopping) if jax.process_count() == 1 else bool(
      multihost_utils.process_allgather(np.array(bool(stopping))).any())


@contextlib.contextmanager
def _no_log() -> Iterator[metrics_log.Log]:
  """Process 0 alone writes."""
  yield lambda step, split, values: None


@contextlib.contextmanager
def _signals() -> Iterator[list[bool]]:
  """A list that SIGTERM or Ctrl-C makes true (non-empty): the loop saves and stops at the end of its dispatch.

  The second Ctrl-C does not wait for that.
  """
  requested = []

  def request(number: int, _: Any) -> None:
    requested.append(True)
    if number == signal.SIGINT:
      signal.signal(signal.SIGINT, previous[signal.SIGINT])

  previous = {number: signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
  try:
    yield requested
  finally:
    for number, handler in previous.items():
      signal.signal(number, handler)
