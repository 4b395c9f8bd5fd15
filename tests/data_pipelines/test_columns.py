"""Cleaning: labels, missing values, log-square buckets and values."""

import math

import numpy as np
import polars as pl
import pytest

from data_pipelines import columns
from data_pipelines import raw
from data_pipelines import spec as spec_lib


def _clean(data, **parts):
  chunk = raw.Chunk(pl.DataFrame(data), 'log', 11, 'line')
  named = {'label': ('y',), 'categorical': (), 'numeric': {}} | parts
  return columns.clean(chunk, spec_lib.Spec(**named))


def test_missing_is_a_value_of_its_own():
  clean = _clean({'y': [0, 1], 'a': ['x', None], 'b': [None, 3]}, categorical=('a', 'b'), group='b')
  assert clean.fields.to_dict(as_series=False) == {'a': ['x', ''], 'b': ['', '3']}
  assert clean.group.to_list() == ['', '3']


def test_whole_floats_are_the_integers_that_pandas_made_them_of():
  clean = _clean({'y': [0] * 5, 'a': [1.0, float('nan'), None, 2.5, -3.0]}, categorical=('a',))
  assert clean.fields['a'].to_list() == ['1', '', '', '2.5', '-3']


@pytest.mark.parametrize('values', [['0', '1'], [0, 1], [False, True], [0.0, 1.0],
                                    ['0.0', '1.0'], ['False', 'True'], ['FALSE', 'true']])
def test_labels(values):
  label_BxT = _clean({'y': values, 'z': values[::-1]}, label=('y', 'z')).label_BxT
  assert label_BxT.dtype == np.uint8 and label_BxT.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize('wrong', ['2', '-1', '', '0.5', 'yes'])
def test_label_outside_zero_and_one(wrong):
  hint = '; write 0 for -1' if wrong == '-1' else ''
  with pytest.raises(ValueError, match=f"^log: line 13: y: label '{wrong}' is not 0 or 1{hint}$"):
    _clean({'y': ['0', '1', wrong]})


def test_log_square():
  number = ['-3', '0', '1.9', '2', '2.1', '1000', '', ' 5 ']
  bucket = _clean({'y': [0] * 8, 'n': number}, numeric={'n': 'bucket'}).fields['n'].to_list()
  assert bucket == ['-3', '0', '1', '2', '0', str(int(math.log(1000)**2)), '', str(int(math.log(5)**2))]
  value_BxN = _clean({'y': [0] * 8, 'n': number}, numeric={'n': 'value'}).value_BxN
  want = [-3, 0, 1.9, 2, math.log(2.1)**2, math.log(1000)**2, 0, math.log(5)**2]
  assert value_BxN.dtype == np.float32
  np.testing.assert_allclose(value_BxN[:, 0], want, rtol=1e-6)


def test_numbers_of_number_columns():
  clean = _clean({'y': [0] * 5, 'n': [7.0, 1.0, None, -2.0, -1e30]}, numeric={'n': 'bucket'})
  assert clean.fields['n'].to_list() == ['3', '1', '', '-2', str(-2**53)]


@pytest.mark.parametrize('wrong', ['ten', 'inf', '-inf'])
@pytest.mark.parametrize('mode', ['bucket', 'value'])
def test_text_in_a_numeric_column(mode, wrong):
  with pytest.raises(ValueError, match=f"^log: line 12: n: '{wrong}' is not a number$"):
    _clean({'y': ['0', '1'], 'n': ['1', wrong]}, numeric={'n': mode})


def test_nested_types_are_refused():
  with pytest.raises(ValueError, match='^log: tags: values of type List.* are not supported$'):
    _clean({'y': [0], 'tags': [['a', 'b']]}, categorical=('tags',))
