"""Who hears of a run while it goes on: a bar, a log, a notebook.

The library prints nothing; whoever calls it may pass an observer. Its methods return at once.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from rec_sparse.config import Config
from rec_sparse.runs.standing import Standing


class Trained(NamedTuple):
  """Some steps of training."""

  step: int  # steps done
  loss: float  # mean over these steps, nats per example
  learning_rate: float  # of the dense parameters, at the next step
  examples_per_second: float  # of the first of a sitting: with what is compiled on the way
  terms: dict[str, float]  # means of parts of the loss, where the model names any


class Observer:
  """Hears of one run; this one does nothing."""

  def began(self, step: int) -> None:
    """Before the first step of a sitting; `step` are done already."""

  def trained(self, new: Trained) -> None:
    """After each dispatch."""

  def validated(self, standing: Standing, found: dict[str, Any]) -> None:
    """After each validation, which found this."""

  def ended(self, standing: Standing) -> None:
    """After the last step of a sitting; a standing that still runs was interrupted."""


class SweepObserver:
  """Hears of a sweep; this one does nothing."""

  def began(self, steps: int) -> None:
    """Before the first trial; `steps` are missing, of all trials together."""

  def group(self, configs: Sequence[Config]) -> None:
    """Before these trials begin, as one program."""

  def trained(self, steps: int) -> None:
    """After each dispatch: steps of all trials together."""

  def said(self, sentence: str) -> None:
    """Something that whoever started the sweep should know."""
