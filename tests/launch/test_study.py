"""A study file from launch.sweep to launch.report: table, picture and chart; shared trials."""

import contextlib
import csv
import json
import pathlib
import re

import numpy as np
import pytest

from data_pipelines import compact
from launch import main as main_lib
from launch import report
from launch import sweep
from launch import sweep_flags
from rec_sparse import metrics
from rec_sparse import plan as plan_lib
from rec_sparse import schema as schema_lib
from rec_sparse.runs import stopping
from rec_sparse.runs import trials
from rec_sparse.scaling import paired_rows

DOCS = pathlib.Path(__file__).parents[2] / 'docs'
STUDY = """
title = 'Small'
seeds = 2
learning_rates = [1e-2, 3e-2]
[common]
batch_size = 100
embedding_dim = 4
views = 2
width = 6
depth = 1
[arms.ssr_d]
model = 'ssr_d'
[arms.relu]
model = 'ssr_d'
gate = 'relu'
published = -0.1
published_auc = 0.625
[arms.broken]
model = 'ssr_s'
width = 20
"""
LADDER = """
[arms.ladder]
model = 'ssr_d'
scale.iterations = [1, 5]
[arms.relu_ladder]
model = 'ssr_d'
gate = 'relu'
scale.width = [6]
"""


@pytest.fixture
def study(tmp_path):
  path = tmp_path / 'small.toml'
  path.write_text(STUDY)
  return path


def train(toy, out, *studies):
  names = ','.join(map(str, studies))
  arguments = [f'--study={names}', f'--data={toy}', f'--out={out}']
  return main_lib.call(sweep.main, sweep.FLAGS, arguments)


def tell(out):
  return main_lib.call(report.main, report.FLAGS, [f'--study={out}'])


def fail_broken(opened, configs, *more, real=trials.run_group):
  if configs[0].model == 'ssr_s':
    raise RuntimeError('broken')
  return real(opened, configs, *more)


def test_a_study_end_to_end(toy, tmp_path, study, capsys, monkeypatch):
  out = tmp_path / 'out'
  monkeypatch.setattr(trials, 'run_group', fail_broken)
  assert train(toy, out, study) == 0
  assert tell(out) == 0
  assert '| relu |' in capsys.readouterr().out
  assert not (out / 'report.html').exists()
  found = json.loads((out / 'small.json').read_text())
  assert list(found['arms']) == ['ssr_d', 'relu', 'broken'] and found['test_rows'] == 700
  committed = json.loads((DOCS / 'ml1m' / 'ablations' / 'table4.json').read_text())
  assert set(committed) <= set(found)
  assert set(committed['arms']['ssr_d']) <= set(found['arms']['ssr_d'])
  reference, relu, broken = found['arms'].values()
  assert reference['auc_difference'] is None and reference['against'] is None
  assert (
    broken['trials_lost'] == 4
    and broken['auc_difference'] is None
    and broken['learning_rate'] is None
  )
  _check_the_published_beside_ours(out, relu)
  assert (out / 'small.png').read_bytes()[:4] == b'\x89PNG'
  _check_against_the_trials(toy, out, reference, relu)

  records = {path: path.stat().st_mtime_ns for path in (out / 'trials').iterdir()}
  more = tmp_path / 'more.toml'
  more.write_text(STUDY.partition('[arms.broken]')[0] + LADDER)
  assert train(toy, out, study, more) == 0  # trains what no other arm has: T = 1
  after = {path: path.stat().st_mtime_ns for path in (out / 'trials').iterdir()}
  assert len(after) == len(records) + 4 and records.items() <= after.items()
  assert tell(out) == 0
  assert json.loads((out / 'small.json').read_text())['arms'] == found['arms']
  assert json.loads((out / 'more.json').read_text())['arms']['relu'] == relu
  _check_the_chart(out)
  _check_that_it_can_be_made_again(toy, out, tmp_path / 'again', monkeypatch)

  logits = list((out / 'logits').iterdir())
  for damaged in (b'', b'not an array', logits[0].read_bytes()[:-4]):
    for path in logits:
      path.write_bytes(damaged)
    assert tell(out) == 1
    assert re.match(
      rf'error: {out}/logits/\w+.npy: damaged \(', capsys.readouterr().err.splitlines()[-1]
    )


def _check_that_it_can_be_made_again(toy, out, again, monkeypatch):
  with monkeypatch.context() as stopped:
    stopped.setattr(stopping, 'on_signals', lambda: contextlib.nullcontext(lambda: True))
    assert train(toy, again, out / 'study.json') == main_lib.INTERRUPTED
  of = [json.loads((directory / 'study.json').read_text()) for directory in (out, again)]
  assert of[0]['studies'] == of[1]['studies']


