"""Delimited text: tabs without quotes, commas and other characters with them.

The first line is a header unless the spec names the columns.
"""

from collections.abc import Iterator
import csv
import pathlib
import re
import sys

import polars as pl

from data_pipelines import raw
from data_pipelines import text

_DELIMITERS = (',', '\t', ';', '|')
_COMPRESSED = ('.gz', '.bz2', '.xz', '.zst')

csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a quoted history may be long


def reader(names: tuple[str, ...] | None, delimiter: str | None) -> raw.Reader:
  """Reads columns `names` (None: those of the header), split at `delimiter` (None: guessed)."""
  return raw.Reader(
    columns=lambda path: _columns(path, names, delimiter),
    chunks=lambda path: _chunks(path, names, delimiter),
  )


def _guess(path: str, line: str) -> str:
  """The only delimiter that the first line holds; else a tab for .tsv, .tab, .txt, or a comma."""
  suffixes = [suffix for suffix in pathlib.Path(path).suffixes if suffix not in _COMPRESSED]
  usual = '\t' if suffixes and suffixes[-1] in ('.tsv', '.tab', '.txt') else ','
  unquoted = re.sub('"[^"]*"', '', line)
  held = [delimiter for delimiter in _DELIMITERS if delimiter in unquoted]
  return held[0] if len(held) == 1 else usual


def width(path: str, delimiter: str | None) -> int:
  """How many fields the first line of a file has."""
  _, lines = next(text.read_lines(path))
  delimiter = delimiter or _guess(path, lines[0])
  return len(_of_line(lines[0], delimiter, path))


def _columns(path: str, names: tuple[str, ...] | None, delimiter: str | None) -> tuple[str, ...]:
  chunk = next(_chunks(path, names, delimiter), None)
  if chunk is None:
    raise raw.Empty(f'{path}: no rows after the header')
  return tuple(chunk.frame.columns)


def _chunks(path: str, names: tuple[str, ...] | None, delimiter: str | None) -> Iterator[raw.Chunk]:
  for first, lines in text.read_lines(path):
    if first == 1:
      delimiter = delimiter or _guess(path, lines[0])
      if names is None:
        names = _header(lines[0], delimiter, path)
        lines = lines[1:]
        first = 2
    if lines:
      frame = _split(lines, delimiter, len(names), path, first)
      frame.columns = list(names)
      yield raw.Chunk(frame, path, first, 'line')


def _header(line: str, delimiter: str, path: str) -> tuple[str, ...]:
  names = tuple(_of_line(line, delimiter, path))
  twice = {name for name in names if names.count(name) > 1}
  if twice:
    raise ValueError(
      f'{path}: line 1: column {min(twice)!r} appears twice in the header; if this '
      'line is data, name the columns with "columns" in a --spec file'
    )
  return names


def _of_line(line: str, delimiter: str, path: str) -> list[str]:
  """The fields of the first line."""
  if _may_quote(delimiter):
    return _fields([line], delimiter, path, 1)[0]
  return line.split(delimiter)


def _may_quote(delimiter: str) -> bool:
  """Whether quotes around a field may hold delimiters: neither tabs nor several characters."""
  return delimiter != '\t' and len(delimiter) == 1


def _split(lines: list[str], delimiter: str, columns: int, path: str, first: int) -> pl.DataFrame:
  holds_quotes = any('"' in line for line in lines)
  if not holds_quotes or not _may_quote(delimiter):
    return text.split_lines(lines, delimiter, columns, path, first)
  rows = _fields(lines, delimiter, path, first)
  for row, values in enumerate(rows):
    if len(values) != columns:
      raise ValueError(f'{path}: line {first + row}: {len(values)} columns, expected {columns}')
  return pl.DataFrame(rows, schema={str(j): pl.String for j in range(columns)}, orient='row')


def _fields(lines: list[str], delimiter: str, path: str, first: int) -> list[list[str]]:
  """The fields of each line, without their quotes."""
  # A quote that the last line leaves open takes in the '' after it.
  parsed = csv.reader([*lines, ''], delimiter=delimiter)
  rows = []
  for row, values in enumerate(parsed):
    if parsed.line_num != row + 1:
      raise ValueError(f'{path}: line {first + row}: a quote is not closed on its line')
    rows.append(values or [''])
  return rows[:-1]
