"""launch.prepare end to end: real logs, every source, every kind of bad input, nothing
half-written.
"""

import gzip
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from data_pipelines import blocks
from data_pipelines import raw
from data_pipelines import staging
from data_pipelines import text
from data_pipelines import vocabulary
from launch import main as main_lib
from launch import prepare
from launch import prepare_flags
from rec_sparse import schema as schema_lib

ROOT = pathlib.Path(__file__).parents[2]
REAL = ROOT.parent / 'shared' / 'data'


def _prepare(*arguments):
  return main_lib.call(prepare.main, prepare_flags.FLAGS, list(arguments))


def _made(capsys, out, *arguments):
  """Prepares `out` -> its schema; the program must succeed and print the path last."""
  assert _prepare(*arguments, f'--out={out}') == 0, capsys.readouterr().err
  assert capsys.readouterr().out.splitlines()[-1].startswith(str(out))
  return schema_lib.load_schema(out)


def _refused(capsys, out, *arguments):
  """Prepares `out`, which must fail and leave nothing -> its one sentence."""
  before = sorted(out.parent.rglob('*'))
  assert _prepare(*arguments, f'--out={out}') == 1
  last = capsys.readouterr().err.splitlines()[-1]
  assert last.startswith('error: ')
  assert sorted(out.parent.rglob('*')) == before
  return last


def _read(out, schema, split):
  return blocks.read_all(blocks.open_split(out, schema, split))


def _decoded(out, schema, split):
  """Rows of a split as tuples of label and raw values (None: out of vocabulary)."""
  data = _read(out, schema, split)
  columns = [data['label_BxT'][:, 0].tolist()]
  for f, (field, offset) in enumerate(zip(schema.fields, schema.offsets, strict=True)):
    values = vocabulary.load(out, field.name)['value'].to_list()
    columns.append([values[i] for i in data['ids_BxF'][:, f] - offset])
  return list(zip(*columns, strict=True))


def _again(log, name):
  """The same rows in a file whose bytes are others: prepare reads no file twice."""
  zipped = log.suffix == '.gz'
  path = log.with_name(f'{name}-{log.name}')
  content = gzip.decompress(log.read_bytes()) if zipped else log.read_bytes()
  content += b'\n' * (1 + schema_lib.SPLITS.index(name))  # blank lines at the end are no rows
  path.write_bytes(gzip.compress(content) if zipped else content)
  return path


def _libfm_lines(rows, seed=0):
  rng = np.random.default_rng(seed)
  return [
    f'{rng.choice([-1, 1])} {rng.integers(0, 9)}:1 {100 + rng.zipf(1.5) % 50}:1'
    for _ in range(rows)
  ]


@pytest.fixture(name='log')
def _log(tmp_path):
  path = tmp_path / 'log.libfm.gz'
  path.write_bytes(gzip.compress('\n'.join(_libfm_lines(500)).encode()))
  return path


@pytest.fixture(name='out')
def _out(tmp_path):
  (tmp_path / 'made').mkdir()
  return tmp_path / 'made' / 'out'


def test_libfm_round_trip(capsys, log, out):
  files = {split: _again(log, split) for split in schema_lib.SPLITS}
  flags = [f'--{split}={path}' for split, path in files.items()]
  schema = _made(capsys, out, '--source=libfm', *flags)
  lines = [line.replace('-1 ', '0 ').replace(':1', '').split(' ') for line in _libfm_lines(500)]
  for split in schema_lib.SPLITS:
    assert _decoded(out, schema, split) == [(int(label), user, item) for label, user, item in lines]
  assert schema.source['files'] == {split: [str(path)] for split, path in files.items()}


def test_missing_splits_are_cut_from_train(capsys, log, out):
  schema = _made(capsys, out, '--source=libfm', f'--train={log}')
  assert {name: split.rows for name, split in schema.splits.items()} == {
    'train': 400,
    'valid': 50,
    'test': 50,
  }
  trained = {row[1:] for row in _decoded(out, schema, 'train')}
  values = [set(vocabulary.load(out, f.name)['value'].drop_nulls()) for f in schema.fields]
  # counted on training rows only
  assert values == [set(column) for column in zip(*trained, strict=True)]
  other = _made(
    capsys, out.with_name('other'), '--source=libfm', f'--train={log}', '--split_seed=1'
  )
  assert other.fingerprint != schema.fingerprint and other.splits != schema.splits