def _check_the_chart(out):
  """Two arms of one model; one along an axis that is no knob, one whose trials a row shares."""
  assert list(json.loads((out / 'verdicts.json').read_text())) == ['ladder', 'relu_ladder']
  rows = list(csv.DictReader((out / 'curves.csv').read_text().splitlines()))
  assert [(r['arm'], r['width'], r['iterations'], r['seeds']) for r in rows] == [
    ('ladder', '6', '1', '2'),
    ('ladder', '6', '5', '2'),
    ('relu_ladder', '6', '', '2'),
  ]
  page = (out / 'report.html').read_text()
  assert 'w6 d1 v2 iterations=5' in page and '>iterations<' in page
  assert page.count('python -m launch.sweep') == 2


def _check_against_the_trials(toy, out, reference, relu):
  """The difference is that of the logits on disk at the rates that validation chose."""
  trials = [json.loads(path.read_text()) for path in (out / 'trials').iterdir()]
  logits = {}
  for name, arm, gate in (('reference', reference, 'ics'), ('relu', relu, 'relu')):
    own = [
      t for t in trials if t['status'] == 'finished' and t['config']['options']['gate'] == gate
    ]
    mean = {
      rate: np.mean([t['valid_logloss'] for t in own if t['learning_rate'] == rate])
      for rate in (1e-2, 3e-2)
    }
    assert arm['learning_rate'] == min(mean, key=mean.get)
    best = sorted(
      (t for t in own if t['learning_rate'] == arm['learning_rate']), key=lambda t: t['seed']
    )
    assert arm['test_auc']['mean'] == pytest.approx(np.mean([t['test_auc'] for t in best]))
    logits[name] = np.stack([np.load(out / 'logits' / f'{t["run_id"]}.npy') for t in best])
    assert logits[name].shape == (2, 700, 1)
  from data_pipelines import blocks
  from rec_sparse.runs import evaluation

  split = blocks.open_split(toy, schema_lib.load_schema(toy), 'test')
  label_ExT = evaluation.labels(split).label_ExT
  assert metrics.exact_auc(logits['relu'][0, :, 0], label_ExT[:, 0]) > 0.5
  expected = paired_rows.auc_difference(logits['reference'], logits['relu'], label_ExT)
  assert relu['auc_difference']['value'] == pytest.approx(expected.value)
  assert relu['auc_difference']['interval'] == pytest.approx(expected.interval)
  assert relu['auc_difference']['value'] == pytest.approx(
    relu['test_auc']['mean'] - reference['test_auc']['mean'], abs=1e-9
  )
  assert relu['logloss_difference']['value'] == pytest.approx(
    relu['test_logloss']['mean'] - reference['test_logloss']['mean'], abs=1e-6
  )


def test_a_table_waits_for_every_trial(toy, one_class, tmp_path, study, capsys, monkeypatch):
  """Stopped before the first trial; with memory for none;
  and on labels of one class, which leave AUC undefined.
  """
  out = tmp_path / 'out'
  with monkeypatch.context() as stopped:
    stopped.setattr(stopping, 'on_signals', lambda: contextlib.nullcontext(lambda: True))
    assert train(toy, out, study) == main_lib.INTERRUPTED
  assert f'interrupted; resumable: the same command goes on from {out}' in capsys.readouterr().out
  with monkeypatch.context() as small:
    small.setattr(trials, 'run_group', raise_memory_error)
    assert train(toy, out, study) == 1
  assert 'the memory does not hold even one trial of' in capsys.readouterr().err
  assert tell(out) == 0
  assert 'small: 12 of 12 trials are missing, so there is no table' in capsys.readouterr().out
  assert not (out / 'small.json').exists()

  study.write_text(STUDY.partition('[arms.broken]')[0].replace('seeds = 2', 'seeds = 1'))
  out = tmp_path / 'one_class'
  assert train(one_class, out, study) == 0
  assert "test: all labels 'label' are of one class" in capsys.readouterr().out
  assert tell(out) == 0
  relu = json.loads((out / 'small.json').read_text())['arms']['relu']
  assert relu['auc_difference'] is None and relu['test_auc'] == {'mean': None, 'sd': None}
  assert relu['logloss_difference']['value'] is not None


def raise_memory_error(*_):
  raise MemoryError


