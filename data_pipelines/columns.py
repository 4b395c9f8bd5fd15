"""Raw chunks -> clean columns: texts, numbers, 0/1 labels; what is missing is decided here."""

from typing import NamedTuple

import numpy as np
import polars as pl

from data_pipelines import numbers
from data_pipelines import raw
from data_pipelines import spec as spec_lib

_LABELS = {
  '0': 0,
  '0.0': 0,
  'false': 0,
  'False': 0,
  'FALSE': 0,
  '1': 1,
  '1.0': 1,
  'true': 1,
  'True': 1,
  'TRUE': 1,
}


class Columns(NamedTuple):
  """Rows ready to be counted or encoded."""

  text: dict[str, pl.Series]  # '' where missing: categorical columns, and those still undecided
  number: dict[str, pl.Series]  # float64, null where missing: numeric columns
  label_BxT: np.ndarray  # uint8, 0 or 1
  group: pl.Series | None  # strings


def clean(chunk: raw.Chunk, spec: spec_lib.Spec) -> Columns:
  """The columns of a chunk that the spec gives a part.

  Raises ValueError naming file, line and column of a label that is not 0 or 1, and of a wrong
  number.
  """
  texts = dict.fromkeys((*spec.categorical, *spec.undecided))
  group = None
  if spec.group:
    group = numbers.canonical(_text(chunk, spec.group, spec))
  return Columns(
    text={name: _text(chunk, name, spec) for name in texts},
    number={name: _number(chunk, name, spec) for name in spec.numeric},
    label_BxT=_labels(chunk, spec),
    group=group,
  )


def _as_text(chunk: raw.Chunk, name: str) -> pl.Series:
  column = chunk.frame[name]
  if column.dtype.is_float():
    column = column.fill_nan(None)
  try:
    return column.cast(pl.String).fill_null('')
  except pl.exceptions.PolarsError:
    raise ValueError(
      f'{chunk.file}: {name}: values of type {column.dtype} are not supported'
    ) from None


def _text(chunk: raw.Chunk, name: str, spec: spec_lib.Spec) -> pl.Series:
  """Strings, '' where missing."""
  text = _as_text(chunk, name)
  missing = spec_lib.missing_of(spec, name)
  plain = text.str.strip_chars()
  is_missing = plain.is_in(missing)

  values = pl.Series(missing, dtype=pl.String).cast(pl.Float64, strict=False)
  values = values.drop_nulls().drop_nans()
  if len(values):  # where -1 is missing, so is -1.0
    number = plain.cast(pl.Float64, strict=False)
    is_missing |= number.is_in(values.to_list()).fill_null(False)
  return text.set(is_missing, '') if is_missing.any() else text


def _labels(chunk: raw.Chunk, spec: spec_lib.Spec) -> np.ndarray:
  """A column per task: none for rows that are only to be scored."""
  label_BxT = np.zeros((len(chunk.frame), len(spec.label)), np.uint8)
  for t, name in enumerate(spec.label):
    label_BxT[:, t] = _label(chunk, name)
  return label_BxT


def _label(chunk: raw.Chunk, name: str) -> np.ndarray:
  text = _as_text(chunk, name)
  label = text.replace_strict(_LABELS, default=None, return_dtype=pl.UInt8)
  if label.null_count():
    row = label.is_null().arg_max()
    hint = '; write 0 for -1' if text[row].startswith('-1') else ''
    raise ValueError(f'{chunk.place(row)}: {name}: label {text[row]!r} is not 0 or 1{hint}')
  return label.to_numpy()


def _number(chunk: raw.Chunk, name: str, spec: spec_lib.Spec) -> pl.Series:
  """Float64, null where missing."""
  text = _text(chunk, name, spec).str.strip_chars()
  number = text.cast(pl.Float64, strict=False).fill_nan(None)
  is_large = (number.abs() > numbers.FLOAT32).fill_null(False)
  is_text = number.is_null() & (text != '') & (text.str.to_lowercase() != 'nan')

  wrong = is_text | is_large
  if wrong.any():
    row = wrong.arg_max()
    why = 'is beyond float32' if number.is_finite()[row] else 'is not a number'
    raise ValueError(
      f'{chunk.place(row)}: {name}: {text[row]!r} {why}; if it means missing, name '
      'it under "missing" in a --spec file'
    )
  return number
