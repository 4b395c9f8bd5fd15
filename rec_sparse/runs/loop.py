"""One training run in its run directory: steps, validations, early stopping, checkpoints, and going
on after a cut.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import math
import pathlib
import time
from typing import Any

import jax
from jax.experimental import multihost_utils
import numpy as np
import orbax.checkpoint as ocp
import tqdm

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
from rec_sparse.runs import stopping


@dataclasses.dataclass(frozen=True)
class Progress:
  """What a run knows beyond its state; every checkpoint carries it."""

  status: str = 'running'  # then 'finished'; a state that is not finite has no checkpoint
  best_step: int = 0  # step of the best validation so far
  best: dict[str, Any] | None = None  # what that validation found; None before the first
  waited: int = 0  # validations since then
  wall_seconds: float = 0.0  # of training, over all sittings


def run_training(
  run: train.Program, schema: schema_lib.FeatureSchema, data: pathlib.Path, out: pathlib.Path
) -> dict[str, Any] | None:
  """Trains until done, from the last checkpoint if `out` holds one -> trial record; None when a
  signal came first.

  A run that has ended, well or diverged, is left as it is. Raises ValueError when `out` was made
  with another config, when data or checkpoint are damaged, or when one class in the validation
  split leaves the monitored AUC undefined.
  """
  config = run.config
  _check_claim(config, out)
  evaluation.check_monitor(config.monitor, schema, data)
  multihost_utils.sync_global_devices('the run directory was checked by every process')
  if (out / 'summary.json').is_file():
    return record.read_json(out / 'summary.json')
  split, valid = (blocks.open_split(data, schema, name) for name in ('train', 'valid'))
  evaluate = evaluation.evaluator(run, valid)
  is_sound = evaluation.soundness(run, valid)
  per_epoch = order.steps_per_epoch(split.rows, config.batch_size)
  last, eval_every = config.epochs * per_epoch, config.eval_every or per_epoch
  save_every = [every for every in (config.checkpoint_every, config.keep_every) if every]
  # shapes alone: on a resume the table must fit once, not twice
  like = train.abstract_state(run, schema)
  if jax.process_index() == 0:
    _claim(config, data, out)  # after everything that wrong input can stop
  with contextlib.ExitStack() as stack:
    stop_wanted = stack.enter_context(stopping.on_signals())
    manager = stack.enter_context(checkpoint.manager(out, keep_every=config.keep_every))
    state, progress, position = _start(run, schema, like, manager)
    step, began = int(state.step), time.perf_counter() - progress.wall_seconds
    feed = stack.enter_context(contextlib.closing(feeds.open_feed(run, split)))
    feed.seek(position)
    log = stack.enter_context(
      metrics_log.open_log(out, step) if jax.process_index() == 0 else _no_log()
    )
    bar = stack.enter_context(
      tqdm.tqdm(
        total=last,
        initial=step,
        unit='step',
        desc=config.model,
        mininterval=1.0,
        disable=jax.process_index() != 0,
      )
    )
    stop_asked, diverged = False, ''  # diverged: why, in words
    while step < last and progress.status == 'running' and not stop_asked:
      stop = min(
        last, step + feeds.DISPATCH, *(_next(step, every) for every in (eval_every, *save_every))
      )
      state, sums = feed.advance(state, stop - step)
      if sums.dropped:
        raise ValueError(
          f'{int(sums.dropped)} ids did not fit the buckets of --lookup=all_to_all; use reduce_scatter'
        )
      loss = float(sums.loss) / (stop - step)
      bar.update(stop - step)
      step, stop_asked = stop, _anywhere(stop_wanted())
      log(step, 'train', {'loss': loss})
      progress = dataclasses.replace(progress, wall_seconds=time.perf_counter() - began)
      due = step % eval_every == 0 or step == last
      saves = due or stop_asked or any(step % every == 0 for every in save_every)
      found = evaluate(state) if due and math.isfinite(loss) else None
      if not math.isfinite(loss):  # of states before each update: of the last it says nothing
        diverged = f'the training loss became NaN or infinite by step {step}'
      elif due and not found:
        diverged = f'logits of the validation split are NaN or infinite at step {step}'
      elif saves and not is_sound(state):
        diverged = f'parameters, optimizer or logits became NaN or infinite by step {step}'
      if diverged:
        break  # what was saved before stays
      if found:
        log(step, 'valid', found)
        progress = _judge(run, progress, step, found)
        rate_scale = optimizer.after_validation(
          config, state.rate_scale, progress.best_step == step
        )
        state = state._replace(rate_scale=rate_scale)
      if step == last:
        progress = dataclasses.replace(progress, status='finished')
      if saves:
        _save(run, schema, manager, state, feed, progress)
    if step == 0 and manager.latest_step() is None:
      progress = dataclasses.replace(progress, status='finished')
      _save(run, schema, manager, state, feed, progress)  # --epochs=0: the initial network
  if step < last and progress.status == 'running' and not diverged:
    return None
  return _finish(config, schema, out, progress, step, diverged)


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
) -> tuple[train.TrainState, Progress, dict | None]:
  """The state, progress and data position of the last checkpoint, or of the beginning."""
  if manager.latest_step() is None:
    return huge_pages.advise(train.init(run, schema)), Progress(), None
  state, position, metadata = checkpoint.restore(manager, manager.latest_step(), run, like)
  return huge_pages.advise(state), Progress(**metadata['progress']), position


def _judge(run: train.Program, progress: Progress, step: int, found: dict[str, Any]) -> Progress:
  """Early stopping: `patience` validations in a row without a better one end the run."""
  rank, config = run.objective.rank, run.config
  if progress.best is None or rank(found) > rank(progress.best):
    return dataclasses.replace(progress, best_step=step, best=found, waited=0)
  waited = progress.waited + 1
  status = 'finished' if config.patience and waited >= config.patience else 'running'
  return dataclasses.replace(progress, waited=waited, status=status)


def _save(
  run: train.Program,
  schema: schema_lib.FeatureSchema,
  manager: ocp.CheckpointManager,
  state: train.TrainState,
  feed: feeds.TrainFeed,
  progress: Progress,
) -> None:
  """Saves; only a checkpoint that `progress` calls the best has a rank,
  so it is the one that retention keeps.
  """
  config = run.config
  metadata = {
    'config': config_lib.to_raw(config),
    'run_id': config_lib.run_id(config),
    **identity.metadata(schema),
    'versions': record.versions(),
    'progress': dataclasses.asdict(progress),
  }
  is_best = progress.best is not None and progress.best_step == int(state.step)
  value = run.objective.rank(progress.best) if is_best else None
  checkpoint.save(manager, run, state, feed.position(), metadata, value)


def _finish(
  config: config_lib.Config,
  schema: schema_lib.FeatureSchema,
  out: pathlib.Path,
  progress: Progress,
  step: int,
  diverged: str,
) -> dict[str, Any]:
  measured = record.measured('valid', progress.best) if progress.best else {}
  ended = {'status': 'diverged', 'error': diverged} if diverged else {'status': 'finished'}
  found = record.make(
    config,
    schema,
    **ended,
    train_examples=order.examples_of(step, config.batch_size, schema.splits['train'].rows),
    wall_seconds=progress.wall_seconds,
    best_step=progress.best_step,
    **measured,
  )
  if jax.process_index() == 0:
    record.write_json(out / 'summary.json', found)
  return found


def _next(step: int, every: int) -> int:
  """The next multiple of `every` after `step`."""
  return (step // every + 1) * every


def _anywhere(stop_wanted: bool) -> bool:
  """Whether any process was told to stop: all must leave the loop at the same step."""
  if jax.process_count() == 1:
    return stop_wanted
  return bool(multihost_utils.process_allgather(np.array(stop_wanted)).any())


@contextlib.contextmanager
def _no_log() -> Iterator[metrics_log.Log]:
  """Process 0 alone writes."""
  yield lambda step, split, values: None
