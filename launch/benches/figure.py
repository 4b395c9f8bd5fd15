"""One measured number with its name, as benches yield it and launch.bench prints and writes it."""

from typing import NamedTuple


class Figure(NamedTuple):
  """A measured number."""

  name: str  # key of the JSON's "figures"
  value: float
  unit: str  # 'x' for ratios
  meaning: str  # a few words: what was divided by what


def significant(value: float) -> float:
  """Four significant digits: more would be noise."""
  return float(f'{value:.4g}')
