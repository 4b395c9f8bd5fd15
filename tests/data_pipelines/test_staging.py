"""All or nothing, and what counts as the same data set."""

import pytest

from data_pipelines import staging
from rec_sparse import schema as schema_lib


def test_whole_directory_appears(tmp_path):
  with staging.directory(tmp_path / 'deep' / 'out') as directory:
    (directory / 'file').write_text('x')
    assert not (tmp_path / 'deep' / 'out').exists()
  assert (tmp_path / 'deep' / 'out' / 'file').read_text() == 'x'
  assert [p.name for p in (tmp_path / 'deep').iterdir()] == ['out']


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_an_exception(tmp_path, error):
  with pytest.raises(error), staging.directory(tmp_path / 'out') as directory:
    (directory / 'file').write_text('x')
    raise error
  assert not list(tmp_path.iterdir())


def test_fingerprint_is_of_contents_and_options(tmp_path):
  for name, content in (('a', 'x'), ('b', 'x'), ('c', 'z')):
    (tmp_path / name).write_text(content)

  def mark(options, **files):
    given = {split: [str(tmp_path / name)] for split, name in files.items()}
    return staging.fingerprint(given, options)

  same = mark({'k': 1}, train='a')
  assert len(same) == 64 and same == mark({'k': 1}, train='b')
  others = [
    mark({'k': 2}, train='a'),
    mark({'k': 1}, train='c'),
    mark({'k': 1}, valid='a'),
    mark({'k': 1}, train='a', valid='c'),
  ]
  assert len({same, *others}) == 5


@pytest.mark.parametrize(
  'given, message',
  [
    ({'train': ['a', 'a']}, '--train=a: holds the same bytes as --train=a'),
    ({'train': ['a', 'link']}, '--train=link: holds the same bytes as --train=a'),
    ({'train': ['a', 'same', 'hard']}, '--train=hard: holds the same bytes as --train=a'),
    ({'train': ['a'], 'test': ['a']}, '--train=a: holds the same bytes as --test=a'),
    ({'train': ['a'], 'valid': ['same']}, '--valid=same: holds the same bytes as --train=a'),
    ({'train': ['a', 'same', 'other']}, None),
  ],
)
def test_the_same_rows_twice_are_refused(tmp_path, monkeypatch, capsys, given, message):
  monkeypatch.chdir(tmp_path)
  for name, content in (('a', 'x'), ('same', 'x'), ('other', 'y')):
    (tmp_path / name).write_text(content)
  (tmp_path / 'link').symlink_to('a')
  (tmp_path / 'hard').hardlink_to('a')
  if message:
    with pytest.raises(ValueError, match=message):
      staging.fingerprint(given, {})
  else:  # equal parts are no mistake for certain
    staging.fingerprint(given, {})
    said = capsys.readouterr().out
    assert said == '--train: 2 files hold the same bytes and all count: a, same\n'


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
  dead, other = tmp_path / '.out.123.partial', tmp_path / '.out.b.123.partial'
  for path in (dead, other):
    path.mkdir()
    (path / 'file').write_text('x')
  alive = tmp_path / '.out.124.partial'
  with staging.directory(tmp_path / 'out') as mine:
    mine.rename(alive)  # as if of another process: it is locked
    with staging.directory(tmp_path / 'out') as directory:
      (directory / 'file').write_text('y')
    alive.rename(mine)
    assert not dead.exists() and other.exists()
    (tmp_path / 'out' / 'file').unlink()
  assert sorted(path.name for path in tmp_path.iterdir()) == ['.out.b.123.partial', 'out']


def test_only_free_directories_are_used(tmp_path):
  assert not staging.is_made(tmp_path / 'missing', 'x')
  assert not staging.is_made(tmp_path, 'x')
  (tmp_path / 'file').write_text('x')
  for taken in (tmp_path, tmp_path / 'file'):
    with pytest.raises(ValueError, match=f'--out={taken}: not empty, and not this data set'):
      staging.is_made(taken, 'x')


def test_a_data_set_that_lacks_a_block_is_not_made(tmp_path):
  splits = {
    name: schema_lib.Split(1, (0,), (schema_lib.Block(f'{name}.npy', 1, 0),))
    for name in schema_lib.SPLITS
  }
  field = schema_lib.Field('field', 'categorical', 2)
  schema_lib.save_schema(
    schema_lib.FeatureSchema((field,), ('label',), None, splits, 'x', {}), tmp_path
  )
  for name in ('train', 'valid'):
    (tmp_path / f'{name}.npy').touch()
  with pytest.raises(ValueError, match='test.npy is missing; remove the directory'):
    staging.is_made(tmp_path, 'x')
  (tmp_path / 'test.npy').touch()
  assert staging.is_made(tmp_path, 'x')
