"""launch.fit: one step, or those of a study."""

import json

import pytest

from launch import fit
from launch import main as main_lib

TABLE = ['--rows=4000', '--fields=5', '--analytic', '--devices=8']
STUDY = """
seeds = 2
learning_rates = [1e-3, 1e-2]

[common]
embedding_dim = 4

[arms.dense]
model = 'dense_mlp'
scale.width = [8, 16]

[arms.views]
model = 'ssr_s'
width = 8
"""


def call(*arguments):
  return main_lib.call(fit.main, fit.FLAGS, [*TABLE, *arguments])


def test_every_shape_of_a_study_is_looked_at_once(tmp_path, capsys):
  (tmp_path / 'study.toml').write_text(STUDY)
  assert call(f'--study={tmp_path / "study.toml"}') == 0
  said = capsys.readouterr().out.splitlines()
  found = [json.loads(line) for line in said if line.startswith('{')]
  shapes = [(one['arm'], one['shape']) for one in found]
  assert shapes == [('dense', 'dense_mlp 8x2'), ('dense', 'dense_mlp 16x2'), ('views', 'ssr_s 8x2')]
  assert said[0].startswith('dense, dense_mlp 8x2: fits')
  assert 0 < found[0]['dense_bytes'] < found[1]['dense_bytes']
  assert {one['devices'] for one in found} == {8}


def test_the_largest_table_that_fits(capsys):
  arguments = ['--fields=5', '--embedding_dim=16', '--most_rows', '--topology=h100']
  found = []
  for more in ([], ['--table_optimizer=adagrad'], ['--topology=h100:64']):
    assert main_lib.call(fit.main, fit.FLAGS, [*arguments, *more]) == 0
    found.append(json.loads(capsys.readouterr().out.splitlines()[-1])['rows'])
  adam, adagrad, many = found
  a_row = 3 * 16 * 4 + 4  # numbers and both moments, and a scratch cell
  assert adam == pytest.approx(80e9 / a_row, rel=1e-3) and adagrad > 2 * adam
  assert many == 2**31 - 1, 'as many as there are ids'


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['--study=no_such'], '--study=no_such: no such file'),
    (['--study=width', '--width=8'], '--width: not with --study, whose file says it'),
    (['--study=width', '--model=lr'], '--model: not with --study, whose file says it'),
    (['--most_rows'], '--most_rows: needs --fields, and neither --data, --rows nor --study'),
    (['--mesh=2,2'], '--mesh=2,2: there are 8 devices'),
  ],
)
def test_wrong_flags_are_one_sentence(capsys, arguments, message):
  assert call(*arguments) == 1
  assert message in capsys.readouterr().err
