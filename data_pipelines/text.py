"""Lines of a text file, plain or gzip, in bounded pieces."""

import gzip
import zlib
from collections.abc import Iterator

import polars as pl

PIECE_BYTES = 1 << 24  # of decompressed text at a time


def read_lines(path: str) -> Iterator[tuple[int, list[str]]]:
  """Yields (number of the first line, from 1; lines without their ends).

  Raises ValueError naming the file when it is empty, cut short or not UTF-8 text.
  """
  first, rest = 1, b''
  for piece in _pieces(path):
    whole, newline, rest = (rest + piece).rpartition(b'\n')
    if newline:
      lines = _decode(whole, path, first)
      yield first, lines
      first += len(lines)
  if rest:
    yield first, _decode(rest, path, first)
  elif first == 1:
    raise ValueError(f'{path}: file is empty')


def split_lines(lines: list[str], separator: str, columns: int, path: str, first: int) -> pl.DataFrame:
  """Lines -> string columns named '0', '1', ...; raises ValueError naming the line of a wrong column count."""
  parts = pl.Series(lines, dtype=pl.String).str.split(separator)
  wrong = (parts.list.len() != columns).arg_max()
  if lines and len(parts[wrong]) != columns:
    raise ValueError(f'{path}: line {first + wrong}: {len(parts[wrong])} columns, expected {columns}')
  return parts.list.to_struct(fields=[str(j) for j in range(columns)]).struct.unnest()


def _pieces(path: str) -> Iterator[bytes]:
  try:
    with open(path, 'rb') as f:
      zipped = f.read(2) == b'\x1f\x8b'
    with gzip.open(path, 'rb') if zipped else open(path, 'rb') as f:
      while piece := f.read(PIECE_BYTES):
        yield piece
  except (EOFError, zlib.error, gzip.BadGzipFile) as e:
    raise ValueError(f'{path}: gzip file is damaged or cut short ({e})') from None


def _decode(whole: bytes, path: str, first: int) -> list[str]:
  try:
    text = whole.decode()
  except UnicodeDecodeError as e:
    line = first + whole.count(b'\n', 0, e.start)
    raise ValueError(f'{path}: line {line}: not UTF-8 text') from None
  lines = text.split('\n')
  return [line.removesuffix('\r') for line in lines] if '\r' in text else lines
