"""Files written in one piece or not at all; the revision of the code that a record names."""

import pathlib
import subprocess

import pytest

from rec_sparse import record


def test_what_cannot_be_written_leaves_nothing(tmp_path):
  (tmp_path / 'there').mkdir()
  with pytest.raises(OSError, match='there'):
    record.write_json(tmp_path / 'there', {})
  with pytest.raises(ValueError, match='not JSON compliant'):
    record.write_json(tmp_path / 'number', float('nan'))
  assert [path.name for path in tmp_path.iterdir()] == ['there']


def git(directory, *arguments):
  identity = ['-c', 'user.name=a', '-c', 'user.email=a@b']
  command = ['git', *identity, '-C', str(directory), *arguments]
  return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_record_names_the_revision_of_the_code_where_git_tracks_it(tmp_path):
  module, copy = tmp_path / 'module.py', tmp_path / 'venv.py'
  for path in (module, copy):
    path.write_text('x = 1')
  assert record.revision(module) == ''
  record.revision.cache_clear()
  git(tmp_path, 'init')
  git(tmp_path, 'add', module.name)
  git(tmp_path, 'commit', '-m', 'first')
  head = git(tmp_path, 'rev-parse', 'HEAD')
  assert (record.revision(module), record.revision(copy)) == (head, '')
  record.revision.cache_clear()
  module.write_text('x = 2')
  assert record.revision(module) == f'{head}-dirty'
  assert record.versions().get('revision', '') == record.revision(pathlib.Path(record.__file__))
