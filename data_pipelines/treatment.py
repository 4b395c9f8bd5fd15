"""What becomes of a column, learned from the values of all its training rows.

A column that the spec leaves open is numeric when all its values are numbers, some of them written
with a point or an exponent, and they are quantities: some are not whole; or they are whole, more
different ones than there are buckets, and fewer than half of the rows hold a value that recurs.
Other whole floats are ids, as whole numbers written without a point always are.
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
_IS_KNOWN = pl.col('value') != ''


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
  """Adds the values of one chunk: strings or, once known to be numeric, float64 with nulls."""
  if seen.cells is None:
    return seen._replace(texts=vocabulary.count(seen.texts, values))
  cells = numbers.count(seen.cells, values.drop_nulls())
  return seen._replace(cells=cells, missing=seen.missing + values.null_count())


def is_crowded(seen: Seen) -> bool:
  """Whether there are more texts than are kept of a column of numbers; exact once `merged`."""
  if seen.cells is not None:
    return False
  texts = len(seen.texts.merged) + sum(len(chunk) for chunk in seen.texts.pending)
  return texts > numbers.CELLS


def merged(seen: Seen) -> Seen:
  """With each text once."""
  return seen._replace(texts=vocabulary.Counts(vocabulary.total(seen.texts)))


def is_numeric(seen: Seen, listed: bool, buckets: int) -> bool:
  """Whether an open column is numeric; `listed`: the spec lists all ids, this is none."""
  if seen.cells is not None:
    return True
  table = vocabulary.total(seen.texts).filter(_IS_KNOWN)
  texts = table['value']
  if not numbers.are_numbers(texts) or not texts.str.contains('[.eE]').any():
    return False

  number = _parsed(texts)
  if listed or (number != number.floor()).any():
    return True
  if number.n_unique() <= buckets:
    return False
  by_number = vocabulary.summed(table.select(number, 'count'))
  recurring = by_number.filter(pl.col('count') >= _RECURS)
  return 2 * _rows(recurring) < _rows(by_number)


def as_numbers(seen: Seen) -> Seen:
  """Texts, all of numbers or missing, as numbers."""
  if seen.cells is not None:
    return seen
  table = vocabulary.total(seen.texts)
  known = table.filter(_IS_KNOWN)
  by_number = vocabulary.summed(known.select(_parsed(known['value']), 'count'))
  held = by_number.filter(pl.col('value').abs() <= numbers.FLOAT32)  # `columns` refuses the others
  return Seen(None, numbers.of_table(held), _rows(table) - _rows(known))


def make(seen: Seen, treatment: str, min_count: int, buckets: int, inferred: bool = False) -> Made:
  """Learns what encodes the column; `inferred`: that it is numeric was decided here."""
  if treatment == 'categorical':
    return _categorical(seen, min_count)
  return _numeric(seen, treatment, min_count, buckets, inferred)


def _categorical(seen: Seen, min_count: int) -> Made:
  table = vocabulary.total(seen.texts)
  texts = table.filter(_IS_KNOWN)['value']
  are_numbers = numbers.are_numbers(texts)
  number = pl.Series([], dtype=pl.Float64)
  if are_numbers:
    number = _parsed(texts)
    table = vocabulary.summed(table.with_columns(numbers.canonical(table['value'])))

  known = table.filter(_IS_KNOWN)
  column = schema_lib.Column(
    treatment='categorical',
    distinct=len(known),
    exact=True,
    numbers=are_numbers,
    missing=_rows(table) - _rows(known),
    least=number.min(),
    most=number.max(),
  )
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
    treatment=treatment,
    distinct=len(table),
    exact=not dropped,
    numbers=True,
    missing=seen.missing,
    least=table['value'].min(),
    most=table['value'].max(),
    **learned,
  )
  column = dataclasses.replace(column, notes=notes.of(column, table, inferred and not dropped))
  if treatment == 'value':
    return Made(column, None)

  empty = vocabulary.EMPTY.merged
  missing = pl.DataFrame({'value': [''], 'count': [seen.missing]}, schema=empty.schema)
  bucketed = table.select(_bucket(column, table['value']), 'count')
  counts = vocabulary.summed(pl.concat([missing, bucketed]).filter(pl.col('count') > 0))
  return Made(column, vocabulary.build(vocabulary.Counts(counts), min_count))


def _parsed(texts: pl.Series) -> pl.Series:
  return texts.str.strip_chars().cast(pl.Float64)


def _rows(table: pl.DataFrame) -> int:
  return int(table['count'].sum())


def text(column: schema_lib.Column, columns: columns_lib.Columns, name: str) -> pl.Series:
  """The rows of a field that has a vocabulary, as the texts that it holds."""
  if column.treatment != 'categorical':
    return _bucket(column, columns.number[name])
  if column.numbers:
    return numbers.canonical(columns.text[name])
  return columns.text[name]


def _bucket(column: schema_lib.Column, number: pl.Series) -> pl.Series:
  if column.treatment == 'quantile':
    return numbers.bucket(number, column.edges)
  return numbers.log_square(number)


def scale(column: schema_lib.Column) -> numbers.Scale:
  """Of a column whose values multiply an embedding."""
  return numbers.Scale(column.low, column.high, column.mean, column.deviation)


def table_rows(made: Made) -> int:
  """Rows of the table: the vocabulary's, or one for the value and one for missing, if seen."""
  if made.vocabulary is None:
    return 1 + (made.column.missing > 0)
  return len(made.vocabulary)


def meaning(made: Made) -> pl.Series:
  """What the rows of a field stand for, as texts: its part of the digest."""
  column = made.column
  learned = [column.treatment, str(table_rows(made))]
  learned += [repr(number) for number in (*scale(column), *column.edges)]
  series = pl.Series('value', learned)
  if made.vocabulary is None:
    return series
  return pl.concat([series, vocabulary.meaning(made.vocabulary)])
