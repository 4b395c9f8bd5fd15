"""Vocabularies: value -> id per field, counted on training rows; id 0 is out of vocabulary."""

import pathlib
import urllib.parse
from typing import NamedTuple

import numpy as np
import polars as pl

NO_GROUP = -1  # group id of a row whose group is missing
_MERGE_ROWS = 1 << 20  # pending counts that are worth a merge


class Counts(NamedTuple):
  """How often each value was seen, kept as a merged part and chunks still to merge."""

  merged: pl.DataFrame  # value, count
  pending: tuple[pl.DataFrame, ...] = ()


EMPTY = Counts(pl.DataFrame(schema={'value': pl.String, 'count': pl.UInt64}))


def count(counts: Counts, values: pl.Series) -> Counts:
  """Adds one chunk of string values."""
  chunk = values.alias('value').to_frame().group_by('value').agg(pl.len().cast(pl.UInt64).alias('count'))
  pending = (*counts.pending, chunk)
  if sum(map(len, pending)) > len(counts.merged) + _MERGE_ROWS:
    return Counts(total(Counts(counts.merged, pending)))
  return Counts(counts.merged, pending)


def total(counts: Counts) -> pl.DataFrame:
  """All counts: columns value and count, each value once, in no order."""
  return pl.concat([counts.merged, *counts.pending]).group_by('value').agg(pl.col('count').sum())


def build(counts: Counts, min_count: int) -> pl.DataFrame:
  """Vocabulary: value, id int32, count; ids from 1 by falling count, ties by value.

  Row 0 is out of vocabulary: value null, id 0, and the number of training rows whose value is below min_count.
  """
  seen = total(counts).sort(['count', 'value'], descending=[True, False])
  kept = seen.filter(pl.col('count') >= min_count)
  rare = int(seen['count'].sum() - kept['count'].sum())
  unknown = pl.DataFrame({'value': [None], 'count': [rare]}, schema=seen.schema)
  table = pl.concat([unknown, kept]).with_row_index('id').with_columns(pl.col('id').cast(pl.Int32))
  return table.select('value', 'id', 'count')


def build_groups(counts: Counts) -> pl.DataFrame:
  """Exact factorisation: value, id int32 from 0 in the order of values; a missing value ('') is no group."""
  values = total(counts).filter(pl.col('value') != '').select(pl.col('value').sort())
  return values.with_row_index('id').select('value', pl.col('id').cast(pl.Int32))


def encode(values: pl.Series, vocabulary: pl.DataFrame, unknown: int = 0) -> np.ndarray:
  """String values -> ids int32; `unknown` for values that the vocabulary lacks."""
  joined = values.alias('value').to_frame().join(
      vocabulary.select('value', 'id'), on='value', how='left', maintain_order='left')
  return joined['id'].fill_null(unknown).to_numpy()


def save(vocabulary: pl.DataFrame, directory: pathlib.Path, field: str) -> None:
  """Writes `vocab/<field>.parquet`; characters that a file name cannot hold are percent-encoded."""
  path = vocabulary_path(directory, field)
  path.parent.mkdir(parents=True, exist_ok=True)
  vocabulary.write_parquet(path)


def load(directory: pathlib.Path, field: str) -> pl.DataFrame:
  """Reads what `save` wrote; raises ValueError naming the file when it is missing or damaged."""
  path = vocabulary_path(directory, field)
  try:
    return pl.read_parquet(path)
  except (FileNotFoundError, pl.exceptions.PolarsError) as e:
    raise ValueError(f'{path}: vocabulary is missing or damaged ({str(e).partition(chr(10))[0]})') from None


def vocabulary_path(directory: pathlib.Path, field: str) -> pathlib.Path:
  """Where the vocabulary of `field` lies in a dataset directory."""
  return pathlib.Path(directory) / 'vocab' / f'{urllib.parse.quote(field, safe=" ")}.parquet'
