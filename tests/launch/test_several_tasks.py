"""Data of two tasks go through training, evaluation and a sweep."""

import json

import pytest

from launch import evaluate
from launch import main as main_lib
from launch import sweep
from launch import train

SMALL = ['--embedding_dim=4', '--batch_size=100', '--set=monitor=gauc_users']
NAMES = ('logloss', 'auc', 'gauc_impressions', 'gauc_users')


def test_every_result_has_the_metrics_of_each_task(two_tasks, tmp_path, capsys):
  out = tmp_path / 'run'
  arguments = [f'--data={two_tasks}', f'--out={out}', '--width=8', '--epochs=3', *SMALL]
  assert main_lib.call(train.main, train.FLAGS, arguments) == 0
  lines = [json.loads(line) for line in (out / 'metrics.jsonl').read_text().splitlines()]
  valid = [line for line in lines if line['split'] == 'valid']
  assert [set(line['tasks']) for line in valid] == [{'label', 'buy'}] * 3
  best = max(valid, key=lambda line: line['gauc_users'])
  assert main_lib.call(evaluate.main, evaluate.FLAGS, [f'--run={out}']) == 0
  tested = json.loads(capsys.readouterr().out.splitlines()[-1])
  summary = json.loads((out / 'summary.json').read_text())
  assert summary['best_step'] == best['step']
  for split, found in (('valid', best), ('test', tested)):
    for name in NAMES:
      assert summary[f'{split}_{name}'] == found[name]
      own = [summary[f'{split}_tasks'][task][name] for task in ('label', 'buy')]
      assert own == [found['tasks'][task][name] for task in ('label', 'buy')]
      assert own[0] != own[1] and sum(own) / 2 == pytest.approx(found[name])


def test_a_monitor_of_groups_needs_groups(toy, tmp_path, capsys):
  schema = json.loads((toy / 'schema.json').read_text()) | {'group': None}
  data = tmp_path / 'data'
  data.mkdir()
  (data / 'schema.json').write_text(json.dumps(schema))
  arguments = [f'--data={data}', f'--out={tmp_path / "run"}', *SMALL]
  assert main_lib.call(train.main, train.FLAGS, arguments) == 1
  assert 'monitor=gauc_users: the data have no groups' in capsys.readouterr().err
