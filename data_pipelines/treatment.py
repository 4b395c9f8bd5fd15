"""What becomes of a column, decided and learned from the values of all its training rows.

A column that the spec leaves open is numeric when all its values are numbers and, written as floats (with a point or
an exponent), they are quantities: some of them are not whole; or they are whole, more different ones than there are
buckets, and most rows hold a value that hardly recurs. Whole numbers written as floats are ids otherwise, as whole
numbers written without a point always are.
"""

import dataclasses
from typing import NamedTuple

import polars as pl

from data_pipelines import columns as columns_lib
from data_pipelines import notes
from data_pipelines import numbers
from data_pipelines import vocabulary
from rec_sparse import schema as schema_lib

_RECURS = 3  # rows that make a whole number look like an id


class Seen(NamedTuple):
  """The training rows of one column, counted as texts or as numbers."""

  texts: vocabulary.Counts | None  # '' is missing
  cells: numbers.Cells | None  # in place of texts
  missing: int  # rows without a number, of cells


class Made(NamedTuple):
  """What encodes a column."""

  column: schema_lib.Column
  vocabulary: pl.DataFrame | None  # none where values multiply an embedding


TEXTS = Seen(vocabulary.EMPTY, None, 0)
NUMBERS = Seen(None, numbers.EMPTY, 0)


def see(seen: Seen, values: pl.Series) -> Seen:
  """Adds the values of one chunk: strings or, once the column is known to be numeric, float64 with nulls."""
  if seen.cells is None:
    return seen._replace(texts=vocabulary.count(seen.texts, values))
  cells = numbers.count(seen.cells, values.drop_nulls())
  return seen._replace(cells=cells, missing=seen.missing + values.null_count())


def is_crowded(seen: Seen) -> bool:
  """Whether there are more different texts than are kept of a column of numbers; exact of what is merged."""
  return seen.cells is None and sum(map(len, (seen.texts.merged, *seen.texts.pending))) > numbers.CELLS


def merged(seen: Seen) -> Seen:
  """With each text once."""
  return seen._replace(texts=vocabulary.Counts(vocabulary.total(seen.texts)))


def is_numeric(seen: Seen, listed: bool, buckets: int) -> bool:
  """Whether an open column is numeric; `listed`: the spec lists the categorical columns, and this is none of them."""
  if seen.cells is not None:
    return True
  table = vocabulary.total(seen.texts).filter(pl.col('value') != '')
  texts = table['value']
  if not numbers.are_numbers(texts) or not texts.str.contains('[.eE]').any():
    return False
  number = texts.str.strip_chars().cast(pl.Float64)
  if listed or (number != number.floor()).any():
    return True
  if number.n_unique() <= buckets:
    return False
  by_number = table.select(number.alias('value'), 'count').group_by('value').agg(pl.col('count').sum())
  recurring = by_number.filter(pl.col('count') >= _RECURS)
  return 2 * recurring['count'].sum() < by_number['count'].sum()


def as_numbers(seen: Seen) -> Seen:
  """Texts, all of numbers or missing, as numbers."""
  if seen.cells is not None:
    return seen
  table = vocabulary.total(seen.texts)
  is_missing = pl.col('value') == ''
  number = pl.col('value').str.strip_chars().cast(pl.Float64).alias('value')
  known = table.filter(~is_missing).select(number, 'count')
  known = known.filter(pl.col('value').abs() <= numbers.FLOAT32)  # what is beyond is refused when rows are encoded
  known = known.group_by('value').agg(pl.col('count').sum())
  return Seen(None, numbers.of_table(known), int(table.filter(is_missing)['count'].sum()))


def make(seen: Seen, treatment: str, min_count: int, buckets: int, inferred: bool = False) -> Made:
  """Learns what encodes the column; `inferred`: that it is numeric was decided here."""
  if treatment == 'categorical':
    return _categorical(seen, min_count)
  return _numeric(seen, treatment, min_count, buckets, inferred)


def _categorical(seen: Seen, min_count: int) -> Made:
  table = vocabulary.total(seen.texts)
  is_known = pl.col('value') != ''
  texts = table.filter(is_known)['value']
  are_numbers = numbers.are_numbers(texts)
  number = pl.Series([], dtype=pl.Float64)
  if are_numbers:
    number = texts.str.strip_chars().cast(pl.Float64)
    table = table.with_columns(numbers.canonical(table['value'])).group_by('value').agg(pl.col('count').sum())
  known = table.filter(is_known)
  column = schema_lib.Column(
      treatment='categorical', distinct=len(known), exact=True, missing=_rows(table) - _rows(known),
      numbers=are_numbers, least=number.min(), most=number.max())
  column = dataclasses.replace(column, notes=notes.of(column, known, False))
  return Made(column, vocabulary.build(vocabulary.Counts(table), min_count))


def _numeric(seen: Seen, treatment: str, min_count: int, buckets: int, inferred: bool) -> Made:
  seen = as_numbers(seen)
  table, dropped = numbers.total(seen.cells)
  learned = {}
  if treatment == 'quantile':
    learned = {'edges': numbers.edges(table, buckets, dropped)}
  elif treatment == 'value':
    learned = numbers.scale(table)._asdict()
  column = schema_lib.Column(
      treatment=treatment, distinct=len(table), exact=not dropped, missing=seen.missing, numbers=True,
      least=table['value'].min(), most=table['value'].max(), **learned)
  column = dataclasses.replace(column, notes=notes.of(column, table, inferred and not dropped))
  if treatment == 'value':
    return Made(column, None)
  missing = pl.DataFrame({'value': [''], 'count': [seen.missing]}, schema=vocabulary.EMPTY.merged.schema)
  counts = pl.concat([missing, table.select(_bucket(column, table['value']).alias('value'), 'count')])
  counts = counts.filter(pl.col('count') > 0).group_by('value').agg(pl.col('count').sum())
  return Made(column, vocabulary.build(vocabulary.Counts(counts), min_count))


def _rows(table: pl.DataFrame) -> int:
  return int(table['count'].sum())


def text(column: schema_lib.Column, columns: columns_lib.Columns, name: str) -> pl.Series:
  """The rows of a field that has a vocabulary, as the texts that it holds."""
  if column.treatment != 'categorical':
    return _bucket(column, columns.number[name])
  return numbers.canonical(columns.text[name]) if column.numbers else columns.text[name]


def _bucket(column: schema_lib.Column, number: pl.Series) -> pl.Series:
  return numbers.bucket(number, column.edges) if column.treatment == 'quantile' else numbers.log_square(number)


def meaning(made: Made) -> pl.Series:
  """What the rows of a field stand for, as texts: its part of the digest."""
  column = made.column
  learned = [column.treatment, *map(repr, (column.low, column.high, column.mean, column.deviation, *column.edges))]
  values = [] if made.vocabulary is None else [vocabulary.meaning(made.vocabulary)]
  return pl.concat([pl.Series('value', learned), *values])
