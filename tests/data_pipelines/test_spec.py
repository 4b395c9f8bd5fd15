"""Specs: inference, JSON, and errors that name file and column."""

import json

import pytest

from data_pipelines import spec as spec_lib

COLUMNS = ('Click', 'user', 'price', 'tax', '__index_level_0__', 'Unnamed: 0')


def _resolve(columns=COLUMNS, **parts):
  return spec_lib.resolve(spec_lib.Spec(**parts), columns, 'log.csv')


def _settled(mode='quantile', **parts):
  """With training rows that say that price and tax are numeric."""
  spec = _resolve(**parts)
  return spec_lib.settle(spec, [name for name in spec.undecided if name in ('price', 'tax')], mode)


def _read(tmp_path, content, mode='quantile'):
  path = tmp_path / 'spec.json'
  path.write_text(content if isinstance(content, str) else json.dumps(content))
  return spec_lib.read(str(path), mode)


def test_inference():
  assert _resolve().undecided == ('user', 'price', 'tax')
  spec = _settled()
  assert (spec.label, spec.categorical, spec.undecided) == (('Click',), ('user',), ())
  assert spec.numeric == {'price': 'quantile', 'tax': 'quantile'}


def test_what_the_spec_says_goes_before_inference():
  spec = _settled(categorical=('price',), mode='value', drop=('user',), group='user')
  assert (spec.categorical, spec.numeric, spec.group) == (('price',), {'tax': 'value'}, 'user')
  assert _settled(numeric={'user': 'value'}, drop=('tax',)).categorical == ('price',)
  assert _settled(label=('user', 'price'), numeric={}).categorical == ('Click', 'tax')
  assert _settled(categorical=('price',), drop=('tax',)).numeric == {}  # user is left out
  some = spec_lib.settle(_resolve(), ['price'], 'value', ['price', 'user'])
  assert (some.numeric, some.categorical) == ({'price': 'value'}, ('user', 'tax'))
  assert some.undecided == ('tax',)


def test_read(tmp_path):
  assert spec_lib.read(None, 'value') == spec_lib.Spec()
  spec = _read(
    tmp_path,
    {'label': 'a', 'numeric': ['x'], 'columns': ['a', 'x'], 'delimiter': '|'},
    mode='value',
  )
  assert spec == spec_lib.Spec(
    label=('a',), numeric={'x': 'value'}, columns=('a', 'x'), delimiter='|'
  )
  assert _read(tmp_path, {'missing': ['-']}).missing == ('-',)
  assert _read(tmp_path, {'missing': []}).missing == ()
  assert _read(tmp_path, {'missing': {'a': ['-']}}).missing == {'a': ('-',)}
  spec = _read(tmp_path, {'label': ['a', 'b'], 'numeric': {'x': 'log_square', 'z': 'value'}})
  assert (spec.label, spec.numeric) == (('a', 'b'), {'x': 'log_square', 'z': 'value'})


@pytest.mark.parametrize(
  'content,message',
  [
    ('{"label":\n nope}', 'spec.json: line 2: not JSON'),
    ('[]', 'spec.json: not a JSON object'),
    ({'lable': 'a'}, "spec.json: unknown key 'lable'; did you mean label"),
    ({'categorical': 'a'}, 'spec.json: categorical: expected a valid array'),
    ({'columns': ['a', 'a']}, 'spec.json: columns: expected a list of different'),
    ({'numeric': {'x': 'log'}}, "spec.json: numeric: x: 'log' is not one of quantile, value, log_"),
    ({'numeric': {'x': 'bucket'}}, 'spec.json: numeric: x: bucket is called log_square now'),
    ({'numeric': {'x': 3}}, 'spec.json: numeric.x: expected a valid string, got 3'),
    ({'missing': 'NA'}, 'spec.json: missing: expected a valid array or an object'),
    ({'missing': {'a': 'NA'}}, 'spec.json: missing.a: expected a valid array'),
    ({'undecided': []}, "spec.json: unknown key 'undecided'"),
    ({'group': 3}, 'spec.json: group: expected a valid string, got 3'),
  ],
)
def test_bad_json(tmp_path, content, message):
  with pytest.raises(ValueError, match=message):
    _read(tmp_path, content)
  with pytest.raises(ValueError, match='--spec=nowhere: no such file'):
    spec_lib.read('nowhere', 'quantile')


@pytest.mark.parametrize(
  'parts,message',
  [
    ({'label': ('clicks',)}, "log.csv: no column 'clicks'; did you mean Click"),
    ({'categorical': ('usr',)}, "log.csv: no column 'usr'; did you mean user"),
    ({'numeric': {'xyzzy': 'value'}}, "log.csv: no column 'xyzzy'; there are Click, user"),
    ({'group': 'session'}, "log.csv: no column 'session'"),
    ({'drop': ('nothing',)}, "log.csv: no column 'nothing'"),
    ({'missing': {'nothing': ('-',)}}, "log.csv: no column 'nothing'"),
    (
      {'label': ('user',), 'categorical': ('user',)},
      "log.csv: the spec gives column 'user' two parts",
    ),
    ({'categorical': (), 'numeric': {}}, 'log.csv: no column is left to be a feature'),
  ],
)
def test_parts_that_do_not_fit_the_columns(parts, message):
  with pytest.raises(ValueError, match=message):
    _resolve(**parts)


@pytest.mark.parametrize('columns', [('a',), ('y', 'label', 'a')])
def test_label_that_cannot_be_inferred(columns):
  with pytest.raises(ValueError, match='log.csv: which column is the label'):
    _resolve(columns)
