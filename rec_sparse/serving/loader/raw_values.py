"""Raw values -> ids and values of a field, as the data set of the network was encoded."""

from collections.abc import Mapping, Sequence
import functools
import json
import math
import os
import re
from typing import Any, NamedTuple

import numpy as np

_CACHED = 1 << 16  # values of a column whose ids a call keeps at hand
_FLOAT32 = float(np.finfo(np.float32).max)
_WHOLE = 2**53  # from here on float64 does not tell whole numbers apart
_EN_QUAD_TO_HAIR = ''.join(map(chr, range(0x2000, 0x200B)))
_SPACE = '\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000' + _EN_QUAD_TO_HAIR
# what is a number, and what is spelled such that 1, 1.0 and 1e0 are one value
_NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|infinity|nan)', re.I | re.A)
_SPELLED = re.compile(r'[+-]?(\d+\.?\d*|\.\d+|inf|infinity)(e[+-]?\d{1,3})?', re.I | re.A)


class Encoded(NamedTuple):
  """The values of a field."""

  id_B: np.ndarray  # int32, row of the field
  value_B: np.ndarray | None  # float32 that multiplies the row; None where no value does
  unknown_B: np.ndarray  # whether no row of the field stands for the value


class Field(NamedTuple):
  """A field, and what its values are looked up in."""

  about: Mapping[str, Any]  # its entry of artifact.json
  id_of: Mapping[str | float, int]  # a text, its `_key`, or a bucket; '' is missing
  missing: frozenset[str]  # texts that mean missing
  missing_numbers: frozenset[float]  # what these are as numbers: where -1 is missing, so is -1.0


def open_field(directory: str | os.PathLike, about: Mapping[str, Any]) -> Field:
  """A field of the artifact in `directory`."""
  values = []
  if 'vocabulary' in about:
    with open(os.path.join(directory, about['vocabulary']), encoding='utf-8') as file:
      values = json.load(file)  # of ids from 1 on
  if about['treatment'] == 'categorical':
    keys = [_key(value, about['numbers']) for value in values]
  else:
    keys = [value and int(value) for value in values]
  id_of = {value: i + 1 for i, value in enumerate(values)}
  id_of |= {key: i + 1 for i, key in enumerate(keys)}

  texts = frozenset(about['missing_texts'])
  numbers = [_parsed(text) for text in texts]
  return Field(
    about,
    id_of,
    texts,
    frozenset(number for number in numbers if number is not None and not math.isnan(number)),
  )


def encode(field: Field, values: Sequence[Any]) -> Encoded:
  """Texts or numbers; None, NaN and '' are missing.

  Raises ValueError naming the row, from 0, and the column of a value that should be a number.
  """
  if field.about['treatment'] == 'categorical':
    return _categorical(field, values)
  number_B = _numbers(field, values)
  if field.about['treatment'] == 'value':
    return _value(field, number_B)
  return _bucketed(field, number_B)


def _categorical(field: Field, values: Sequence[Any]) -> Encoded:
  """Most values are texts of the vocabulary as they stand; others are looked at more closely."""

  @functools.lru_cache(_CACHED, typed=True)
  def find(value: Any) -> int:
    return field.id_of.get(_key(_present(_text(value), field), field.about['numbers']), 0)

  at_once = map(field.id_of.get, values)
  ids = [find(value) if id is None else id for id, value in zip(at_once, values, strict=True)]
  id_B = np.array(ids, np.int32)
  return Encoded(id_B, None, id_B == 0)


def _bucketed(field: Field, number_B: np.ndarray) -> Encoded:
  """Ids of quantile buckets, or of log_square: the integer part of ln(x)^2 above 2, else of x."""
  is_missing_B = np.isnan(number_B)
  number_B = np.where(is_missing_B, 0, number_B)
  if field.about['treatment'] == 'quantile':
    bucket_B = np.searchsorted(np.array(field.about['edges']), number_B, side='right')
  else:
    square_B = np.where(number_B > 2, np.log(np.maximum(number_B, 1)) ** 2, number_B)
    bucket_B = np.clip(square_B, -_WHOLE, _WHOLE).astype(np.int64)

  buckets_W, place_B = np.unique(bucket_B, return_inverse=True)
  ids = [field.id_of.get(bucket, 0) for bucket in buckets_W.tolist()]
  missing = np.int32(field.id_of.get('', 0))
  id_B = np.where(is_missing_B, missing, np.array(ids, np.int32)[place_B])
  return Encoded(id_B, None, id_B == 0)


def _value(field: Field, number_B: np.ndarray) -> Encoded:
  """Row 0 times the standardised number; row 1 where it is missing, if there is one."""
  about = field.about
  has_row = about['rows'] > 1
  is_missing_B = np.isnan(number_B)
  clipped_B = np.clip(np.where(is_missing_B, about['mean'], number_B), about['low'], about['high'])
  scaled_B = ((clipped_B - about['mean']) / about['deviation']).astype(np.float32)
  value_B = np.where(is_missing_B, np.float32(has_row), scaled_B)
  return Encoded(np.int32(has_row) * is_missing_B, value_B, is_missing_B & (not has_row))


def _numbers(field: Field, values: Sequence[Any]) -> np.ndarray:
  """float64, NaN where missing."""
  if isinstance(values, np.ndarray) and values.dtype == np.float64:
    is_missing_B = np.isin(values, sorted(field.missing_numbers))
    number_B = np.where(is_missing_B, math.nan, values)
  else:
    numbers = [_number(field, row, value) for row, value in enumerate(values)]
    number_B = np.array(numbers, np.float64)
  is_beyond_B = np.abs(number_B) > _FLOAT32
  if is_beyond_B.any():
    row = int(is_beyond_B.argmax())
    raise ValueError(f'row {row}: {field.about["name"]}: {values[row]!r} is beyond float32')
  return number_B


def _number(field: Field, row: int, value: Any) -> float:
  plain = _present(_text(value), field).strip(_SPACE)
  if not plain:
    return math.nan
  number = _parsed(plain)
  if number is None:
    raise ValueError(f'row {row}: {field.about["name"]}: {value!r} is not a number')
  return number


def _text(value: Any) -> str:
  """A value as a log would have it; '' where there is none."""
  if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
    return ''
  return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def _present(text: str, field: Field) -> str:
  """The text, or '' where it means missing."""
  plain = text.strip(_SPACE)
  is_missing = plain in field.missing or _parsed(plain) in field.missing_numbers
  return '' if is_missing else text


def _parsed(plain: str) -> float | None:
  return float(plain) if _NUMBER.fullmatch(plain) else None


def _key(text: str, numbers: bool) -> str | float:
  """What equal values of a column share: the text, or of one that holds `numbers` the number."""
  plain = text.strip(_SPACE)
  if not numbers or not _SPELLED.fullmatch(plain):
    return text
  plain = plain.removeprefix('+')
  number = _parsed(plain)
  if not re.search('[.eE]', plain) or number is None or not math.isfinite(number):
    return plain
  is_whole = number == math.floor(number) and abs(number) < _WHOLE
  return str(int(number)) if is_whole else number
