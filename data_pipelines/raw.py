"""What every raw source yields: bounded chunks of columns that know where in which file they came from."""

import glob
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import polars as pl

CHUNK_ROWS = 1 << 18  # rows of a chunk where the format lets us choose


class Chunk(NamedTuple):
  """Consecutive rows of one raw file."""

  frame: pl.DataFrame  # columns by name; strings from text formats
  file: str
  first: int  # line of the first row (text, from 1) or its row number (parquet, from 0)
  unit: str  # 'line' or 'row'

  def place(self, row: int) -> str:
    """Where row `row` of this chunk is, for error messages."""
    return f'{self.file}: {self.unit} {self.first + row}'


class Reader(NamedTuple):
  """One raw format. Both functions raise ValueError naming file and line for what they cannot read."""

  columns: Callable[[str], tuple[str, ...]]  # file -> its column names
  chunks: Callable[[str], Iterator[Chunk]]  # file -> its rows in order


def expand(patterns: list[str], flag: str) -> list[str]:
  """Paths and globs -> paths, each glob sorted; raises ValueError naming `flag` when one matches no file."""
  paths = []
  for pattern in patterns:
    found = [pattern] if pathlib.Path(pattern).is_file() else sorted(glob.glob(pattern))
    if not found:
      raise ValueError(f'--{flag}={pattern}: no such file')
    paths += found
  return paths
