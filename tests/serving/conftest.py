"""A small raw log of every kind of column, prepared, and a run on it that was never trained."""

import json
import pathlib

import numpy as np
import polars as pl
import pytest

from data_pipelines import prepare
from data_pipelines import spec as spec_lib
from launch import main as main_lib
from launch import train

SPEC = {
  'label': ['click', 'buy'],
  'categorical': ['user', 'size', 'kind'],
  'numeric': {'price': 'quantile', 'views': 'log_square', 'score': 'value'},
  'drop': ['day'],
  'missing': {'score': ['-1'], 'click': ['?']},
}
ROWS = {'train': 400, 'valid': 60, 'test': 300}
SMALL = ['--width=4', '--depth=1', '--embedding_dim=4', '--batch_size=64']


def log(rows: int, seed: int) -> pl.DataFrame:
  """Rows of which some values are missing, and some known to no other seed."""
  rng = np.random.default_rng(seed)
  users = [f'u{user}' if user < 30 else f'new {seed} {user}' for user in rng.zipf(1.3, rows) % 40]
  score = rng.normal(0, 2, rows).round(3)
  columns = {
    'day': ['2026-05-01'] * rows,
    'price': rng.lognormal(2, 1, rows).round(2),
    'user': users,
    'size': rng.integers(1, 9, rows) / 2,  # 1.0 and 0.5: numbers as ids
    'kind': rng.choice(['phone', 'tv', ' pad', ''], rows),
    'views': rng.poisson(8, rows),
    'score': np.where(rng.random(rows) < 0.1, -1, score),
    'click': rng.integers(0, 2, rows),
    'buy': rng.integers(0, 2, rows),
  }
  frame = pl.DataFrame(columns)
  is_missing = pl.Series(rng.random(rows) < 0.1)
  return frame.with_columns(price=frame['price'].set(is_missing, None))


@pytest.fixture(scope='session')
def clicks(tmp_path_factory) -> pathlib.Path:
  """train.csv, valid.csv, test.csv, the data set of them in data/, and a run in run/."""
  root = tmp_path_factory.mktemp('clicks')
  files = {}
  for seed, (split, rows) in enumerate(ROWS.items()):
    files[split] = [str(root / f'{split}.csv')]
    log(rows, seed).write_csv(files[split][0])
  (root / 'spec.json').write_text(json.dumps(SPEC))
  spec = spec_lib.read(str(root / 'spec.json'), 'quantile')
  prepare.prepare(prepare.Job('csv', files, spec, min_count=2, buckets=8), root / 'data')

  flags = [f'--data={root / "data"}', f'--out={root / "run"}', '--epochs=0', '--mesh=1', *SMALL]
  assert main_lib.call(train.main, train.FLAGS, flags) == 0
  return root
