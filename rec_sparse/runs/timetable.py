"""When a run does what, in steps."""

from typing import NamedTuple

from data_pipelines import order
from rec_sparse.config import Config


class Timetable(NamedTuple):
  """The steps of a whole run, and those at which something is due."""

  last: int  # steps of the whole run
  steps_per_epoch: int  # the last batch of an epoch may be partial
  eval_every: int  # steps between validations; there is one after the last step too
  save_every: tuple[int, ...]  # periods of checkpoints, besides those at validations

  def next_stop(self, step: int, most: int) -> int:
    """Where a dispatch of at most `most` steps from `step` ends: never beyond what is due."""
    due = [(step // every + 1) * every for every in (self.eval_every, *self.save_every)]
    return min(self.last, step + most, *due)

  def validates(self, step: int) -> bool:
    """Whether a validation is due after `step` steps."""
    return step == self.last or step % self.eval_every == 0

  def saves(self, step: int) -> bool:
    """Whether a checkpoint is due after `step` steps."""
    return self.validates(step) or any(step % every == 0 for every in self.save_every)


def of(config: Config, rows: int) -> Timetable:
  """That of a run on `rows` training rows; raises ValueError when a batch is larger."""
  steps_per_epoch = order.steps_per_epoch(rows, config.batch_size)
  return Timetable(
    last=config.epochs * steps_per_epoch,
    steps_per_epoch=steps_per_epoch,
    eval_every=config.eval_every or steps_per_epoch,
    save_every=tuple(every for every in (config.checkpoint_every, config.keep_every) if every),
  )