def test_only_test_is_missing(capsys, log, out):
  schema = _made(capsys, out, '--source=libfm', f'--train={log}', f'--valid={_again(log, "valid")}')
  rows = [schema.splits[split].rows for split in schema_lib.SPLITS]
  assert rows[1] == 500 and rows[0] + rows[2] == 500 and rows[2] in (55, 56)


def test_min_count_and_unseen_values(capsys, log, out, tmp_path):
  new = tmp_path / 'new.libfm'
  new.write_text('1 3:1 777:1\n')
  files = [f'--train={log}', f'--valid={new}', f'--test={_again(log, "test")}']
  schema = _made(capsys, out, '--source=libfm', *files, '--min_count=5')
  table = vocabulary.load(out, 'field_1')
  lines = [line.split()[2].removesuffix(':1') for line in _libfm_lines(500)]
  frequent = {value for value in lines if lines.count(value) >= 5}
  assert set(table['value'].drop_nulls()) == frequent and len(frequent) < len(set(lines))
  assert table['count'][0] == sum(value not in frequent for value in lines)
  assert _decoded(out, schema, 'valid') == [(1, '3', None)]


@pytest.mark.parametrize('source', ['libfm', 'csv', 'parquet'])
def test_many_chunks_and_files_make_the_same_bytes_as_one(
  capsys, out, tmp_path, monkeypatch, source
):
  frame = pl.DataFrame(
    {'label': [0, 1] * 300, 'a': [i % 7 for i in range(600)], 'b': [i * i % 41 for i in range(600)]}
  )
  for name, part in (('whole', frame), ('part-1', frame[:350]), ('part-2', frame[350:])):
    path = tmp_path / f'{name}.{source}'
    if source == 'parquet':
      part.write_parquet(path, row_group_size=40)
    elif source == 'csv':
      part.write_csv(path)
    else:
      path.write_text(''.join(f'{y} {a}:1 {b}:1\n' for y, a, b in part.rows()))
  group = f'--group={"field_0" if source == "libfm" else "a"}'
  one = _made(capsys, out, f'--source={source}', f'--train={tmp_path}/whole.{source}', group)
  monkeypatch.setattr(text, 'PIECE_BYTES', 200)
  monkeypatch.setattr(raw, 'CHUNK_ROWS', 40)
  many = _made(
    capsys,
    out.with_name('many'),
    f'--source={source}',
    f'--train={tmp_path}/part-*.{source}',
    group,
  )
  assert (
    many.splits == one.splits and many.fields == one.fields and many.splits['train'].rows == 480
  )


def test_csv_with_spec_numbers_groups_and_two_tasks(capsys, out, tmp_path):
  log, spec = tmp_path / 'log.tsv', tmp_path / 'spec.json'
  rows = [
    (i % 2, i % 3 == 0, f'u{i % 5}', i / 4, '' if i % 10 == 0 else i, 'x') for i in range(200)
  ]
  log.write_text(
    'click\tbuy\tuser\tprice\tage\tnote\n'
    + ''.join(
      f'{click}\t{int(buy)}\t{user}\t{price}\t{age}\t{note}\n'
      for click, buy, user, price, age, note in rows
    )
  )
  spec.write_text(
    json.dumps(
      {
        'label': ['click', 'buy'],
        'categorical': ['user'],
        'group': 'user',
        'numeric': {'price': 'value', 'age': 'log_square'},
      }
    )
  )
  files = [f'--{split}={_again(log, split)}' for split in schema_lib.SPLITS]
  schema = _made(capsys, out, '--source=csv', *files, f'--spec={spec}')
  assert [(f.name, f.kind) for f in schema.fields] == [
    ('user', 'categorical'),
    ('age', 'categorical'),
    ('price', 'numeric'),
  ]
  assert schema.tasks == ('click', 'buy') and schema.group == 'user' and schema.numeric_count == 1
  data = _read(out, schema, 'train')
  assert data['label_BxT'].tolist() == [[click, int(buy)] for click, buy, *_ in rows]
  price = np.array([row[3] for row in rows])
  want_B = (price - price.mean()) / price.std()
  np.testing.assert_allclose(data['value_BxA'][:, 0], want_B, rtol=1e-5)
  assert (data['ids_BxF'][:, 2] == schema.table_rows - 1).all()
  assert data['group_B'].tolist() == [i % 5 for i in range(200)]
  ages = vocabulary.load(out, 'age')
  assert ages.filter(pl.col('value') == '')['count'].item() == 20


