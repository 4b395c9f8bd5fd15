"""The README's block for notebooks, run as it stands, and what the API says of wrong input."""

import pathlib
import re

import numpy as np
import pytest

from launch import main as main_lib
from launch import train
import rec_sparse as rs

README = pathlib.Path(__file__).parents[2] / 'README.md'


def test_the_readmes_block_runs(toy, tmp_path, monkeypatch):
  data, run = tmp_path / 'data' / 'clicks', tmp_path / 'runs' / 'first'
  data.parent.mkdir()
  data.symlink_to(toy)
  flags = [f'--data={data}', f'--out={run}', '--epochs=0', '--width=4', '--mesh=1']
  assert main_lib.call(train.main, train.FLAGS, flags) == 0

  (block,) = re.findall(r'```python\n(.*?)```', README.read_text(), re.DOTALL)
  monkeypatch.chdir(tmp_path)
  names: dict = {}
  exec(block, names)

  assert names['probability_ExT'].shape == (700, 1)
  assert ((names['probability_ExT'] > 0) & (names['probability_ExT'] < 1)).all()
  assert names['setup'].config.width == 4 and int(names['state'].step) == 0
  assert np.isfinite(rs.evaluate(names['setup'], names['state'])['logloss'])


def test_wrong_input_names_what_is_wrong(toy):
  data = rs.open_data(toy)
  with pytest.raises(ValueError, match='dropuot: ssr_s has no such field; did you mean dropout'):
    rs.configure('ssr_s', data, dropuot=0.1)
  with pytest.raises(ValueError, match='batch_size=5000'):
    rs.setup(rs.configure('ssr_s', data, batch_size=5000), data)
  with pytest.raises(AttributeError, match="no attribute 'trian'"):
    _ = rs.trian
