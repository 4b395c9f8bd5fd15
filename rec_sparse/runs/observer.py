"""Who hears of a run while it goes on: a bar, a log, a notebook.

The library prints nothing; whoever calls it may pass callbacks. Each returns at once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from rec_sparse.config import Config
from rec_sparse.runs.standing import Standing


class Began(NamedTuple):
  """A run before the steps of a sitting."""

  config: Config
  step: int  # steps done before
  last: int  # steps of the whole run
  steps_per_epoch: int


class Trained(NamedTuple):
  """Some steps of training."""

  step: int  # steps done
  loss: float  # mean over these steps, nats per example
  learning_rate: float  # of the dense parameters
  examples_per_second: float | None  # None of the steps that were compiled on the way


def _nothing(*arguments: Any) -> None:
  del arguments


class Observer(NamedTuple):
  """Callbacks of one run; by default, none."""

  began: Callable[[Began], None] = _nothing
  trained: Callable[[Trained], None] = _nothing
  validated: Callable[[Standing, dict[str, Any]], None] = _nothing  # (after it, what it found)
  ended: Callable[[Standing], None] = _nothing  # a standing that still runs was interrupted


SILENT = Observer()


def both(first: Observer, second: Observer) -> Observer:
  """Tells two observers, one after the other."""

  def tell(name: str) -> Callable[..., None]:
    def callback(*arguments: Any) -> None:
      getattr(first, name)(*arguments)
      getattr(second, name)(*arguments)

    return callback

  return Observer(*(tell(name) for name in Observer._fields))
