"""One measured number with its name, as benches yield it and launch.bench prints and writes it."""

from collections.abc import Sequence
import statistics
from typing import NamedTuple


class Figure(NamedTuple):
  """A measured number."""

  name: str  # key of the JSON's "figures"
  value: float
  unit: str  # 'x' for ratios
  meaning: str  # a few words: what was divided by what
  # of a ratio, over rounds: how far a busy machine moved it
  quartiles: tuple[float, float] | None = None


def ratio(name: str, above: Sequence[float], below: Sequence[float], meaning: str) -> Figure:
  """The median over rounds of above / below of the same round; at least two rounds."""
  ratios = [a / b for a, b in zip(above, below, strict=True)]
  low, median, high = statistics.quantiles(ratios, method='inclusive')
  return Figure(name, median, 'x', meaning, (low, high))


def significant(value: float) -> float:
  """Four significant digits: more would be noise."""
  return float(f'{value:.4g}')