def test_old_vocabularies(capsys, out, log, tmp_path):
  old = _made(capsys, out, '--source=libfm', f'--train={log}', '--min_count=5')
  arguments = ['--source=libfm', f'--test={log}', f'--vocab_from={out}']
  new = _made(capsys, out.with_name('new'), *arguments)
  assert new.vocabulary == old.vocabulary == new.source['vocab_from']
  assert list(new.splits) == ['test']
  assert _prepare(*arguments, f'--out={tmp_path}/made/new') == 0
  assert 'already there, nothing to do' in capsys.readouterr().out
  error = _refused(capsys, out.with_name('no'), *arguments[:2], f'--vocab_from={tmp_path}/none')
  assert f'error: {tmp_path}/none/schema.json: not found' in error


def test_rows_without_a_group_form_none(capsys, out, tmp_path):
  log = tmp_path / 'log.csv'
  rows = ''.join(f'{i % 2},{user},i\n' for i, user in enumerate(['b', '', 'a'] * 50))
  log.write_text('y,user,item\n' + rows)
  schema = _made(capsys, out, '--source=csv', f'--train={log}', '--group=user')
  groups = np.concatenate([_read(out, schema, split)['group_B'] for split in schema_lib.SPLITS])
  counts = np.unique(groups, return_counts=True)[1].tolist()
  assert counts == [50, 50, 50] and set(groups) == {-1, 0, 1}


def test_group_ids_cover_all_splits(capsys, out, tmp_path):
  for split, users in (('train', 'bab'), ('valid', 'cb'), ('test', 'da')):
    (tmp_path / f'{split}.csv').write_text(
      'y,user,item\n' + ''.join(f'1,{user},i\n' for user in users)
    )
  files = [f'--{split}={tmp_path}/{split}.csv' for split in schema_lib.SPLITS]
  schema = _made(capsys, out, '--source=csv', *files, '--group=user')
  assert [_read(out, schema, split)['group_B'].tolist() for split in schema_lib.SPLITS] == [
    [1, 0, 1],
    [2, 1],
    [3, 0],
  ]
  assert _decoded(out, schema, 'test') == [(1, None, 'i'), (1, 'a', 'i')]  # d is unseen in training


def test_synthetic(capsys, out):
  schema = _made(
    capsys,
    out,
    '--source=synthetic',
    '--rows=2000',
    '--fields=3',
    '--vocab=10',
    '--skew=short',
    '--teacher_hidden=2',
    '--seed=5',
  )
  assert len(schema.fields) == 3 and schema.splits['test'].rows == 200
  assert 0.2 < schema.teacher.logloss < 0.7 and 0.5 < schema.teacher.auc < 1
  assert schema.source['skew'] == 'short' and schema.source['hidden'] == 2


def test_again_does_nothing_and_something_else_is_refused(capsys, log, out):
  made = _made(capsys, out, '--source=libfm', f'--train={log}')
  stamps = {path: path.stat().st_mtime_ns for path in out.rglob('*')}
  assert _prepare('--source=libfm', f'--train={log}', f'--out={out}') == 0
  assert 'already there, nothing to do' in capsys.readouterr().out
  assert stamps == {path: path.stat().st_mtime_ns for path in out.rglob('*')}
  assert 'not this data set' in _refused(
    capsys, out, '--source=libfm', f'--train={log}', '--min_count=2'
  )
  assert schema_lib.load_schema(out) == made


@pytest.mark.parametrize(
  'line,message',
  [
    ('1 3:1', 'line 501: 2 columns, expected 3'),
    ('1 3:1 x:1', "line 501: field_1: 'x:1' is not an integer id"),
    ('2 3:1 4:1', "line 501: label: label '2' is not 0 or 1"),
  ],
)
def test_bad_libfm(capsys, out, tmp_path, line, message):
  path = tmp_path / 'bad.libfm'
  path.write_text('\n'.join([*_libfm_lines(500), line, '']))
  assert f'error: {path}: {message}' in _refused(capsys, out, '--source=libfm', f'--train={path}')


@pytest.mark.parametrize(
  'content,message',
  [
    ('y,a\n1,2\n2,2\n', "line 3: y: label '2' is not 0 or 1"),
    ('y,a\n1,2\n1\n', 'line 3: 1 columns, expected 2'),
    ('', 'file is empty'),
    ('y,a\n', 'no rows after the header'),
    ('z,a\n1,2\n', 'which column is the label?'),
  ],
)
@pytest.mark.parametrize('split', ['train', 'test'])
def test_bad_csv(capsys, out, tmp_path, content, message, split):
  bad, good = tmp_path / 'bad.csv', tmp_path / 'good.csv'
  bad.write_text(content)
  good.write_text('y,a\n' + '1,2\n0,3\n' * 20)
  more = _again(good, 'valid')
  if split == 'test' and content.startswith('z'):
    message = "no column 'y'; there are z, a"
  files = {'train': good, 'valid': more} | {split: bad}
  error = _refused(
    capsys, out, '--source=csv', *(f'--{name}={path}' for name, path in files.items())
  )
  assert f'error: {bad}: {message}' in error


