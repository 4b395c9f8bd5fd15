"""Raw chunks -> clean columns: string values of categorical fields, numbers, 0/1 labels."""

from typing import NamedTuple

import numpy as np
import polars as pl

from data_pipelines import raw
from data_pipelines import spec as spec_lib

_LABELS = {
    '0': 0, '0.0': 0, 'false': 0, 'False': 0, 'FALSE': 0,
    '1': 1, '1.0': 1, 'true': 1, 'True': 1, 'TRUE': 1,
}


class Columns(NamedTuple):
  """Rows ready to be counted or encoded."""

  fields: pl.DataFrame  # string column per categorical (or bucketed) field; missing is ''
  value_BxN: np.ndarray  # float32, numeric fields in value mode; missing is 0
  label_BxT: np.ndarray  # uint8, 0 or 1
  group: pl.Series | None  # strings


def field_names(spec: spec_lib.Spec) -> tuple[list[str], list[str]]:
  """Names of the categorical fields (bucketed ones after the others) and of the numeric ones, of a resolved spec."""
  buckets = [name for name, mode in spec.numeric.items() if mode == 'bucket']
  return [*spec.categorical, *buckets], [name for name, mode in spec.numeric.items() if mode == 'value']


def clean(chunk: raw.Chunk, spec: spec_lib.Spec) -> Columns:
  """Raises ValueError naming file, line and column for a label outside {0, 1} and for a number that is none."""
  names, values = field_names(spec)
  fields = [_bucket(_number(chunk, name)) if name in spec.numeric else _text(chunk, name) for name in names]
  label = [_label(chunk, name) for name in spec.label]
  value = [_log_square(_number(chunk, name)).fill_null(0).to_numpy() for name in values]
  return Columns(
      fields=pl.DataFrame(fields),
      value_BxN=np.stack(value, axis=1).astype(np.float32) if value else np.zeros((len(chunk.frame), 0), np.float32),
      label_BxT=np.stack(label, axis=1),
      group=_text(chunk, spec.group) if spec.group else None)


def _text(chunk: raw.Chunk, name: str) -> pl.Series:
  """Strings, '' where missing. Whole floats read as integers: pandas makes floats of integers when one is missing."""
  column = chunk.frame[name]
  if column.dtype.is_float():
    whole = (column == column.floor()) & (column.abs() < 2**53)
    integer = column.set(~whole.fill_null(False), None).cast(pl.Int64).cast(pl.String)
    return integer.zip_with(whole.fill_null(False), column.fill_nan(None).cast(pl.String)).fill_null('').alias(name)
  try:
    return column.cast(pl.String).fill_null('')
  except pl.exceptions.PolarsError:
    raise ValueError(f'{chunk.file}: {name}: values of type {column.dtype} are not supported') from None


def _label(chunk: raw.Chunk, name: str) -> np.ndarray:
  text = _text(chunk, name)
  label = text.replace_strict(_LABELS, default=None, return_dtype=pl.UInt8)
  if label.null_count():
    row = label.is_null().arg_max()
    hint = '; write 0 for -1' if text[row].startswith('-1') else ''
    raise ValueError(f'{chunk.place(row)}: {name}: label {text[row]!r} is not 0 or 1{hint}')
  return label.to_numpy()


def _number(chunk: raw.Chunk, name: str) -> pl.Series:
  """Float64, null where missing."""
  text = _text(chunk, name).str.strip_chars()
  number = text.cast(pl.Float64, strict=False)
  wrong = (number.is_null() & (text != '')) | number.is_infinite().fill_null(False)
  if wrong.any():
    row = wrong.arg_max()
    raise ValueError(f'{chunk.place(row)}: {name}: {text[row]!r} is not a number')
  return number.fill_nan(None)


def _log_square(number: pl.Series) -> pl.Series:
  """ln(x)^2 above 2, else x: large counts pulled together, small ones kept apart."""
  return pl.select(pl.when(number > 2).then(number.clip(lower_bound=1).log() ** 2).otherwise(number)).to_series()


def _bucket(number: pl.Series) -> pl.Series:
  """Log-square bucket: the integer part, as text."""
  return _log_square(number).clip(-(2**53), 2**53).cast(pl.Int64).cast(pl.String).fill_null('').alias(number.name)
