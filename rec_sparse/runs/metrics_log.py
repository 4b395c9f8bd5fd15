"""metrics.jsonl and TensorBoard events of a run; a resumed run forgets what lay beyond its
checkpoint.
"""

from collections.abc import Iterator
import contextlib
import json
import math
import pathlib
from typing import Any, IO

from tensorboardX import summary
from tensorboardX import SummaryWriter

from rec_sparse import config as config_lib
from rec_sparse import record
from rec_sparse.runs.observer import Observer
from rec_sparse.runs.observer import Trained
from rec_sparse.runs.standing import Standing

# What is a curve; what else is found of a validation stands in metrics.jsonl alone.
CURVES = (
  'loss',
  'learning_rate',
  'logloss',
  'normalized_entropy',
  'calibration',
  'auc',
  'gauc_impressions',
  'gauc_users',
)


class Log(Observer):
  """Appends a line of strict JSON, null for a number that is not finite, and a point of a curve."""

  def __init__(self, lines: IO[str], events: SummaryWriter):
    self._lines = lines
    self._events = events
    self._is_compiled = False

  def trained(self, new: Trained) -> None:
    """Writes loss and learning rate; the throughput is a curve alone, it is not of the run.

    So does each part of the loss that the model names.
    """
    values = {'loss': new.loss, 'learning_rate': new.learning_rate}
    if new.terms:
      values['terms'] = {name: _finite_or_none(term) for name, term in new.terms.items()}
    self._write(new.step, 'train', values)
    if self._is_compiled:
      self._events.add_scalar('train/examples_per_second', new.examples_per_second, new.step)
    self._is_compiled = True

  def validated(self, standing: Standing, found: dict[str, Any]) -> None:
    """Writes all that a validation found."""
    self._write(standing.step, 'valid', found)

  def _write(self, step: int, split: str, values: dict[str, Any]) -> None:
    line = {'step': step, 'split': split}
    line |= {name: _finite_or_none(value) for name, value in values.items()}
    self._lines.write(json.dumps(line, allow_nan=False) + '\n')
    self._lines.flush()
    add_curves(self._events, line)


@contextlib.contextmanager
def open_log(run_directory: pathlib.Path, config: config_lib.Config, step: int) -> Iterator[Log]:
  """The log of a run at `step`.

  Lines of later steps, and a line cut short, are dropped first. Curves that a directory lacks, as
  one that was made of another run, are drawn from the lines.
  """
  path = run_directory / 'metrics.jsonl'
  kept = [line for line in _whole_lines(path) if json.loads(line)['step'] <= step]
  record.write_text(path, ''.join(kept))
  is_new = not any(run_directory.glob('events.out.tfevents.*'))
  with open(path, 'a') as lines, open_events(run_directory, config, step) as events:
    for line in kept if is_new else ():
      add_curves(events, json.loads(line))
    yield Log(lines, events)


@contextlib.contextmanager
def open_events(
  directory: pathlib.Path, config: config_lib.Config, step: int
) -> Iterator[SummaryWriter]:
  """A writer of events in `directory`; those of later steps than `step` are void.

  The config stands there once, as text and for the table of hyper-parameters: a second copy would
  be a second card.
  """
  is_new = not any(directory.glob('events.out.tfevents.*'))
  with SummaryWriter(str(directory), purge_step=step + 1) as events:
    if is_new:
      settings = config_lib.flat(config_lib.to_raw(config))
      events.add_text('config', _as_table(settings), 0)
      shown = {name: value for name, value in settings.items() if not isinstance(value, list)}
      names = {f'valid/{name}': 0.0 for name in ('logloss', 'auc')}
      experiment, session, _ = summary.hparams(shown, names)
      events.file_writer.add_summary(experiment, 0)
      events.file_writer.add_summary(session, 0)
    yield events


def add_curves(events: SummaryWriter, line: dict[str, Any]) -> None:
  """Adds a line of metrics.jsonl to the curves; each task of several has curves of its own."""
  parts = {line['split']: line}
  for task, own in line.get('tasks', {}).items():
    parts[f'{line["split"]}_{task}'] = own
  for part, values in parts.items():
    for name in CURVES:
      if values.get(name) is not None:
        events.add_scalar(f'{part}/{name}', values[name], line['step'])
  for name, term in line.get('terms', {}).items():
    if term is not None:
      events.add_scalar(f'{line["split"]}/{name}', term, line['step'])


def _as_table(settings: dict[str, Any]) -> str:
  """Markdown, which TensorBoard shows."""
  rows = [f'| {name} | {value} |' for name, value in settings.items()]
  return '\n'.join(['| setting | value |', '|---|---|', *rows])


def _finite_or_none(value: Any) -> Any:
  return None if isinstance(value, float) and not math.isfinite(value) else value


def _whole_lines(path: pathlib.Path) -> list[str]:
  lines = path.read_text().splitlines(keepends=True) if path.exists() else []
  return [line for line in lines if line.endswith('}\n')]