@pytest.mark.parametrize('source', ['csv', 'parquet', 'libfm'])
def test_empty_parts_and_markers_are_skipped_and_told(capsys, out, tmp_path, source):
  frame = pl.DataFrame({'label': [0, 1] * 30, 'user': range(60)})
  (tmp_path / 'parts').mkdir()
  for i, part in enumerate((frame[:30], frame[:0], frame[30:])):
    path = tmp_path / 'parts' / f'part-{i}.{source}'
    if source == 'libfm':
      path.write_text(''.join(f'{y} {user}:1\n' for y, user in part.rows()))
    else:
      (part.write_csv if source == 'csv' else part.write_parquet)(path)
  (tmp_path / 'parts' / '_SUCCESS').touch()
  assert _prepare(f'--source={source}', f'--train={tmp_path}/parts', f'--out={out}') == 0
  said = capsys.readouterr().out
  assert f'--train: skipped markers: {tmp_path}/parts/_SUCCESS\n' in said
  assert f'--train: skipped files without rows: {tmp_path}/parts/part-1.{source}\n' in said
  assert schema_lib.load_schema(out).splits['train'].rows == 48
  empty = f'{tmp_path}/parts/part-1.{source}'
  files = [f'--train={tmp_path}/parts', f'--test={empty}']
  last = _refused(capsys, out.with_name('other'), f'--source={source}', *files)
  assert last.startswith(f'error: {empty}: ')


def test_a_column_whose_name_no_file_can_have(capsys, out, tmp_path):
  log = tmp_path / 'log.csv'
  log.write_text(f'y,{"列" * 28}\n1,2\n')
  error = _refused(capsys, out, '--source=csv', f'--train={log}')
  assert f"column '{'列' * 28}': its name takes 260 bytes" in error


def test_missing_column(capsys, out, tmp_path):
  log, spec = tmp_path / 'log.csv', tmp_path / 'spec.json'
  log.write_text('y,user\n1,2\n')
  spec.write_text('{"categorical": ["usr"]}')
  error = _refused(capsys, out, '--source=csv', f'--train={log}', f'--spec={spec}')
  assert error == f"error: {log}: no column 'usr'; did you mean user?"
  error = _refused(capsys, out, '--source=csv', f'--train={log}', '--group=session')
  assert error == f"error: {log}: no column 'session'; there are y, user"


def test_no_rows_for_a_split(capsys, out, tmp_path):
  log = tmp_path / 'log.csv'
  log.write_text('y,a\n1,2\n')
  assert f'error: {log}: no rows for the ' in _refused(
    capsys, out, '--source=csv', f'--train={log}'
  )


@pytest.mark.parametrize(
  'arguments,message',
  [
    (['--source=libfm'], '--train: missing'),
    (['--source=libfm', '--train=nowhere'], '--train=nowhere: no such file'),
    (['--source=libfm', '--train=x', '--rows=5'], '--rows: does not apply to --source=libfm'),
    (['--source=libfm', '--train=x', '--teacher_dims=5'], '--teacher_dims: does not apply'),
    (
      ['--source=csv', '--test=x', '--vocab_from=d', '--min_count=1'],
      '--min_count: does not apply to --vocab_from=d, which decides it',
    ),
    (['--source=csv', '--test=x', '--vocab_from=d', '--spec=x'], '--spec: does not apply to --voc'),
    (['--source=csv', '--vocab_from=d'], '--train: missing, and so are --valid and --test'),
    (['--source=csv', '--train=x', '--numeric=bucket'], '--numeric=bucket: bucket is called'),
    (['--source=csv', '--train=x', '--numeric=log'], "--numeric=log: 'log' is not one of quantile"),
    (['--source=synthetic', '--train=x'], '--train: does not apply to --source=synthetic'),
    (['--source=synthetic', '--min_count=1'], '--min_count: does not apply'),
    (['--source=synthetic', '--teacher_inputs=1000'], 'teacher: inputs=1000: expected 1 to 40'),
    (['--source=synthetic', '--rows=5'], 'rows=5'),
    (['--source=synthetic', '--signal=inf'], 'teacher: signal=inf: expected a finite number'),
  ],
)
def test_bad_flags(capsys, out, arguments, message):
  assert message in _refused(capsys, out, *arguments)