def _check_the_published_beside_ours(out, relu):
  with open(out / 'small_published.csv', encoding='utf-8', newline='') as file:
    rows = {row['arm']: row for row in csv.DictReader(file)}
  assert list(rows) == ['ssr_d', 'relu', 'broken']
  own = rows['relu']
  assert own['published_auc'] == '0.625' and own['seeds'] == '2'
  assert float(own['valid_auc_mean']) == relu['valid_auc']['mean']
  assert float(own['test_auc_sd']) == relu['test_auc']['sd']
  assert rows['broken']['seeds'] == '0' and rows['broken']['valid_auc_mean'] == ''
  line = (out / 'small_published.md').read_text().splitlines()[3]
  assert line.startswith('| relu |') and line.endswith('| 0.6250 |')


def test_what_it_refuses(toy, tmp_path, study, capsys, monkeypatch):
  out = tmp_path / 'out'
  assert train(toy, out) == 1
  assert '--study=: expected at least one study' in capsys.readouterr().err
  assert train(toy, out, 'tabel4') == 1
  known = ', '.join(sorted(path.stem for path in sweep_flags.STUDIES.glob('*.toml')))
  assert (
    f'--study=tabel4: no such file, and none of the studies {known}\n' in capsys.readouterr().err
  )
  study.write_text(STUDY.replace('width = 20', 'width = 99'))
  assert train(toy, out, study) == 1
  assert 'ssr_s, 99 wide: width: a view cannot keep 99' in capsys.readouterr().err
  assert not out.exists()

  study.write_text(STUDY + LADDER)
  (tmp_path / 'second.toml').write_text(STUDY + LADDER)
  assert train(toy, out, study, tmp_path / 'second.toml') == 1
  assert f'{out}: one chart is for one study, not for small and second' in capsys.readouterr().err
  assert train(toy, out, study, f'{tmp_path}/../{tmp_path.name}/small.toml') == 1
  assert 'two of the studies have one name' in capsys.readouterr().err
  assert not out.exists()
  monkeypatch.setattr(stopping, 'on_signals', lambda: contextlib.nullcontext(lambda: True))
  assert train(toy, out, study) == main_lib.INTERRUPTED
  before = (out / 'study.json').read_text()
  (out / 'study.json').write_text(
    before.replace('"data_fingerprint": "toy"', '"data_fingerprint": ""')
  )
  assert train(toy, out, study) == 1
  assert f'{out}: holds trials on another data set; choose another' in capsys.readouterr().err
  (out / 'study.json').write_text(before)
  assert train(toy, out, tmp_path / 'second.toml') == 1
  assert f'{out}: one chart is for one study, not for small and second' in capsys.readouterr().err
  study.write_text(STUDY)  # the study becomes what its file says now, and the other one is welcome
  assert train(toy, out, study, tmp_path / 'second.toml') == main_lib.INTERRUPTED


def test_arms_on_fewer_fields_are_paired_by_rows(
  toy, two_tasks, tmp_path, study, capsys, monkeypatch
):
  """Each data set is trained on in turn; the test rows are those of the study's data."""
  schema = schema_lib.load_schema(toy)
  kept = plan_lib.keep_fields(schema, [0, 2, 5])
  plan_lib.save(plan_lib.Plan({}, schema.fingerprint, kept), tmp_path / 'plan.npz')
  compact.prepare(tmp_path / 'plan.npz', toy, tmp_path / 'fewer')
  head = STUDY.partition('[arms.ssr_d]')[0].replace('[1e-2, 3e-2]', '[1e-2]')
  arms = head + '[arms.all]\nmodel = "dense_mlp"\n[arms.fewer]\nmodel = "dense_mlp"\n'
  study.write_text(f'{arms}data = "{two_tasks}"\n')
  out = tmp_path / 'out'
  assert train(toy, out, study) == 1
  assert f'{two_tasks}: its test labels are not those of {toy}' in capsys.readouterr().err
  assert not out.exists()

  study.write_text(f'{arms}data = "{tmp_path}/fewer"\n')
  assert train(toy, out, study) == 0
  assert tell(out) == 0
  found = json.loads((out / 'small.json').read_text())['arms']
  assert found['fewer']['data'] == f'{tmp_path}/fewer' and found['all']['data'] == ''
  assert found['fewer']['embedding_params'] == 4 * (50 + 50 + 300)
  assert found['all']['embedding_params'] == 4 * schema.table_rows
  of_fewer, of_all = found['fewer']['test_logloss'], found['all']['test_logloss']
  difference = found['fewer']['logloss_difference']
  assert difference['value'] == pytest.approx(of_fewer['mean'] - of_all['mean'], abs=1e-6)
  assert difference['value'] and difference['seeds'] == 2 and difference['interval']
  _check_that_it_can_be_made_again(toy, out, tmp_path / 'again', monkeypatch)
