"""Rows to score: with labels or without, with a header or without, of any source."""

import polars as pl
import pytest

from data_pipelines import raw
from data_pipelines import spec as spec_lib
from data_pipelines import unlabelled

SPEC = spec_lib.Spec(
  ('click', 'buy'),
  ('user',),
  {'price': 'value'},
  group='day',
  drop=('day',),
  missing={'day': ('?',)},
)
NAMED = ('buy', 'user', 'price', 'click')  # of a file without header


def read(spec, *files, source=None, made_from='csv'):
  parts = list(unlabelled.read([str(file) for file in files], spec, source, made_from, 'input'))
  return {
    'users': [user for part in parts for user in part.text['user']],
    'prices': [price for part in parts for price in part.number.get('price', [])],
    'labels': {part.label_BxT.shape[1] for part in parts},
  }


def write(path, content):
  path.write_text(content)
  return path


@pytest.mark.parametrize('source', [None, 'csv', 'parquet'])
def test_nothing_but_features_has_to_be_there(tmp_path, source):
  frame = pl.DataFrame({'price': ['1.5', None], 'user': ['u1', 'u2'], 'click': ['maybe', '7']})
  path = tmp_path / 'rows'
  frame.write_csv(path) if source == 'csv' else frame.write_parquet(path)
  expected = {'users': ['u1', 'u2'], 'prices': [1.5, None], 'labels': {0}}
  assert read(SPEC, path, source=source) == expected


@pytest.mark.parametrize('lines', ['1,u1,2,0\n0,u2,,1\n', 'u1,2\nu2,\n'])
def test_lines_without_header_may_lack_the_labels(tmp_path, lines):
  spec = spec_lib.Spec(('click', 'buy'), ('user',), {'price': 'value'}, columns=NAMED)
  found = read(spec, write(tmp_path / 'rows.csv', lines))
  assert found == {'users': ['u1', 'u2'], 'prices': [2.0, None], 'labels': {0}}


@pytest.mark.parametrize('names', [None, ('y', 'user', 'item')])
@pytest.mark.parametrize('lines', ['1 3:1 10:1\n0 4:1 11:1\n', '3:1 10:1\n4:1 11:1\n'])
def test_libfm_may_lack_the_labels(tmp_path, lines, names):
  label, user, item = names or ('label', 'field_0', 'field_1')
  spec = spec_lib.Spec((label,), (user, item), {}, columns=names)
  path = str(write(tmp_path / 'rows', lines))
  parts = list(unlabelled.read([path], spec, None, 'libfm', 'input'))
  assert [value for part in parts for value in part.text[user]] == ['3', '4']
  assert [value for part in parts for value in part.text[item]] == ['10', '11']


def test_files_are_read_in_order_and_those_without_rows_told(tmp_path, capsys):
  one = write(tmp_path / 'one.csv', 'user,price\nu1,1\n')
  two = write(tmp_path / 'two.csv', 'price;user\n2;u2\n')
  none = write(tmp_path / 'none.csv', 'user,price\n')
  assert read(SPEC, two, none, one, two)['users'] == ['u2', 'u1', 'u2']
  assert f'--input: skipped files without rows: {none}' in capsys.readouterr().out
  with pytest.raises(raw.Empty, match=r'none.csv: no rows'):
    read(SPEC, none)


@pytest.mark.parametrize(
  'content, message',
  [
    ('user,cost\nu1,1\n', "no column 'price'; there are user, cost"),
    ('user,prize\nu1,1\n', "no column 'price'; did you mean prize"),
    ('user~price\nu1~1\n', "has one column, 'user~price'; is it delimited as"),
    ('user,price\nu1,1\nu2,dear\n', "line 3: price: 'dear' is not a number"),
    ('user,price\nu1,1\nu2\n', 'line 3: 1 columns, expected 2'),
    ('', 'file is empty'),
  ],
)
def test_what_cannot_be_read_is_named(tmp_path, content, message):
  path = write(tmp_path / 'rows.csv', content)
  with pytest.raises(ValueError, match='rows.csv: ') as error:
    read(SPEC, path)
  assert str(error.value).startswith(f'{path}: {message}')