@pytest.mark.parametrize(
  'arguments',
  [
    ['--source=avocado'],
    ['--sauce=libfm'],
    ['--source=libfm', '--min_count=0'],
    ['--source=synthetic', '--skew=odd'],
    ['--source=synthetic', '--rows=many'],
  ],
)
def test_flags_that_absl_refuses(arguments, tmp_path):
  with pytest.raises(prepare_flags.flags.Error, match=arguments[-1].split('=')[0][2:]):
    _prepare(*arguments, f'--out={tmp_path}/out')


@pytest.mark.parametrize('error', [KeyboardInterrupt, OSError('No space left on device')])
def test_nothing_is_left_when_writing_stops(capsys, log, out, monkeypatch, error):
  """Whatever happens after the first block is on disk."""

  def stop(*_):
    assert any(out.parent.glob('.out.*/train/00000.npy'))
    raise error

  monkeypatch.setattr(schema_lib, 'save_schema', stop)
  if isinstance(error, OSError):
    assert 'No space left' in _refused(capsys, out, '--source=libfm', f'--train={log}')
  else:
    with pytest.raises(KeyboardInterrupt):
      _prepare('--source=libfm', f'--train={log}', f'--out={out}')
  assert not list(out.parent.iterdir())


def test_full_disk_names_the_block(capsys, log, out, monkeypatch):
  def full(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(np, 'save', full)
  error = _refused(capsys, out, '--source=libfm', f'--train={log}')
  assert 'train/00000.npy: could not be written' in error and 'No space left' in error


def test_as_a_program(log, out):
  """One bad and one good run in a process of their own: exit status, one line of error, no
  traceback.
  """
  command = [
    sys.executable,
    '-W',
    'error',
    '-m',
    'launch.prepare',
    '--source=libfm',
    f'--out={out}',
  ]
  bad = subprocess.run(
    [*command, f'--train={log}', 'stray'], cwd=ROOT, capture_output=True, text=True, check=False
  )
  assert (
    bad.returncode == 1
    and bad.stderr == "error: unexpected argument 'stray'; flags start with --\n"
  )
  good = subprocess.run(
    [*command, f'--train={log}'], cwd=ROOT, capture_output=True, text=True, check=False
  )
  assert good.returncode == 0 and good.stdout.splitlines()[-1] == str(out), good.stderr


def _real(*parts):
  path = REAL.joinpath(*parts)
  if not path.exists():
    pytest.skip(f'real data {os.path.relpath(path, ROOT)} is not on this machine')
  return path


def test_frappe(capsys, out, tmp_path):
  train = _real('frappe', 'train.libfm.gz')
  valid = _real('frappe', 'valid.libfm.gz')
  test = tmp_path / 'test.libfm'
  test.write_bytes(gzip.decompress(valid.read_bytes()))
  files = [f'--train={train}', f'--valid={valid}', f'--test={test}']
  schema = _made(capsys, out, '--source=libfm', *files)
  assert schema.splits['train'].rows == 202_027 and schema.splits['valid'].rows == 57_722
  assert [f.vocab_size - 1 for f in schema.fields][2:8] == [7, 7, 2, 3, 2, 9]
  # 3 of the 5,382 features are in the published test file alone
  assert schema.table_rows == 5379 + 10
  assert round(schema.splits['train'].positives[0] / 202_027, 3) == 0.335


def test_movielens(capsys, out):
  log = _real('ml1m', 'ml1m_ctr.parquet')
  schema = _made(capsys, out, '--source=parquet', f'--train={log}', '--group=user')
  names = ['user', 'item', 'gender', 'age', 'occupation', 'zipcode', 'genres', 'year']
  assert [f.name for f in schema.fields] == names and schema.tasks == ('label',)
  rows = [schema.splits[split].rows for split in schema_lib.SPLITS]
  assert sum(rows) == 739_012 and rows[1] == rows[2] == 73_901
  assert schema.fields[0].vocab_size == 6041 and schema.fields[6].vocab_size <= 302
  assert staging.is_made(out, schema.fingerprint)
  groups_B = _read(out, schema, 'test')['group_B']
  assert groups_B.max() < 6040 and len(np.unique(groups_B)) > 5000
