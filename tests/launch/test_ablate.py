"""launch.ablate: table, picture and JSON of a small study; shared trials; what it refuses."""

import contextlib
import json
import re

import numpy as np
import pytest

from launch import ablate
from launch import main as main_lib
from rec_sparse import metrics
from rec_sparse.runs import stopping
from rec_sparse.runs import trials
from rec_sparse.scaling import paired_rows

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
[arms.broken]
model = 'ssr_s'
width = 99
"""


@pytest.fixture
def study(tmp_path):
  path = tmp_path / 'small.toml'
  path.write_text(STUDY)
  return path


def run(toy, out, *studies):
  return main_lib.call(
    ablate.main,
    ablate.FLAGS,
    [f'--study={",".join(map(str, studies))}', f'--data={toy}', f'--out={out}'],
  )


def test_a_study_end_to_end(toy, tmp_path, study, capsys, monkeypatch):
  out = tmp_path / 'out'
  assert run(toy, out, study) == 0
  assert '| relu |' in capsys.readouterr().out
  found = json.loads((out / 'small.json').read_text())
  assert list(found['arms']) == ['ssr_d', 'relu', 'broken'] and found['test_rows'] == 700
  reference, relu, broken = found['arms'].values()
  assert reference['auc_difference'] is None and reference['against'] is None
  assert (
    broken['trials_lost'] == 4
    and broken['auc_difference'] is None
    and broken['learning_rate'] is None
  )
  assert (out / 'small.png').read_bytes()[:4] == b'\x89PNG'
  _check_against_the_trials(toy, out, reference, relu)

  records = {path: path.stat().st_mtime_ns for path in (out / 'trials').iterdir()}
  more = tmp_path / 'more.toml'
  more.write_text(
    STUDY.replace(
      "[arms.broken]\nmodel = 'ssr_s'\nwidth = 99", "[arms.t_1]\nmodel='ssr_d'\niterations=1"
    )
  )
  assert run(toy, out, study, more) == 0  # trains one arm: the rest is there
  after = {path: path.stat().st_mtime_ns for path in (out / 'trials').iterdir()}
  assert len(after) == len(records) + 4 and records.items() <= after.items()
  assert json.loads((out / 'small.json').read_text())['arms'] == found['arms']

  logits = list((out / 'logits').iterdir())
  for damaged in (b'', b'not an array', logits[0].read_bytes()[:-4]):
    for path in logits:
      path.write_bytes(damaged)
    assert run(toy, out, study) == 1
    assert re.match(
      rf'error: {out}/logits/\w+.npy: damaged logits \(', capsys.readouterr().err.splitlines()[-1]
    )


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
    logits[name] = np.stack([np.load(out / 'logits' / f'{t["run_id"]}.npy')[:, 0] for t in best])
    assert logits[name].shape == (2, 700)
  from data_pipelines import blocks
  from rec_sparse import schema as schema_lib
  from rec_sparse.runs import evaluation

  label_N = evaluation.labels(blocks.open_split(toy, schema_lib.load_schema(toy), 'test'))[0][:, 0]
  assert metrics.exact_auc(logits['relu'][0], label_N) > 0.5
  expected = paired_rows.auc_difference(logits['reference'], logits['relu'], label_N)
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
    assert run(toy, out, study) == main_lib.INTERRUPTED
  assert f'interrupted; resumable: the same command goes on from {out}' in capsys.readouterr().out
  with monkeypatch.context() as small:
    small.setattr(trials, 'run_group', raise_memory_error)
    assert run(toy, out, study) == 1
  err = capsys.readouterr().err
  assert 'small: 12 of 12 trials are missing, so there is no table: the memory does not hold' in err
  assert not (out / 'small.json').exists()

  study.write_text(STUDY.partition('[arms.broken]')[0].replace('seeds = 2', 'seeds = 1'))
  assert run(one_class, tmp_path / 'one_class', study) == 0
  assert "test: all labels 'label' are of one class" in capsys.readouterr().out
  relu = json.loads((tmp_path / 'one_class' / 'small.json').read_text())['arms']['relu']
  assert relu['auc_difference'] is None and relu['test_auc'] == {'mean': None, 'sd': None}
  assert relu['logloss_difference']['value'] is not None


def raise_memory_error(*_):
  raise MemoryError


def test_what_it_refuses(toy, tmp_path, study, capsys):
  assert run(toy, tmp_path / 'out') == 1
  assert '--study=: expected at least one study' in capsys.readouterr().err
  assert run(toy, tmp_path / 'out', 'tabel4') == 1
  known = ', '.join(sorted(path.stem for path in ablate.STUDIES.glob('*.toml')))
  assert (
    f'--study=tabel4: no such file, and none of the studies {known}\n' in capsys.readouterr().err
  )
  (tmp_path / 'other').mkdir()
  (tmp_path / 'other' / 'notes.txt').write_text('mine')
  assert run(toy, tmp_path / 'other', study) == 1
  assert 'not empty, and not a directory that launch.ablate made' in capsys.readouterr().err
  (tmp_path / 'other' / 'notes.txt').unlink()
  (tmp_path / 'other' / 'data.json').write_text('{"data_fingerprint": "x"}')
  assert run(toy, tmp_path / 'other', study) == 1
  assert 'holds trials on other data' in capsys.readouterr().err
