"""What every raw source yields: bounded chunks that know from where in which file they come."""

from collections.abc import Callable, Iterator
import glob
import os
import pathlib
from typing import NamedTuple

import polars as pl
import tqdm

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


class Empty(ValueError):
  """A file without rows: harmless among others, as distributed writers leave them."""


class Reader(NamedTuple):
  """One raw format. Both functions raise ValueError naming file and line for what they cannot read.

  `columns` raises Empty for a file without rows.
  """

  columns: Callable[[str], tuple[str, ...]]  # file -> its column names
  chunks: Callable[[str], Iterator[Chunk]]  # file -> its rows in order


def expand(patterns: list[str], flag: str) -> list[str]:
  """Paths, directories of parts and globs -> files.

  What a directory or glob finds is sorted, and its markers are skipped with a note. Raises
  ValueError naming `flag` when one holds no file, or when a directory of parts holds another.
  """
  files = []
  for pattern in patterns:
    path = pathlib.Path(pattern)
    found = [pattern] if path.exists() else sorted(glob.glob(pattern))
    if not found:
      raise ValueError(f'--{flag}={pattern}: no such file')
    if found == [pattern] and path.is_file():
      files.append(pattern)
      continue

    parts = [part for name in found for part in _parts(name, flag)]
    markers = [part for part in parts if _is_marker(part)]
    if len(markers) == len(parts):
      raise ValueError(f'--{flag}={pattern}: holds no file of rows')
    note_skipped(markers, flag, 'markers')
    files += [part for part in parts if part not in markers]
  return files


def note_skipped(files: list[str], flag: str, what: str) -> None:
  """Prints a line about files that are left out, if there are any."""
  if not files:
    return
  shown = ', '.join(files[:3])
  if len(files) > 3:
    shown += f' and {len(files) - 3} more'
  tqdm.tqdm.write(f'--{flag}: skipped {what}: {shown}')


def _parts(name: str, flag: str) -> list[str]:
  """The files of a directory, or the one file."""
  if not os.path.isdir(name):
    return [name]
  parts = [os.path.join(name, part) for part in sorted(os.listdir(name))]
  for part in parts:
    if os.path.isdir(part) and not _is_marker(part):
      raise ValueError(f'--{flag}={name}: {part} is a directory too; name the files with a glob')
  return parts


def _is_marker(path: str) -> bool:
  """What writers leave beside the parts: _SUCCESS, _committed_1, .part-0.crc, hidden files."""
  name = os.path.basename(path)
  return name.startswith(('_', '.')) or name.endswith('.crc')
