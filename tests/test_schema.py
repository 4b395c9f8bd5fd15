"""schema.json: a round trip, and one sentence with file and entry for whatever is wrong."""

import dataclasses
import json

import pytest

from rec_sparse import schema as schema_lib

SPLIT = schema_lib.Split(10, (3,), (schema_lib.Block('x.npy', 10, 1),))
SCHEMA = schema_lib.FeatureSchema(
  (schema_lib.Field('a', 'categorical', 5), schema_lib.Field('b', 'numeric', 1)),
  ('label',),
  None,
  dict.fromkeys(schema_lib.SPLITS, SPLIT),
  'x',
  {'kind': 'none'},
  schema_lib.Teacher(0.4, 1),
  columns={
    'a': schema_lib.Column(
      'quantile', 9, True, 0, True, 0.5, 2, (1.0, 1.5), notes=('so',), unknown={'test': 3}
    )
  },
)


def test_round_trip(tmp_path):
  schema_lib.save_schema(SCHEMA, tmp_path)
  assert schema_lib.load_schema(tmp_path) == SCHEMA


def test_a_split_that_is_needed(tmp_path):
  schema_lib.save_schema(dataclasses.replace(SCHEMA, splits={'test': SPLIT}), tmp_path)
  assert list(schema_lib.load_schema(tmp_path, needs=('test',)).splits) == ['test']
  with pytest.raises(ValueError, match="schema.json: has no split 'valid'; it has test alone"):
    schema_lib.load_schema(tmp_path, needs=('test', 'valid'))


@pytest.mark.parametrize(
  'content, message',
  [
    (b'{"fields":\n', 'line 2: not JSON'),
    (b'\xff\xfe{', 'not JSON .not UTF-8 text'),
    (b'[]', 'not a JSON object'),
    (b'{"format_version": 1}', 'format_version is 1, this program reads 2; make the data set'),
    (b'{"format_version": 2}', 'not a schema that launch.prepare wrote'),
  ],
)
def test_a_file_that_is_no_schema_is_named(tmp_path, content, message):
  (tmp_path / 'schema.json').write_bytes(content)
  with pytest.raises(ValueError, match=f'{tmp_path}/schema.json: {message}'):
    schema_lib.load_schema(tmp_path)


@pytest.mark.parametrize(
  'entry, value, message',
  [
    (
      ('fields', 0, 'vocab_size'),
      'a',
      r"fields.0..vocab_size: expected a valid integer, .*got 'a'",
    ),
    (
      ('fields', 0, 'vocab_size'),
      True,
      r'fields.0..vocab_size: expected a valid integer, got True',
    ),
    (('fields', 0, 'vocab_size'), 0, "fields: 'a' is categorical and has vocab_size 0"),
    (
      ('fields', 1, 'kind'),
      'foo',
      r"fields.1..kind: expected 'categorical' or 'numeric', got 'foo'",
    ),
    (('fields', 0, 'kind'), 'numeric', "fields: 'a' is numeric and has vocab_size 5"),
    (('fields', 1, 'name'), 'a', "fields: 'a' is there twice"),
    (('fields', 1, 'offset'), 4, 'field offsets do not follow'),
    (
      ('splits', 'test', 'blocks', 0, 'file'),
      3,
      r'splits.test.blocks.0..file: expected a valid string, got 3',
    ),
    (('splits', 'test', 'positives'), [], 'splits.test.positives has 0 entries for 1 tasks'),
    (('splits', 'test', 'size'), 3, 'splits.test.size: unknown entry'),
    (('splits',), {}, 'splits is empty'),
    (
      ('splits', 'tset'),
      {'rows': 1, 'positives': [0], 'blocks': []},
      "splits: 'tset' is not one of train, valid, test",
    ),
    (('columns', 'a', 'numbers'), 1, 'columns.a.numbers: expected a valid boolean, got 1'),
    (('columns', 'a', 'treatment'), 'bucket', "columns.a.treatment: expected 'categorical'"),
    (('tasks',), [], 'tasks is empty'),
    (('group',), 3, 'group: expected a valid string, got 3'),
    (('teacher',), {'auc': 0.5}, 'teacher.logloss: missing'),
    (('fingerprint',), None, 'fingerprint: expected a valid string, got None'),
  ],
)
def test_a_wrong_entry_is_named(tmp_path, entry, value, message):
  schema_lib.save_schema(SCHEMA, tmp_path)
  raw = json.loads((tmp_path / 'schema.json').read_text())
  *path, last = entry
  place = raw
  for part in path:
    place = place[part]
  place[last] = value
  (tmp_path / 'schema.json').write_text(json.dumps(raw))
  with pytest.raises(ValueError, match=f'schema.json: {message}'):
    schema_lib.load_schema(tmp_path)
