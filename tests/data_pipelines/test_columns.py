"""Cleaning: labels, what means missing, numbers; errors name file and line."""

import numpy as np
import polars as pl
import pytest

from data_pipelines import columns
from data_pipelines import raw
from data_pipelines import spec as spec_lib

MISSING = ['', 'NaN', 'nan', 'NULL', 'null', 'NA', 'None', '\\N']


def _clean(data, **parts):
  frame = pl.DataFrame(data)
  if 'y' not in data:
    frame = frame.with_columns(y=pl.lit('0'))
  chunk = raw.Chunk(frame, 'log', 11, 'line')
  named = {'label': ('y',), 'categorical': (), 'numeric': {}} | parts
  return columns.clean(chunk, spec_lib.Spec(**named))


def _text(values, **parts):
  return _clean({'a': values}, categorical=('a',), **parts).text['a'].to_list()


def _number(values, **parts):
  return _clean({'a': values}, numeric={'a': 'quantile'}, **parts).number['a'].to_list()


def test_missing_is_a_value_of_its_own():
  clean = _clean({'a': ['x', None], 'b': [None, 3]}, categorical=('a', 'b'), group='b')
  assert clean.text['a'].to_list() == ['x', ''] and clean.text['b'].to_list() == ['', '3']
  assert clean.group.to_list() == ['', '3']


@pytest.mark.parametrize('missing', MISSING)
def test_what_is_missing_in_every_column(missing):
  assert _text(['x', missing, f' {missing} ']) == ['x', '', '']
  assert _number(['1', missing, f' {missing} ']) == [1, None, None]
  assert _text([1.5, None, float('nan')]) == ['1.5', '', '']
  assert _number([1.5, None, float('nan')]) == [1.5, None, None]


def test_the_list_of_a_spec():
  assert _text(['NA', '-', ''], missing=('-',)) == ['', '', '']
  assert _text(['NA', 'nan', ''], missing=()) == ['NA', 'nan', '']  # Namibia
  only_a = {'a': ('-',)}
  assert _text(['NA', '-'], missing=only_a) == ['NA', '']
  assert _text(['NA', '-'], missing={'b': ()}) == ['', '-']


@pytest.mark.parametrize('values', [['-1', '7', '-1.00'], [-1, 7, -1], [-1.0, 7.0, -1.0]])
def test_a_missing_number_in_any_spelling(values):
  assert _number(values, missing=('-1',)) == [None, 7, None]
  assert [text != '' for text in _text(values, missing=('-1.0',))] == [False, True, False]


@pytest.mark.parametrize(
  'values',
  [
    ['0', '1'],
    [0, 1],
    [False, True],
    [0.0, 1.0],
    ['0.0', '1.0'],
    ['False', 'True'],
    ['FALSE', 'true'],
  ],
)
def test_labels(values):
  label_BxT = _clean({'y': values, 'z': values[::-1]}, label=('y', 'z')).label_BxT
  assert label_BxT.dtype == np.uint8 and label_BxT.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize('wrong', ['2', '-1', '', '0.5', 'yes', 'NaN'])
def test_label_outside_zero_and_one(wrong):
  hint = '; write 0 for -1' if wrong == '-1' else ''
  with pytest.raises(ValueError, match=f"^log: line 13: y: label '{wrong}' is not 0 or 1{hint}$"):
    _clean({'y': ['0', '1', wrong]})


@pytest.mark.parametrize(
  'wrong, why',
  [
    ('ten', 'is not a number'),
    ('inf', 'is not a number'),
    ('-inf', 'is not a number'),
    ('-1.7976931348623157e308', 'is beyond float32'),
    ('3.5e38', 'is beyond float32'),
  ],
)
def test_what_no_numeric_column_can_hold(wrong, why):
  message = f"^log: line 12: a: '{wrong}' {why}; if it means missing, name it under"
  with pytest.raises(ValueError, match=message):
    _number(['3.4e38', wrong])
  assert _number(['3.4e38', wrong], missing=(wrong,)) == [3.4e38, None]


def test_nested_types_are_refused():
  with pytest.raises(ValueError, match='^log: tags: values of type List.* are not supported$'):
    _clean({'tags': [['a', 'b']]}, categorical=('tags',))
