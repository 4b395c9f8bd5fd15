"""Parquet files, read in chunks of rows."""

from collections.abc import Iterator

import polars as pl

from data_pipelines import damage
from data_pipelines import raw


def reader() -> raw.Reader:
  """Reads the columns of the file itself."""
  return raw.Reader(columns=_columns, chunks=_chunks)


def _columns(path: str) -> tuple[str, ...]:
  with damage.named(path, 'not a parquet file, or a damaged one'):
    types = pl.read_parquet_schema(path)
    rows = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
  if rows == 0:
    raise raw.Empty(f'{path}: file has no rows')
  return tuple(types)


def _chunks(path: str) -> Iterator[raw.Chunk]:
  _columns(path)
  first = 0
  with damage.named(path, 'parquet file is damaged'):
    rows = pl.scan_parquet(path, glob=False)
    frames = rows.collect_batches(chunk_size=raw.CHUNK_ROWS, maintain_order=True)
  while True:
    with damage.named(path, 'parquet file is damaged'):
      frame = next(frames, None)
    if frame is None:
      return
    yield raw.Chunk(frame, path, first, 'row')
    first += len(frame)
