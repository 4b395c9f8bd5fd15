"""Lines of a text file, plain or compressed, in bounded pieces."""

import bz2
from collections.abc import Iterator
import gzip
import lzma
import zlib

import polars as pl

from data_pipelines import raw

PIECE_BYTES = 1 << 24  # of decompressed text at a time

_OPEN = {  # first bytes of a compressed file -> what opens it
  b'\x1f\x8b': gzip.open,
  b'BZh': bz2.open,
  b'\xfd7zXZ\x00': lzma.open,
}
_ZSTD = b'\x28\xb5\x2f\xfd'
_NO_TEXT = {  # first bytes of what is no text -> what it is, and what to do
  b'PK\x03\x04': 'a zip archive; unpack it first',
  b'PAR1': 'a parquet file; read it with --source=parquet',
  b'\xff\xfe': 'UTF-16 text; convert it to UTF-8 first',
  b'\xfe\xff': 'UTF-16 text; convert it to UTF-8 first',
}


def read_lines(path: str) -> Iterator[tuple[int, list[str]]]:
  """Yields (number of the first line, from 1; lines without ends), but no blank lines at the end.

  Raises raw.Empty when there is no line, and ValueError naming the file when it is damaged or not
  UTF-8 text.
  """
  first = 1
  rest = b''
  for piece in _pieces(path):
    rest += piece
    filled = len(rest.rstrip(b'\r\n'))  # what follows may be the blank end of the file, and waits
    end = rest.rfind(b'\n', 0, filled)
    if end >= 0:
      lines = _decode(rest[:end], path, first)
      yield first, lines
      first += len(lines)
      rest = rest[end + 1 :]
  rest = rest.rstrip(b'\r\n')
  if rest:
    yield first, _decode(rest, path, first)
  elif first == 1:
    raise raw.Empty(f'{path}: file is empty')


def split_lines(
  lines: list[str], separator: str, columns: int, path: str, first: int
) -> pl.DataFrame:
  """Lines -> string columns named '0', '1', ...

  Raises ValueError naming the line of a wrong column count.
  """
  parts = pl.Series(lines, dtype=pl.String).str.split(separator)
  wrong = (parts.list.len() != columns).arg_max()
  if lines and len(parts[wrong]) != columns:
    count = len(parts[wrong])
    hint = '; were empty fields cut off its end?' if separator == '\t' and count < columns else ''
    raise ValueError(f'{path}: line {first + wrong}: {count} columns, expected {columns}{hint}')
  return parts.list.to_struct(fields=[str(j) for j in range(columns)]).struct.unnest()


def _pieces(path: str) -> Iterator[bytes]:
  """The bytes of a file, decompressed, about PIECE_BYTES at a time."""
  with open(path, 'rb') as f:
    start = f.read(6)
  try:
    pieces = _zstd_pieces(path) if start.startswith(_ZSTD) else _file_pieces(path, start)
    head = next(pieces, b'')
    for magic, what in _NO_TEXT.items():
      if head.startswith(magic):
        raise ValueError(f'{path}: this is {what}')
    if b'\0' in head[:1000]:
      raise ValueError(f'{path}: this is a binary file or UTF-16 text; convert it to UTF-8 first')
    yield head
    yield from pieces
  except (EOFError, zlib.error, lzma.LZMAError, pl.exceptions.PolarsError) as e:
    raise _damaged(path, e) from None
  except OSError as e:
    if e.errno is not None:  # of the system, not of a decompressor
      raise
    raise _damaged(path, e) from None


def _file_pieces(path: str, start: bytes) -> Iterator[bytes]:
  opens = open
  for magic, decompresses in _OPEN.items():
    if start.startswith(magic):
      opens = decompresses
  with opens(path, 'rb') as file:
    while piece := file.read(PIECE_BYTES):
      yield piece


def _zstd_pieces(path: str) -> Iterator[bytes]:
  """By polars, in chunks of lines; as bytes, for polars does not look whether they are UTF-8."""
  lines = pl.scan_lines(path, glob=False)
  for frame in lines.collect_batches(chunk_size=raw.CHUNK_ROWS, maintain_order=True):
    yield b''.join(line + b'\n' for line in frame['line'].cast(pl.Binary).to_list())


def _damaged(path: str, e: Exception) -> ValueError:
  return ValueError(f'{path}: compressed file is damaged or cut short ({e})')


def _decode(whole: bytes, path: str, first: int) -> list[str]:
  """Raises ValueError naming a line that is not UTF-8, or has a carriage return before its end."""
  try:
    text = whole.decode('utf-8-sig' if first == 1 else 'utf-8')
  except UnicodeDecodeError as e:
    line = first + e.object.count(b'\n', 0, e.start)
    raise ValueError(f'{path}: line {line}: not UTF-8 text') from None
  lines = text.split('\n')
  if '\r' not in text:
    return lines

  lines = [line.removesuffix('\r') for line in lines]
  for row, line in enumerate(lines):
    if '\r' in line:
      raise ValueError(f'{path}: line {first + row}: a carriage return before the end of the line')
  return lines
