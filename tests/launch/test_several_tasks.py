"""Data of two tasks go through training, evaluation and a sweep."""

import csv
import json

import pytest

from launch import evaluate
from launch import main as main_lib
from launch import report
from launch import sweep
from launch import train

STUDY = """
title = 'Two tasks'
seeds = 2
learning_rates = [1e-2]
[common]
batch_size = 300
embedding_dim = 4
depth = 1
[arms.wide]
model = 'dense_mlp'
width = 8
[arms.narrow]
model = 'dense_mlp'
width = 4
[arms.ladder]
model = 'dense_mlp'
scale.width = [4, 8]
"""
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


def test_a_study_compares_arms_by_means_over_tasks_and_tells_each(two_tasks, tmp_path, capsys):
  study = tmp_path / 'two.toml'
  study.write_text(STUDY)
  out = tmp_path / 'study'
  arguments = [f'--study={study}', f'--data={two_tasks}', f'--out={out}']
  assert main_lib.call(sweep.main, sweep.FLAGS, arguments) == 0
  assert main_lib.call(report.main, report.FLAGS, [f'--study={out}']) == 0
  assert 'test AUC | test GAUC, by impressions | test GAUC, by users' in capsys.readouterr().out
  assert 'test GAUC by users (sd)' in (out / 'report.html').read_text()
  arms = json.loads((out / 'two.json').read_text())['arms']
  wide, narrow = arms['wide'], arms['narrow']
  for name in ('auc', 'logloss'):
    own = [narrow[f'test_{name}:{task}']['mean'] for task in ('label', 'buy')]
    assert narrow[f'test_{name}']['mean'] == pytest.approx(sum(own) / 2)
    gap = narrow[f'test_{name}']['mean'] - wide[f'test_{name}']['mean']
    assert narrow[f'{name}_difference']['value'] == pytest.approx(gap, abs=1e-6)
  (first, _) = csv.DictReader((out / 'curves.csv').read_text().splitlines())
  assert float(first['test_auc:buy_mean']) == narrow['test_auc:buy']['mean']
  assert float(first['test_gauc_users_mean']) == narrow['test_gauc_users']['mean']


def test_a_monitor_of_groups_needs_groups(toy, tmp_path, capsys):
  schema = json.loads((toy / 'schema.json').read_text()) | {'group': None}
  data = tmp_path / 'data'
  data.mkdir()
  (data / 'schema.json').write_text(json.dumps(schema))
  arguments = [f'--data={data}', f'--out={tmp_path / "run"}', *SMALL]
  assert main_lib.call(train.main, train.FLAGS, arguments) == 1
  assert 'monitor=gauc_users: the data have no groups' in capsys.readouterr().err
