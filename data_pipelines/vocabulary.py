"""Vocabularies: value -> id per field, counted on training rows; id 0 is out of vocabulary."""

from collections.abc import Callable, Mapping
import hashlib
import json
import pathlib
from typing import NamedTuple
import urllib.parse

import numpy as np
import polars as pl

from data_pipelines import damage

NO_GROUP = -1  # group id of a row whose group is missing
_MERGE_ROWS = 1 << 20  # pending counts that are worth a merge
_NAME_BYTES = 255  # of a file name, on most systems
_HASH_VALUES = 1 << 20  # values that are hashed at a time; a part of what the digest is


class Counts(NamedTuple):
  """How often each value was seen, kept as a merged part and chunks still to merge."""

  merged: pl.DataFrame  # value, count
  pending: tuple[pl.DataFrame, ...] = ()


EMPTY = Counts(pl.DataFrame(schema={'value': pl.String, 'count': pl.UInt64}))


def count(counts: Counts, values: pl.Series) -> Counts:
  """Adds one chunk of string values."""
  rows = pl.len().cast(pl.UInt64).alias('count')
  chunk = values.alias('value').to_frame().group_by('value').agg(rows)
  pending = (*counts.pending, chunk)
  if sum(len(chunk) for chunk in pending) > len(counts.merged) + _MERGE_ROWS:
    return Counts(total(Counts(counts.merged, pending)))
  return Counts(counts.merged, pending)


def total(counts: Counts) -> pl.DataFrame:
  """All counts: columns value and count, each value once, in no order."""
  return summed(pl.concat([counts.merged, *counts.pending]))


def summed(table: pl.DataFrame) -> pl.DataFrame:
  """A table of values and counts with each value once, in no order."""
  return table.group_by('value').agg(pl.col('count').sum())


def build(counts: Counts, min_count: int) -> pl.DataFrame:
  """Vocabulary: value, id int32, count; ids from 1 by falling count, ties by value.

  Row 0 is out of vocabulary: value null, id 0, and the number of training rows whose value is below
  min_count.
  """
  seen = total(counts).sort(['count', 'value'], descending=[True, False])
  kept = seen.filter(pl.col('count') >= min_count)
  rare = int(seen['count'].sum() - kept['count'].sum())
  unknown = pl.DataFrame({'value': [None], 'count': [rare]}, schema=seen.schema)
  table = pl.concat([unknown, kept]).with_row_index('id').with_columns(pl.col('id').cast(pl.Int32))
  return table.select('value', 'id', 'count')


def build_groups(counts: Counts) -> pl.DataFrame:
  """Exact factorisation: value, id int32 from 0 in the order of values.

  A missing value ('') is no group.
  """
  values = total(counts).filter(pl.col('value') != '').select(pl.col('value').sort())
  return values.with_row_index('id').select('value', pl.col('id').cast(pl.Int32))


Encode = Callable[[pl.Series], np.ndarray]  # texts -> ids int32


def encoder(vocabulary: pl.DataFrame, unknown: int = 0) -> Encode:
  """Hashes the vocabulary once; then a call costs what its values cost, at any size of it.

  What the vocabulary lacks gets the id `unknown`.
  """
  known = vocabulary.filter(pl.col('value').is_not_null())
  values_of = pl.Enum(known['value'])
  place = pl.first().cast(values_of, strict=False).to_physical()  # kept, for making it is hashing

  def encode(values: pl.Series) -> np.ndarray:
    places = values.to_frame().select(place).to_series()
    return known['id'].gather(places).fill_null(unknown).to_numpy()

  return encode


def check_name(field: str) -> None:
  """Raises ValueError when no file can be named after the field."""
  length = len(vocabulary_path(pathlib.Path(), field).name)
  if length > _NAME_BYTES:
    raise ValueError(
      f'column {field!r}: its name takes {length} bytes in the name of a file, '
      f'which has at most {_NAME_BYTES}; shorten it'
    )


def digest(tasks: tuple[str, ...], meanings: Mapping[str, pl.Series]) -> str:
  """SHA-256 in hexadecimal of what a trained network takes for granted of its data.

  These are the tasks, the fields, and for each field, in the order of the table, the texts of
  `meanings` that its rows stand for. Data sets of equal digest may share a table.
  """
  sizes = [[name, len(texts)] for name, texts in meanings.items()]
  digest = hashlib.sha256(json.dumps([tasks, sizes]).encode())
  for texts in meanings.values():
    for start in range(0, len(texts), _HASH_VALUES):
      part = texts[start : start + _HASH_VALUES]
      digest.update(part.str.len_bytes().to_numpy().astype('<u4').tobytes())
      digest.update(part.str.join('').item().encode())
  return digest.hexdigest()


def meaning(vocabulary: pl.DataFrame) -> pl.Series:
  """The values of a vocabulary in the order of their ids, from id 1 on: its part of the digest."""
  return vocabulary.sort('id')['value'][1:]


def save(vocabulary: pl.DataFrame, directory: pathlib.Path, field: str) -> None:
  """Writes `vocab/<field>.parquet`; characters that a file name cannot hold are percent-encoded."""
  path = vocabulary_path(directory, field)
  path.parent.mkdir(parents=True, exist_ok=True)
  vocabulary.write_parquet(path)


def load(directory: pathlib.Path, field: str) -> pl.DataFrame:
  """Reads what `save` wrote; raises ValueError naming the file when it is missing or damaged."""
  path = vocabulary_path(directory, field)
  with damage.named(path, 'vocabulary is missing or damaged'):
    return pl.read_parquet(path)


def vocabulary_path(directory: pathlib.Path, field: str) -> pathlib.Path:
  """Where the vocabulary of `field` lies in a dataset directory."""
  return pathlib.Path(directory) / 'vocab' / f'{urllib.parse.quote(field, safe=" ")}.parquet'
