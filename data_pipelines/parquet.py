"""Parquet files, read in chunks of rows."""

from collections.abc import Iterator

import polars as pl

from data_pipelines import raw


def reader() -> raw.Reader:
  """Reads the columns of the file itself."""
  return raw.Reader(columns=_columns, chunks=_chunks)


def _columns(path: str) -> tuple[str, ...]:
  try:
    types = pl.read_parquet_schema(path)
  except (pl.exceptions.PolarsError, OSError) as e:
    raise ValueError(f'{path}: not a parquet file ({_first_line(e)})') from None
  return tuple(types)


def _chunks(path: str) -> Iterator[raw.Chunk]:
  _columns(path)
  first = 0
  try:
    for frame in pl.scan_parquet(path, glob=False).collect_batches(chunk_size=raw.CHUNK_ROWS, maintain_order=True):
      yield raw.Chunk(frame, path, first, 'row')
      first += len(frame)
  except pl.exceptions.PolarsError as e:
    raise ValueError(f'{path}: parquet file is damaged ({_first_line(e)})') from None
  if first == 0:
    raise ValueError(f'{path}: file has no rows')


def _first_line(e: Exception) -> str:
  return str(e).partition('\n')[0]
