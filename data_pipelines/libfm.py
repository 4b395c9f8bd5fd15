"""libfm text: `label id:1 id:1 ...`, one token per field.

Every line has the same number of tokens. The label is 0 or 1, or -1 or 1 (-1 is read as 0); rows
that are only to be scored may come without it.
"""

from collections.abc import Iterator

import polars as pl

from data_pipelines import raw
from data_pipelines import text

_TOKEN = r'^(\d+):1(?:\.0*)?$'  # an integer id with value 1


def reader(names: tuple[str, ...] | None) -> raw.Reader:
  """Reads columns `names`, the label first; by default label, field_0, field_1, ..."""
  return raw.Reader(
    columns=lambda path: _names(path, names),
    chunks=lambda path: _chunks(path, names),
  )


def _names(path: str, names: tuple[str, ...] | None) -> tuple[str, ...]:
  """The columns of a file, without the label where its first line has none."""
  first, lines = next(text.read_lines(path))
  tokens = _tokens(lines[:1])[0].split(' ')
  is_bare = ':' in tokens[0]
  columns = len(tokens) + is_bare
  if columns < 2:
    raise ValueError(f'{path}: line {first}: expected `label id:1 id:1 ...`')
  if names is not None and len(names) != columns:
    raise ValueError(f'{path}: line {first}: {columns} columns, the spec names {len(names)}')
  names = names or ('label', *(f'field_{j}' for j in range(columns - 1)))
  return names[1:] if is_bare else names


def _chunks(path: str, names: tuple[str, ...] | None) -> Iterator[raw.Chunk]:
  found = _names(path, names)
  label = names[0] if names else 'label'
  fields = [name for name in found if name != label]
  for first, lines in text.read_lines(path):
    frame = text.split_lines(_tokens(lines), ' ', len(found), path, first)
    frame.columns = list(found)
    ids = frame.with_columns(pl.col(fields).str.extract(_TOKEN))
    for name in fields:
      if ids[name].null_count():
        row = ids[name].is_null().arg_max()
        token = frame[name][row]
        raise ValueError(
          f'{path}: line {first + row}: {name}: {token!r} is not an integer id with value 1, '
          'as in 123:1'
        )
    if label in found:
      ids = ids.with_columns(pl.col(label).replace({'-1': '0', '+1': '1'}))
    yield raw.Chunk(ids, path, first, 'line')


def _tokens(lines: list[str]) -> list[str]:
  return [line.rstrip(' \t').replace('\t', ' ') for line in lines]
