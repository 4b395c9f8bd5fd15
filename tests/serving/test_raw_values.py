"""The loader encodes raw values as the data set was encoded: two programs, one meaning."""

import json

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import polars as pl
import pytest

from data_pipelines import columns as columns_lib
from data_pipelines import encoder as encoder_lib
from data_pipelines import raw
from data_pipelines import spec as spec_lib
from data_pipelines import treatment
from rec_sparse.serving import export
from rec_sparse.serving.loader import raw_values

MODES = ('categorical', 'quantile', 'log_square', 'value')
NUMBERS = ['1', '1.0', '+1', ' 1e0', '-0.0', '0', '2.50', '2.5 ', '1e-7', '.0000001', '']
TEXTS = ['a', ' a', 'b\u2003', 'NULL', 'NA', '\\N', 'nan', '7', '7.0', '007', '', 'inf', 'true']
SEEN = {  # of training rows
  'numbers': [*NUMBERS, '-1', '-1.00', '9007199254740993', '12345678.25', '5', '5', '30', '1e5'],
  'texts': [*TEXTS, 'x', 'x'],
}


def field_of(tmp_path, texts, mode, missing):
  """(the encoder of a data set of one column, the field of the loader)."""
  numeric = {} if mode == 'categorical' else {'f': mode}
  categorical = () if numeric else ('f',)
  spec = spec_lib.Spec(('y',), categorical, numeric, missing=missing)
  seen = treatment.see(*_clean(spec, texts))
  encoder = encoder_lib.learn(spec, {'f': seen}, 1, 4, [])
  about = export.encoding(encoder, 'f', tmp_path) | {
    'name': 'f',
    'rows': encoder.fields[0].vocab_size,
  }
  return encoder, raw_values.open_field(tmp_path, json.loads(json.dumps(about)))


def _clean(spec, texts):
  columns = _columns(spec, texts)
  if 'f' in columns.text:
    return treatment.TEXTS, columns.text['f']
  return treatment.NUMBERS, columns.number['f']


def _columns(spec, texts):
  frame = pl.DataFrame({'f': texts}, schema={'f': pl.String})
  return columns_lib.clean(raw.Chunk(frame, 'log', 0, 'row'), spec_lib.of_features(spec))


def check(encoder, field, texts):
  """Both encode alike: the text as it is, and what a chunk makes of it."""
  columns = _columns(encoder.spec, texts)
  expected = encoder_lib.encode(encoder, encoder_lib.ids_of(encoder), columns)
  clean = columns.text.get('f')
  cleaned = columns.number['f'].to_numpy() if clean is None else clean.to_list()
  for values in (texts, cleaned):
    found = raw_values.encode(field, values)
    np.testing.assert_array_equal(found.id_B, expected.ids_BxF[:, 0])
    np.testing.assert_array_equal(found.unknown_B, expected.unknown_BxF[:, 0])
    if found.value_B is not None:
      np.testing.assert_array_equal(found.value_B, expected.value_BxA[:, 0])


@pytest.mark.parametrize('missing', [None, ('-1', '5'), ()])
@pytest.mark.parametrize(
  'kind, mode', [*(('numbers', mode) for mode in MODES), ('texts', MODES[0])]
)
def test_known_values(tmp_path, kind, mode, missing):
  encoder, field = field_of(tmp_path, SEEN[kind], mode, missing)
  texts = [*SEEN[kind], '3', '1E5', '-7.5', '+5', '-1.0', 'nan', '1e19']
  check(encoder, field, texts if mode != 'categorical' else [*texts, '1_0', '1e999', 'Infinity'])


SPELLED = st.from_regex(r'\A[+-]?([0-9]{1,3}|[0-9]{0,2}\.[0-9]{1,3})([eE][+-]?[0-9])?\Z')


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
  st.lists(
    st.one_of(SPELLED, st.text(st.characters(codec='utf-8'), max_size=4), st.floats().map(str)),
    min_size=1,
  )
)
def test_any_text(tmp_path_factory, texts):
  encoder, field = field_of(tmp_path_factory.mktemp('any'), texts[::2], 'categorical', None)
  check(encoder, field, texts)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(SPELLED, min_size=1), st.sampled_from(MODES))
def test_any_number(tmp_path_factory, texts, mode):
  encoder, field = field_of(tmp_path_factory.mktemp('any'), texts[::2], mode, ('0',))
  check(encoder, field, texts)


def test_values_that_are_no_texts(tmp_path):
  _, field = field_of(tmp_path, ['1', '2.5', 'true', ''], 'categorical', None)
  values = [1, np.int64(1), 2.5, np.float32(2.5), True, None, float('nan'), 3]
  assert raw_values.encode(field, values).id_B.tolist() == [2, 2, 3, 3, 4, 1, 1, 0]


def test_what_is_no_number_is_named(tmp_path):
  _, field = field_of(tmp_path, ['1', '2'], 'value', None)
  for wrong, why in (('dear', 'is not a number'), ('1e39', 'is beyond'), ('inf', 'is beyond')):
    with pytest.raises(ValueError, match=f'row 1: f: {wrong!r} {why}'):
      raw_values.encode(field, ['1', wrong])
