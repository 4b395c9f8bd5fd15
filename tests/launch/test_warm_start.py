"""Runs that start from another run: from its network, or from all of it for more epochs."""

import json
import shutil
import struct

import jax
import numpy as np
import pytest
from tensorboardX.proto import event_pb2
from test_train import cut_after
from test_train import fails
from test_train import last_state
from test_train import lines
from test_train import run

from launch import evaluate
from launch import main as main_lib
from launch import train
from rec_sparse.runs import feeds

MODEL = ('--model=dense_mlp', '--learning_rate=0.01', '--feed=stream')


@pytest.fixture(scope='module')
def first(toy, tmp_path_factory):
  """A finished run of one epoch."""
  out = tmp_path_factory.mktemp('first') / 'run'
  assert run(toy, out, *MODEL, '--epochs=1', '--eval_every=10') == 0
  return out


def later(toy, out, first, *arguments):
  """A run that names its data, its origin and these settings alone."""
  given = [f'--data={toy}', f'--out={out}', f'--init_from={first}', '--mesh=1', *arguments]
  return main_lib.call(train.main, train.FLAGS, given)


def curves(out):
  """Tag -> steps of the points of all event files, without those that a later file takes back."""
  found = {}
  for path in sorted(out.glob('events.out.tfevents.*')):
    data = path.read_bytes()
    at = 0
    while at < len(data):
      (length,) = struct.unpack('<Q', data[at : at + 8])
      event = event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
      at += 16 + length
      if event.session_log.status == event_pb2.SessionLog.START:
        found = {tag: [s for s in steps if s < event.step] for tag, steps in found.items()}
      for value in event.summary.value:
        found.setdefault(value.tag, []).append(event.step)
  return found


def test_more_epochs_are_the_run_that_had_them_at_once(toy, first, tmp_path, monkeypatch, capsys):
  """Also when they are cut in between, at a step that is no multiple of anything."""
  whole, out = tmp_path / 'whole', tmp_path / 'longer'
  assert run(toy, whole, *MODEL, '--epochs=2', '--eval_every=10') == 0
  with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
    cut.setattr(feeds, 'DISPATCH', 4)
    cut_after(cut, 4)
    later(toy, out, first, '--epochs=2')
  assert later(toy, out, first, '--epochs=2') == 0
  jax.tree.map(np.testing.assert_array_equal, last_state(whole), last_state(out))
  valid = [[line for line in lines(o) if line['split'] == 'valid'] for o in (whole, out)]
  assert valid[0] == valid[1] and len(valid[0]) == 6
  summaries = [json.loads((o / 'summary.json').read_text()) for o in (whole, out)]
  for name in ('train_examples', 'best_step', 'valid_logloss'):
    assert summaries[0][name] == summaries[1][name]
  origin = json.loads((first / 'summary.json').read_text())
  assert summaries[1]['config']['init_from'] == f'{origin["run_id"]}/30'
  assert summaries[1]['run_id'] not in (summaries[0]['run_id'], origin['run_id'])

  points = curves(out)
  assert points['valid/logloss'] == [10, 20, 30, 40, 50, 60]
  assert points['config/text_summary'] == points['_hparams_/session_start_info'] == [0]
  assert points['train/learning_rate'] == points['train/loss'] == sorted(set(points['train/loss']))
  assert not any('examples' in tag and 'valid' in tag for tag in points)

  said = capsys.readouterr().out
  assert 'step 60, epoch 2.00, logloss ' in said
  assert 'finished at step 60: the last epoch is done; best logloss ' in said


@pytest.mark.parametrize('mesh', ['1', '4'])
def test_a_warm_start_is_the_best_network_with_a_new_optimizer(toy, first, tmp_path, capsys, mesh):
  out = tmp_path / 'warm'
  arguments = ('--epochs=0', '--seed=7', f'--mesh={mesh}', '--table_l2=0.1')
  assert later(toy, out, first, *arguments) == 0
  found = []
  for directory in (first, out):
    capsys.readouterr()
    given = [f'--run={directory}', '--split=valid']
    assert main_lib.call(evaluate.main, evaluate.FLAGS, given) == 0
    found.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
  assert found[0]['step'] > found[1]['step'] == 0
  assert found[0]['logloss'] == pytest.approx(found[1]['logloss'], abs=1e-6)
  state = last_state(out)
  assert state['dense']['trial']['seed'] == 7
  slots = state['optimizer']['slots'].moments
  assert not any(leaf.any() for leaf in jax.tree.leaves((state['optimizer']['moments'], slots)))
  assert not (out / 'metrics.jsonl').read_text()


def test_what_cannot_be_started_from_is_named(toy, first, tmp_path, capsys):
  def said(*arguments, data=toy, origin=first):
    given = [f'--data={data}', f'--out={tmp_path / "out"}', f'--init_from={origin}', *arguments]
    return fails([*given, '--mesh=1'], capsys)

  assert 'has trained all of its epochs; name more with --epochs' in said()
  assert 'its network has other shapes; width differ' in said('--width=9')
  assert 'holds the steps' in said('--init_checkpoint=7', '--seed=3')
  assert '--init_from=nowhere: holds no config.json' in said(origin='nowhere')
  assert '--set init_from=x: the program itself sets it' in said('--set=init_from=x')
  other = shutil.copytree(toy, tmp_path / 'other')
  schema = json.loads((other / 'schema.json').read_text()) | {'vocabulary': 'another'}
  (other / 'schema.json').write_text(json.dumps(schema))
  assert 'table rows stand for something else' in said('--seed=3', data=other)
  assert not (tmp_path / 'out').exists(), 'nothing half-written is left'

  again = fails([f'--data={toy}', f'--out={first}', f'--init_from={first}', '--epochs=2'], capsys)
  assert 'made with another config (epochs, init_from differ); choose another --out' in again
