"""What a terminal shows of a run or a sweep: a bar, and a line where something has happened."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
from typing import Any

import tqdm

from rec_sparse.config import Config
from rec_sparse.config import in_short
from rec_sparse.runs.observer import Observer
from rec_sparse.runs.observer import SweepObserver
from rec_sparse.runs.observer import Trained
from rec_sparse.runs.standing import Standing
from rec_sparse.runs.timetable import Timetable


class RunOnTerminal(Observer):
  """A bar with loss, last validation, examples per second and time left; a line per validation."""

  def __init__(self, config: Config, timetable: Timetable):
    self._config = config
    self._timetable = timetable
    self._shown: dict[str, str] = {}
    self._bar = tqdm.tqdm(disable=True)

  def began(self, step: int) -> None:
    """Draws the bar."""
    last = self._timetable.last
    self._bar = tqdm.tqdm(
      total=last, initial=step, unit='step', desc=self._config.model, mininterval=1.0
    )

  def trained(self, new: Trained) -> None:
    """Moves the bar."""
    self._shown['loss'] = f'{new.loss:.4f}'
    self._shown['examples/s'] = f'{new.examples_per_second:,.0f}'
    self._bar.set_postfix(self._shown, refresh=False)
    self._bar.update(new.step - self._bar.n)

  def validated(self, standing: Standing, found: dict[str, Any]) -> None:
    """Writes a line."""
    monitor = self._config.monitor
    self._shown['valid'] = f'{monitor} {found[monitor]:.5f}'
    epoch = standing.step / self._timetable.steps_per_epoch
    numbers = [
      f'{name} {found[name]:.5f}'
      for name in dict.fromkeys(('logloss', 'auc', monitor))
      if found[name] is not None
    ]
    best = 'the best so far' if standing.is_best else f'{standing.waited} since the best'
    line = ', '.join([f'step {standing.step:,}', f'epoch {epoch:.2f}', *numbers, best])
    self._bar.write(line)

  def ended(self, standing: Standing) -> None:
    """Writes why."""
    self.close()
    print(self._why(standing))

  def close(self) -> None:
    """Leaves the bar as it is."""
    self._bar.close()

  def _why(self, standing: Standing) -> str:
    if standing.runs:
      return f'stopped by a signal at step {standing.step:,}'
    said = f'{standing.status} at step {standing.step:,}: {standing.why}'
    if standing.best is None:
      return said
    best = standing.best[self._config.monitor]
    return f'{said}; best {self._config.monitor} {best:.5f}, at step {standing.best_step:,}'


class SweepOnTerminal(SweepObserver):
  """A bar over the steps of all trials, and what the sweep says."""

  def __init__(self):
    self._bar = tqdm.tqdm(disable=True)

  def began(self, steps: int) -> None:
    """Draws the bar."""
    self._bar = tqdm.tqdm(total=steps, unit='step', mininterval=1.0)

  def group(self, configs: Sequence[Config]) -> None:
    """Names the trials that run."""
    self._bar.set_description(f'{in_short(configs[0])}, {len(configs)} trials')

  def trained(self, steps: int) -> None:
    """Moves the bar."""
    self._bar.update(steps)

  def said(self, sentence: str) -> None:
    """Writes a line."""
    self._bar.write(sentence)

  def close(self) -> None:
    """Leaves the bar as it is."""
    self._bar.close()


@contextlib.contextmanager
def rows(doing: str) -> Iterator[Callable[[int], None]]:
  """A bar over rows of which nobody knows how many there are; what it gives moves it on."""
  with tqdm.tqdm(desc=doing, unit=' rows', unit_scale=True) as bar:

    def told(more: int) -> None:
      bar.update(more)

    yield told
