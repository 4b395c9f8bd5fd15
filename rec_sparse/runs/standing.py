"""How far a run is, and what its validations say: the best so far, and whether it goes on.

One set of rules for a single run and for trials side by side, which have a standing each. All
functions are pure; a run that has ended stays as it is.
"""

import dataclasses
import math
from typing import Any, Literal

from rec_sparse.objective import Objective


@dataclasses.dataclass(frozen=True)
class Standing:
  """What a run knows of itself beyond its state; every checkpoint carries it as JSON."""

  status: Literal['running', 'finished', 'diverged'] = 'running'
  why: str = ''  # why it ended, in words; '' while it runs
  step: int = 0  # steps done
  best_step: int = 0  # step of the best validation so far
  best: dict[str, Any] | None = None  # what that validation found; None before the first
  waited: int = 0  # validations since then
  wall_seconds: float = 0.0  # of training, over all sittings; trials side by side share theirs

  @property
  def runs(self) -> bool:
    """Whether it has not ended."""
    return self.status == 'running'

  @property
  def is_best(self) -> bool:
    """Whether the state of this step had the best validation so far."""
    return self.best is not None and self.best_step == self.step


def after_steps(standing: Standing, step: int, loss: float) -> Standing:
  """After training up to `step` with the mean loss `loss`.

  Losses are of states before each update: of the last state they say nothing.
  """
  if not standing.runs:
    return standing
  standing = dataclasses.replace(standing, step=step)
  if math.isfinite(loss):
    return standing
  return diverge(standing, 'the training loss became NaN or infinite')


def judge(
  objective: Objective,
  patience: int,
  standing: Standing,
  found: dict[str, Any] | None,
  settled: int = 0,
) -> Standing:
  """After a validation that `found` this; None where an output was not finite.

  `patience` validations in a row without a better one end the run; 0: none do. Of equal ones the
  first is the best. Before `settled` steps the network is not yet the one that the config asks for
  (train.settled), and none counts.
  """
  if not standing.runs:
    return standing
  if found is None:
    return diverge(standing, 'logits of the validation split are NaN or infinite')
  if standing.step < settled:
    return standing
  if standing.best is None or objective.rank(found) > objective.rank(standing.best):
    return dataclasses.replace(standing, best_step=standing.step, best=found, waited=0)
  return _out_of_patience(dataclasses.replace(standing, waited=standing.waited + 1), patience)


def diverge(standing: Standing, what: str) -> Standing:
  """Ends a run whose numbers are not finite; `what` says which."""
  why = f'{what} by step {standing.step}'
  return dataclasses.replace(standing, status='diverged', why=why)


def finish(standing: Standing, why: str) -> Standing:
  """Ends a run well."""
  return dataclasses.replace(standing, status='finished', why=why)


def at_end(standing: Standing, last: int) -> Standing:
  """Ends a run that has done all its steps."""
  if standing.runs and standing.step >= last:
    return finish(standing, 'the last epoch is done')
  return standing


def reopened(standing: Standing, step: int, patience: int) -> Standing:
  """The standing of a checkpoint at `step`, going on; unless its patience is at an end."""
  standing = dataclasses.replace(standing, status='running', why='', step=step)
  return _out_of_patience(standing, patience)


def _out_of_patience(standing: Standing, patience: int) -> Standing:
  if patience == 0 or standing.waited < patience:
    return standing
  return finish(standing, f'stopped early: {standing.waited} validations without a better one')
