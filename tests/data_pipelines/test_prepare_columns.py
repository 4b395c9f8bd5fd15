"""prepare.py on small logs: columns keep what they say, values their ids, later too."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from data_pipelines import blocks
from data_pipelines import encoder
from data_pipelines import numbers
from data_pipelines import prepare
from data_pipelines import spec as spec_lib
from data_pipelines import summary
from data_pipelines import text
from data_pipelines import vocabulary
from rec_sparse import schema as schema_lib


@pytest.fixture(name='make')
def _make(tmp_path):
  """Writes one frame per split, as csv or parquet, and prepares them -> (directory, schema)."""
  made = []

  def make(source='csv', options=None, **frames):
    root = tmp_path / str(len(made))
    root.mkdir()
    made.append(root)
    files = {}
    for split, data in frames.items():
      path = root / f'{split}.{source}'
      mark = pl.lit(split).alias('__index_level_0__')  # no two files of the same bytes
      frame = pl.DataFrame(data).with_columns(mark)
      frame.write_csv(path) if source == 'csv' else frame.write_parquet(path)
      files[split] = [str(path)]
    job = prepare.Job(source, files, **(options or {}))
    return root / 'out', prepare.prepare(job, root / 'out')[0]

  return make


def _rows(directory, schema, split='train'):
  """Ids within their fields."""
  data = blocks.read_all(blocks.open_split(directory, schema, split))
  return data['ids_BxF'] - np.array(schema.offsets), data.get('value_BxA')


def _all(data):
  return dict.fromkeys(schema_lib.SPLITS, data)


def test_what_decides_comes_late(make, monkeypatch):
  """Ids and quantities are decided from all training rows, the same in many chunks as in one."""
  data = {
    'y': [0, 1] * 50,
    'rate': ['1.0'] * 98 + ['2.5', ''],
    'id': ['7.0'] * 98 + ['9.0', 'NaN'],
    'text': ['1.5'] * 99 + ['x'],
    'n': [f'{i / 7}' for i in range(100)],
  }
  _, one = make(**_all(data))
  monkeypatch.setattr(text, 'PIECE_BYTES', 100)
  monkeypatch.setattr(numbers, 'CELLS', 40)
  _, many = make(**_all(data))
  assert {name: column.treatment for name, column in many.columns.items()} == {
    'rate': 'quantile',
    'id': 'categorical',
    'text': 'categorical',
    'n': 'quantile',
  }
  assert [f.name for f in one.fields] == ['id', 'text', 'rate', 'n']
  assert {name: column for name, column in many.columns.items() if name != 'n'} == {
    name: column for name, column in one.columns.items() if name != 'n'
  }
  assert one.columns['n'].exact and not many.columns['n'].exact and many.columns['n'].distinct <= 40
  assert one.fields[:3] == many.fields[:3] and len(one.columns['n'].edges) == 63


def test_text_after_too_many_numbers_is_refused(make, monkeypatch):
  monkeypatch.setattr(text, 'PIECE_BYTES', 100)
  monkeypatch.setattr(numbers, 'CELLS', 40)
  data = {'y': [0, 1] * 50, 'n': [f'{i / 7}' for i in range(99)] + ['word']}
  message = "train.csv: line 101: n: 'word' is not a number; .*under .missing. in a --spec"
  with pytest.raises(ValueError, match=message):
    make(**_all(data))


@pytest.mark.parametrize('mode', spec_lib.MODES)
@pytest.mark.parametrize('split', ['train', 'valid'])
def test_numbers_beyond_float32_are_refused(make, mode, split):
  good = {'y': [0, 1] * 50, 'age': ['18.5', '40.25'] * 50}
  bad = {'y': [0, 1] * 50, 'age': ['18.5', '40.25'] * 49 + ['18.5', '-1.7976931348623157e308']}
  message = f"{split}.csv: line 101: age: '-1.7976931348623157e308' is beyond float32"
  with pytest.raises(ValueError, match=message):
    make(options={'numeric': mode}, **_all(good) | {split: bad})


@pytest.mark.parametrize('mode', spec_lib.MODES)
def test_missing_is_apart_in_csv_and_parquet_alike(make, mode):
  price = ['0.5', 'NaN', '\\N', 'NULL', '0.5', '2.5', 'NA', '']
  user = ['7', 'nan', 'None', 'null', '7', '9', '', 'NA']
  data = {'y': [0, 1] * 4, 'price': price, 'user': user}
  floats = data | {
    'price': [0.5, None, float('nan'), None, 0.5, 2.5, None, None],
    'user': [7, None, None, None, 7, 9, None, None],
  }
  found = [
    make(source, {'numeric': mode}, **_all(frame))
    for source, frame in (('csv', data), ('parquet', data), ('parquet', floats))
  ]
  rows = [_rows(*made) for made in found]
  for ids_BxF, value_BxA in rows:
    np.testing.assert_array_equal(ids_BxF, rows[0][0])
    if value_BxA is not None:
      np.testing.assert_array_equal(value_BxA, rows[0][1])
  assert all(schema.vocabulary == found[0][1].vocabulary for _, schema in found)
  price_B = rows[0][0][:, [f.name for f in found[0][1].fields].index('price')]
  is_missing = np.array([text not in ('0.5', '2.5') for text in price])
  assert len(set(price_B[is_missing])) == 1 and price_B[1] not in price_B[~is_missing]
  if mode == 'value':
    assert (rows[0][1][is_missing] == 1).all() and price_B.tolist() == is_missing.tolist()


@pytest.mark.parametrize(
  'values, source',
  [
    (['1', '2', '7'], 'csv'),
    (['1.0', '2.00', '7e0'], 'csv'),
    ([1, 2, 7], 'parquet'),
    ([1.0, 2.0, 7.0], 'parquet'),
    (['1.0', '2', ' 7'], 'parquet'),
  ],
)
@pytest.mark.parametrize('numeric', [None, {'a': 'quantile'}])
def test_one_value_has_one_id_in_every_file(make, tmp_path, values, source, numeric):
  train = {'y': [0, 1] * 3, 'a': [1, 2, 3, 1, 2, 1]}
  directory, schema = make(options={'spec': spec_lib.Spec(numeric=numeric)}, **_all(train))
  _, new = make(source, {'vocab_from': directory}, test={'y': [0, 1, 1], 'a': values})
  ids_BxF, _ = _rows(tmp_path / '1' / 'out', new, 'test')
  assert ids_BxF[:2].tolist() == _rows(directory, schema)[0][:2].tolist()
  assert new.vocabulary == schema.vocabulary
  assert new.columns['a'].unknown == {'test': 0 if numeric else 1}  # 7 is in the last bucket


def test_the_table_says_what_became_of_each_column(make):
  data = {
    'y': [0, 1] * 50,
    'user': [f'{1000 + i % 3}.0' for i in range(100)],
    'rate': [f'{i / 8}' for i in range(100)],
    'day': ['monday'] * 100,
    'id': range(100),
  }
  test = data | {'user': ['1000'] * 75 + ['5'] * 25, 'id': range(5, 105)}
  _, schema = make(**_all(data) | {'test': test})
  lines = summary.table(schema).splitlines()
  words = {line.split()[0]: line.split() for line in lines if line}
  assert lines[0].endswith('unk. test')
  assert words['user'][1:8] == ['categorical', '4', '3', '0', '1000', 'to', '1002']
  assert words['rate'][1:8] == ['quantile', '65', '100', '0', '0', 'to', '12.375']
  assert words['user'][8:] == ['0', '%', '0', '%', '25.00', '%']
  assert words['id'][-2:] == ['5.00', '%']
  assert [line for line in lines if line.startswith('warning')] == [
    'warning: day: constant in the training rows',
    'warning: id: another value in every training row: nothing can be learned of it',
  ]


@pytest.mark.parametrize('mode', spec_lib.MODES)
def test_an_old_data_set_encodes_new_logs(make, mode):
  """As if the new rows had been the test split then; only the splits that are named are made."""
  rng = np.random.default_rng(0)
  train, new = (
    {
      'y': [0, 1] * 100,
      'user': rng.integers(0, 30, 200),
      'x': [*rng.normal(size=199), None],
      'country': rng.choice(['NA', 'DE'], 200),
    }
    for _ in range(2)
  )
  spec = spec_lib.Spec(missing={'country': ()}, group='user')
  directory, then = make(
    options={'spec': spec, 'numeric': mode, 'buckets': 8, 'min_count': 3},
    train=train,
    valid=train,
    test=new,
  )
  out, now = make(options={'vocab_from': directory}, test=new)
  assert (list(now.splits), now.fields, now.vocabulary) == (['test'], then.fields, then.vocabulary)
  assert now.splits['test'].positives == then.splits['test'].positives
  assert now.fingerprint != then.fingerprint
  for mine, theirs in zip(_rows(out, now, 'test'), _rows(directory, then, 'test'), strict=True):
    np.testing.assert_array_equal(mine, theirs)
  assert {name: c.unknown['test'] for name, c in now.columns.items()} == {
    name: c.unknown['test'] for name, c in then.columns.items()
  }
  both, again = make(options={'vocab_from': out}, train=new, valid=train)  # a copy is as good
  assert again.vocabulary == then.vocabulary and list(again.splits) == ['train', 'valid']
  assert encoder.load(both).spec == encoder.load(directory).spec


def test_vocabularies_of_another_data_set_are_refused(make):
  directory, _ = make(**_all({'y': [0, 1] * 5, 'a': ['x', 'z'] * 5}))
  swapped = vocabulary.load(directory, 'a').with_columns(id=pl.Series([0, 2, 1], dtype=pl.Int32))
  vocabulary.save(swapped, directory, 'a')
  with pytest.raises(ValueError, match='vocab: vocabularies are not those that .*schema.json name'):
    make(options={'vocab_from': directory}, test={'y': [0], 'a': ['x']})
  schema = schema_lib.load_schema(directory)
  schema_lib.save_schema(dataclasses.replace(schema, columns={}), directory)
  with pytest.raises(ValueError, match='schema.json: was not made of raw logs'):
    make(options={'vocab_from': directory}, test={'y': [0], 'a': ['x']})
