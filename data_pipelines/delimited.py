"""Delimited text: commas with quotes, or tabs without; a header line unless the spec names the columns."""

import csv
import pathlib
from collections.abc import Iterator

import polars as pl

from data_pipelines import raw
from data_pipelines import text


def reader(names: tuple[str, ...] | None, delimiter: str | None) -> raw.Reader:
  """Reads columns `names`, or those of the header; `delimiter` None: a tab for .tsv, .tab and .txt, else a comma."""
  return raw.Reader(
      columns=lambda path: _columns(path, names, delimiter or _guess(path)),
      chunks=lambda path: _chunks(path, names, delimiter or _guess(path)))


def _guess(path: str) -> str:
  suffix = pathlib.Path(path.removesuffix('.gz')).suffix
  return '\t' if suffix in ('.tsv', '.tab', '.txt') else ','


def _columns(path: str, names: tuple[str, ...] | None, delimiter: str) -> tuple[str, ...]:
  chunk = next(_chunks(path, names, delimiter), None)
  if chunk is None:
    raise ValueError(f'{path}: no rows after the header')
  return tuple(chunk.frame.columns)


def _chunks(path: str, names: tuple[str, ...] | None, delimiter: str) -> Iterator[raw.Chunk]:
  for first, lines in text.read_lines(path):
    if first == 1:
      lines[0] = lines[0].removeprefix('\ufeff')
      if names is None:
        names, lines, first = _header(lines[0], delimiter, path), lines[1:], 2
    if lines:
      frame = _split(lines, delimiter, len(names), path, first)
      frame.columns = list(names)
      yield raw.Chunk(frame, path, first, 'line')


def _header(line: str, delimiter: str, path: str) -> tuple[str, ...]:
  names = tuple(next(csv.reader([line], delimiter=delimiter)) if delimiter == ',' else line.split(delimiter))
  twice = {name for name in names if names.count(name) > 1}
  if twice:
    raise ValueError(f'{path}: line 1: column {min(twice)!r} appears twice in the header')
  return names


def _split(lines: list[str], delimiter: str, columns: int, path: str, first: int) -> pl.DataFrame:
  if delimiter != ',' or not any('"' in line for line in lines):
    return text.split_lines(lines, delimiter, columns, path, first)
  for row, line in enumerate(lines):
    if line.count('"') % 2:
      raise ValueError(f'{path}: line {first + row}: a quote is not closed on its line')
  rows = list(csv.reader(lines))
  for row, values in enumerate(rows):
    if len(values) != columns:
      raise ValueError(f'{path}: line {first + row}: {len(values)} columns, expected {columns}')
  return pl.DataFrame(rows, schema={str(j): pl.String for j in range(columns)}, orient='row')
