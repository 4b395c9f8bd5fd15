"""Files written in one piece or not at all."""

import pytest

from rec_sparse import record


def test_what_cannot_be_written_leaves_nothing(tmp_path):
  (tmp_path / 'there').mkdir()
  with pytest.raises(OSError, match='there'):
    record.write_json(tmp_path / 'there', {})
  with pytest.raises(ValueError, match='not JSON compliant'):
    record.write_json(tmp_path / 'number', float('nan'))
  assert [path.name for path in tmp_path.iterdir()] == ['there']
