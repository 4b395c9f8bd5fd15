"""The printed commands make the same grid again."""

import json
import shlex

import fake_study
from rec_sparse import config as config_lib
from rec_sparse.scaling import records, reproduce


def real_configs(changes):
  def change(record):
    knobs = {key: record[key] for key in ('width', 'depth', 'views', 'seed', 'learning_rate')}
    own = {k: v for k, v in changes.items() if k in config_lib.settable(record['arm'])}
    return record | {'config': json.loads(config_lib.to_json(config_lib.make(record['arm'], knobs | own)))}
  return change


def commands_of(tmp_path, changes=None, seeds=3):
  directory = fake_study.write_study(
      tmp_path / 'a study', {'dense_mlp': fake_study.power_law(), 'ssr_d': fake_study.power_law()}, widths=(16, 32),
      seeds=seeds)
  fake_study.edit_trials(directory, real_configs(changes or {}))
  return reproduce.commands(records.read_study(directory), 2e-4).splitlines(), directory


def test_flags_are_those_of_study_json(tmp_path):
  lines, directory = commands_of(tmp_path)
  words = shlex.split(' '.join(line.removesuffix('\\') for line in lines[:-1]))
  assert words == ['python', '-m', 'launch.sweep', '--data=data/teacher', f'--out={directory}',
                   '--arms=dense_mlp,ssr_d', '--widths=16,32', '--depths=2', '--views=1',
                   '--learning_rates=0.001,0.003,0.01', '--seeds=3', '--epochs=1']
  assert shlex.split(lines[-1]) == ['python', '-m', 'launch.report', f'--study={directory}', '--delta=0.0002']


def test_settings_that_are_not_the_default_are_told(tmp_path):
  changes = {'batch_size': 512, 'dropout': 0.1, 'projection_ratio': 3.0, 'view_widths': (64, 32)}
  text = '\n'.join(commands_of(tmp_path, changes)[0])
  for word in ('--batch_size=512', '--set=dropout=0.1', '--set=projection_ratio=3.0', '--set=view_widths=64,32'):
    assert word in text


def test_shared_config_leaves_the_knobs_out(tmp_path):
  directory = commands_of(tmp_path)[1]
  shared = reproduce.shared_config(records.read_study(directory))
  assert shared['batch_size'] == 1024 and not reproduce.KNOBS & set(shared)
