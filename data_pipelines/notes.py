"""What people should know of a column before they train on it, from its training rows."""

import polars as pl

from data_pipelines import numbers
from rec_sparse import schema as schema_lib

_UNITS = {'seconds': 1, 'milliseconds': 1_000, 'microseconds': 1_000_000}
_FIRST = 946_684_800  # the year 2000 in unix seconds
_LAST = 2_208_988_800  # the year 2040
_ISO = r'^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}.*)?$'
_MOSTLY = 0.9  # share of the rows


def of(column: schema_lib.Column, known: pl.DataFrame, inferred: bool) -> tuple[str, ...]:
  """Sentences about a column with the values and counts `known`, missing ones left out.

  `inferred`: that it is numeric is a guess.
  """
  notes = _of_counts(column, known)
  if column.treatment == 'categorical' and column.numbers:
    notes += _of_numbers_as_ids(known)
  elif column.treatment == 'categorical':
    notes += _of_texts(known)
  if column.numbers and len(known) > 1:
    notes += _of_times(column.least, column.most)
  if inferred and _whole(known['value']):
    notes.append(
      'whole numbers of which few recur, taken for quantities; if they are ids, list '
      'the column under "categorical" in a spec'
    )
  if column.treatment == 'value' and len(known):
    notes += _of_fences(column)
  return tuple(notes)


def _of_counts(column: schema_lib.Column, known: pl.DataFrame) -> list[str]:
  if len(known) + (column.missing > 0) <= 1:
    return ['constant in the training rows']
  if column.treatment == 'categorical' and known['count'].max() == 1 and not column.missing:
    return ['another value in every training row: nothing can be learned of it']
  return []


def _of_times(least: float, most: float) -> list[str]:
  return [
    f'looks like times in unix {unit}; make hours and weekdays of them, or drop the column'
    for unit, parts in _UNITS.items()
    if _FIRST * parts <= least and most < _LAST * parts
  ]


def _of_fences(column: schema_lib.Column) -> list[str]:
  beyond = []
  if column.least < column.low:
    beyond.append(f'below {column.low:g}')
  if column.most > column.high:
    beyond.append(f'above {column.high:g}')
  if not beyond:
    return []
  return [
    f'values {" or ".join(beyond)} are read as that; if they mean missing, name them under '
    '"missing" in a spec'
  ]


def _of_texts(known: pl.DataFrame) -> list[str]:
  texts = known['value']
  if len(texts) > 1 and texts.str.contains(_ISO).all():
    return ['looks like dates or times; make hours and weekdays of them, or drop the column']
  is_number = numbers.spelled(texts)
  share = known.filter(is_number)['count'].sum() / max(known['count'].sum(), 1)
  has_floats = texts.filter(is_number).str.contains('[.eE]').any()
  if share < _MOSTLY or not has_floats or is_number.all():
    return []
  other = texts.filter(~is_number).min()
  return [
    f'ids, though {share:.0%} of its values are numbers: if texts such as {other!r} mean '
    'missing, name them under "missing" in a spec'
  ]


def _of_numbers_as_ids(known: pl.DataFrame) -> list[str]:
  if len(known) > 1 and not _whole(known['value'].cast(pl.Float64)):
    return ['ids, though its values are numbers that are not whole, since the spec says so']
  return []


def _whole(number: pl.Series) -> bool:
  return bool((number == number.floor()).all())
