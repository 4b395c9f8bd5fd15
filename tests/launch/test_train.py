"""launch.train and launch.evaluate: runs, resumes bit for bit, stops, and says what is wrong."""

import contextlib
import gc
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import polars as pl
import pytest

from data_pipelines import vocabulary
from launch import evaluate
from launch import main as main_lib
from launch import train
from rec_sparse import checkpoint
from rec_sparse import objective
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train as train_lib
from rec_sparse.runs import feeds
from rec_sparse.runs import identity

SMALL = [
  '--width=8',
  '--views=2',
  '--embedding_dim=4',
  '--batch_size=100',
  '--dropout=0.3',
  '--embedding_dropout=0.1',
  '--mesh=1',
]
CUT = '--checkpoint_every=7'  # a run that is cut goes on from a multiple of 7


def run(toy, out, *arguments):
  return main_lib.call(
    train.main, train.FLAGS, [f'--data={toy}', f'--out={out}', *SMALL, *arguments]
  )


def lines(out):
  return [json.loads(line) for line in (out / 'metrics.jsonl').read_text().splitlines()]


def last_state(out):
  """The last checkpoint on one device, rows in logical order, as numpy; the optimizer's working
  space left out.
  """
  data = json.loads((out / 'data.json').read_text())['data']
  config, schema = (
    settings.from_json((out / 'config.json').read_text()),
    schema_lib.load_schema(data),
  )
  program_ = train_lib.program(config, schema)
  with checkpoint.manager(out, read_only=True) as manager:
    like = train_lib.abstract_state(program_, schema)
    state, _, _ = checkpoint.restore(manager, manager.latest_step(), program_, like)
  return jax.tree.map(np.asarray, checkpoint.items(state))


# cut before and after
LEARNED = (
  '--model=ssr_s',
  '--filter=learned',
  '--filter_warmup=18',
  '--table_decay_rows=all',
  '--table_weight_decay=0.5',
)


# cut right after a change of masks, at 7 of steps 0, 1, ..., and right before one, at 21
MASKED = (
  '--model=ssr_d',
  '--sparsity=dsl',
  '--density=0.3',
  '--mask_every=3',
  '--table_sparsity=dsl',
  '--table_density=0.3',
)


RECIPE = (
  '--model=dense_mlp',
  '--hidden_norm=batch',
  '--dropout=0.2',
  '--schedule=plateau',
  '--clip_norm=0.1',
  '--table_l2=0.05',
)


@pytest.mark.parametrize(
  'model, feed',
  [
    (RECIPE, 'resident'),
    (MASKED, 'resident'),
    (LEARNED, 'stream'),
  ],
)
def test_a_run_cut_at_any_step_and_resumed_equals_the_uninterrupted_one(
  toy, tmp_path, monkeypatch, model, feed
):
  """Cut twice, at steps that are no multiple of anything; all agree bit for bit.

  The last of 28 batches of an epoch is partial: one sitting crosses it, the next starts after it.
  """
  arguments = (
    *model,
    f'--feed={feed}',
    '--epochs=2',
    '--learning_rate=0.01',
    '--batch_size=110',
    CUT,
  )
  assert run(toy, tmp_path / 'whole', *arguments) == 0
  monkeypatch.setattr(feeds, 'DISPATCH', 4)
  for allowed in (3, 5):
    cut_after(monkeypatch, allowed)
    with pytest.raises(KeyboardInterrupt):
      run(toy, tmp_path / 'cut', *arguments)
    monkeypatch.undo()
  assert run(toy, tmp_path / 'cut', *arguments) == 0
  whole, cut = last_state(tmp_path / 'whole'), last_state(tmp_path / 'cut')
  assert jax.tree.structure(whole) == jax.tree.structure(cut)
  jax.tree.map(np.testing.assert_array_equal, whole, cut)
  validations = [
    [line for line in lines(tmp_path / name) if line['split'] == 'valid']
    for name in ('whole', 'cut')
  ]
  assert validations[0] == validations[1] and [line['step'] for line in validations[0]] == [28, 56]
  assert json.loads((tmp_path / 'cut' / 'summary.json').read_text())['train_examples'] == 2 * 3000


def test_a_run_cut_and_resumed_keeps_the_checkpoints_of_both_sittings(toy, tmp_path, monkeypatch):
  out, arguments = (
    tmp_path / 'run',
    ('--epochs=2', '--keep_every=12', '--checkpoint_every=5'),
  )
  monkeypatch.setattr(feeds, 'DISPATCH', 4)
  cut_after(monkeypatch, 7)  # 4, 5, 9, 10, 12, 15, 19
  with pytest.raises(KeyboardInterrupt):
    run(toy, out, *arguments)
  monkeypatch.undo()
  assert steps_of(out) == [12, 15]
  assert run(toy, out, *arguments) == 0
  best = json.loads((out / 'summary.json').read_text())['best_step']
  assert steps_of(out) == sorted({12, 24, 36, 48, 60, best})


def steps_of(out):
  return sorted(int(path.name) for path in (out / 'checkpoints').iterdir())


def cut_after(monkeypatch, dispatches):
  """The process dies after so many dispatches."""
  opened = feeds.open_feed

  def open_feed(*arguments):
    feed, done = opened(*arguments), []

    def advance(state, steps):
      done.append(steps)
      if len(done) > dispatches:
        raise KeyboardInterrupt
      return feed.advance(state, steps)

    return feed._replace(advance=advance)

  monkeypatch.setattr(feeds, 'open_feed', open_feed)


def test_several_devices_train_the_network_of_one_and_evaluate_reads_it_on_one(
  toy, tmp_path, capsys, monkeypatch
):
  """Begun on three devices, over which no batch divides, gone on with on one, ended on four, with
  packed tables but on one.
  """
  arguments = ('--batch_size=112', '--epochs=2', '--model=ssr_s', '--feed=stream', CUT)
  assert run(toy, tmp_path / 'one', *arguments) == 0
  for shape in (('--mesh=3', '--layout=packed'), ('--mesh=1', '--layout=rows')):
    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
      cut_after(cut, 2)
      run(toy, tmp_path / 'several', *arguments, *shape)
  last = ('--mesh=2,2', '--layout=packed', '--lookup=all_to_all')
  assert run(toy, tmp_path / 'several', *arguments, *last) == 0
  one, several = last_state(tmp_path / 'one'), last_state(tmp_path / 'several')
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), one['table'], several['table']
  )
  valid = [
    [line['logloss'] for line in lines(tmp_path / name) if line['split'] == 'valid']
    for name in ('one', 'several')
  ]
  np.testing.assert_allclose(valid[0], valid[1], atol=1e-5)
  capsys.readouterr()
  assert (
    main_lib.call(evaluate.main, evaluate.FLAGS, [f'--run={tmp_path / "several"}', '--split=valid'])
    == 0
  )
  assert json.loads(capsys.readouterr().out.splitlines()[-1])['logloss'] == pytest.approx(
    valid[1][-1], abs=1e-6
  )


def test_both_feeds_train_the_same_network(toy, tmp_path):
  for feed in ('resident', 'stream'):
    assert run(toy, tmp_path / feed, f'--feed={feed}', '--model=dense_mlp') == 0
  summaries = [
    json.loads((tmp_path / feed / 'summary.json').read_text()) for feed in ('resident', 'stream')
  ]
  assert summaries[0]['valid_logloss'] == pytest.approx(summaries[1]['valid_logloss'], abs=1e-6)


def test_parts_of_the_loss_are_logged_and_what_is_trained_is_counted_apart(toy, tmp_path):
  assert run(toy, tmp_path, '--model=reaction', '--contrastive=0', '--feed=stream') == 0
  trained = [line for line in lines(tmp_path) if line['split'] == 'train']
  assert all(set(line['terms']) == {'tower_1', 'spatial', 'relational'} for line in trained)
  assert all(0 < sum(line['terms'].values()) < line['loss'] for line in trained)
  found = json.loads((tmp_path / 'summary.json').read_text())
  assert found['trained_dense_params'] == 2 * found['dense_params']
  assert found['trained_flops_per_example'] == 2 * found['flops_per_example']


def test_training_learns_and_the_record_is_whole(toy, tmp_path, capsys):
  arguments = ('--epochs=4', '--learning_rate=0.02', '--model=ssr_s', '--dropout=0')
  assert run(toy, tmp_path / 'run', *arguments) == 0
  found = json.loads((tmp_path / 'run' / 'summary.json').read_text())
  assert found['status'] == 'finished' and found['valid_auc'] > 0.6
  assert found['test_logloss'] is None  # the test split is read by evaluate alone
  capsys.readouterr()
  assert main_lib.call(evaluate.main, evaluate.FLAGS, [f'--run={tmp_path / "run"}']) == 0
  printed = json.loads(capsys.readouterr().out.splitlines()[-1])
  assert {'auc', 'logloss', 'normalized_entropy', 'calibration', 'examples'} <= set(printed)
  assert printed == json.loads((tmp_path / 'run' / 'eval-test.json').read_text())
  assert printed['examples'] == 700 and abs(printed['auc'] - printed['auc_binned']) < 1e-4
  found = json.loads((tmp_path / 'run' / 'summary.json').read_text())
  assert found['test_auc'] == printed['auc']
  assert found['test_gauc_users'] == printed['gauc_users'] and found['valid_gauc_impressions'] > 0.5
  assert len(list((tmp_path / 'run').glob('events.out.tfevents*'))) == 1
  assert run(toy, tmp_path / 'run', *arguments) == 0
  assert json.loads((tmp_path / 'run' / 'summary.json').read_text()) == found, (
    'a run that has ended is left alone'
  )
  assert len(list((tmp_path / 'run').glob('events.out.tfevents*'))) == 1


def test_the_best_checkpoint_is_kept_beside_the_last_and_patience_stops(toy, tmp_path, capsys):
  arguments = (
    '--epochs=30',
    '--learning_rate=0.03',
    '--patience=2',
    '--dropout=0',
    '--model=dense_mlp',
  )
  assert run(toy, tmp_path / 'run', *arguments) == 0
  found = json.loads((tmp_path / 'run' / 'summary.json').read_text())
  valid = [line for line in lines(tmp_path / 'run') if line['split'] == 'valid']
  assert len(valid) < 30
  best = min(valid, key=lambda line: line['logloss'])
  assert found['best_step'] == best['step'] and found['valid_logloss'] == best['logloss']
  assert [line['step'] for line in valid].index(best['step']) == len(valid) - 3
  for which, step in (('best', best['step']), ('last', valid[-1]['step'])):
    capsys.readouterr()
    assert (
      main_lib.call(
        evaluate.main,
        evaluate.FLAGS,
        [f'--run={tmp_path / "run"}', '--split=valid', f'--checkpoint={which}'],
      )
      == 0
    )
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed['step'] == step
    assert printed['logloss'] == next(line['logloss'] for line in valid if line['step'] == step)


def test_epochs_zero_initializes_counts_and_saves(toy, tmp_path):
  assert run(toy, tmp_path / 'run', '--epochs=0', '--model=ssr_d') == 0
  found = json.loads((tmp_path / 'run' / 'summary.json').read_text())
  assert found['train_examples'] == 0 and found['dense_params'] > 0 and found['valid_auc'] is None
  assert (tmp_path / 'run' / 'checkpoints' / '0').is_dir()
  assert run(toy, tmp_path / 'run', '--epochs=0', '--model=ssr_d') == 0
  assert json.loads((tmp_path / 'run' / 'summary.json').read_text()) == found


def test_of_equal_validations_the_first_is_the_best_and_its_checkpoint_stays(
  toy, tmp_path, monkeypatch, capsys
):
  out, arguments = tmp_path / 'run', ('--epochs=3', '--model=dense_mlp', CUT)
  monkeypatch.setattr(objective, '_rank', lambda monitor, found: 0.5)
  with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
    cut_after(cut, 11)  # beyond the second validation, at 60
    run(toy, out, *arguments)
  assert steps_of(out) == [30, 63]
  assert run(toy, out, *arguments) == 0
  assert steps_of(out) == [30, 90]
  capsys.readouterr()
  assert main_lib.call(evaluate.main, evaluate.FLAGS, [f'--run={out}', '--split=valid']) == 0
  assert json.loads(capsys.readouterr().out.splitlines()[-1])['step'] == 30

  summary = json.loads((out / 'summary.json').read_text())
  diverged = summary | {'status': 'diverged', 'error': 'the loss'}
  (out / 'summary.json').write_text(json.dumps(diverged))
  assert run(toy, out, *arguments) == 1
  said = capsys.readouterr().err
  assert 'diverged: the loss; its checkpoints from before that are kept (steps 30, 90)' in said


@pytest.mark.parametrize(
  'norm, every, error',
  [
    ('none', 1, 'parameters, optimizer or logits became NaN or infinite by step 1'),
    ('batch', 1, 'parameters, optimizer or logits became NaN or infinite by step 1'),
    ('none', 7, 'the training loss became NaN or infinite by step 7'),
  ],
)
def test_a_state_that_is_not_finite_is_not_saved_and_ends_the_run(
  toy, tmp_path, capsys, norm, every, error
):
  """The loss of step 1 is that of the initial network: finite,
  where the network after it is not.
  """
  out = tmp_path / 'run'
  arguments = [
    f'--data={toy}',
    f'--out={out}',
    '--width=8',
    '--embedding_dim=4',
    '--batch_size=100',
    '--mesh=1',
    '--learning_rate=1e38',
    f'--input_norm={norm}',
    f'--checkpoint_every={every}',
  ]
  said = fails(arguments, capsys)
  assert said == f'error: {out}: the run diverged: {error}; it had saved no checkpoint'
  strict = {'parse_constant': lambda token: pytest.fail(token)}
  assert json.loads((out / 'summary.json').read_text(), **strict)['status'] == 'diverged'
  before = (out / 'metrics.jsonl').read_text()
  assert [json.loads(line, **strict)['step'] for line in before.splitlines()] == [every]
  assert fails(arguments, capsys) == said
  assert (out / 'metrics.jsonl').read_text() == before, 'the same command does not train again'
  assert f'--run={out}: holds no checkpoint: the run diverged before its first ({error})' in fails(
    [f'--run={out}'], capsys, evaluate
  )


def test_one_class_leaves_auc_null_and_says_so(one_class, tmp_path, capsys):
  assert "monitor=auc: all labels 'label' of the validation split are of one class" in fails(
    [f'--data={one_class}', f'--out={tmp_path / "refused"}', *SMALL, '--monitor=auc'], capsys
  )
  assert not (tmp_path / 'refused').exists()
  assert run(one_class, tmp_path / 'run', '--epochs=2', '--patience=1') == 0
  said = capsys.readouterr().out.splitlines()
  assert "valid: all labels 'label' are of one class, so AUC is undefined (null)" in said
  assert json.loads(said[-1])['valid_auc'] is None
  assert main_lib.call(evaluate.main, evaluate.FLAGS, [f'--run={tmp_path / "run"}']) == 0
  said = capsys.readouterr().out.splitlines()
  assert said[-2].startswith("test: all labels 'label'") and json.loads(said[-1])['auc'] is None


def program(toy, out, *arguments, devices=1):
  environment = os.environ | {
    'PYTHONPATH': str(pathlib.Path(__file__).parents[2]),
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': os.environ['XLA_FLAGS'] + f' --xla_force_host_platform_device_count={devices}',
  }
  command = [
    sys.executable,
    '-m',
    'launch.train',
    f'--data={toy}',
    f'--out={out}',
    *SMALL,
    *arguments,
  ]
  return subprocess.Popen(
    command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
  )


def test_a_stopped_process_loses_at_most_the_steps_since_its_last_checkpoint(toy, tmp_path):
  arguments = ('--epochs=400', '--model=dense_mlp', '--eval_every=300', CUT)
  process = program(toy, tmp_path / 'run', *arguments)
  wait_for(
    lambda: any(path.name.isdigit() for path in (tmp_path / 'run').glob('checkpoints/*')), process
  )
  process.terminate()
  out, error = process.communicate(timeout=60)
  assert process.returncode == main_lib.INTERRUPTED and 'resumable' in out, error
  with checkpoint.manager(tmp_path / 'run', read_only=True) as manager:
    reached = manager.latest_step()
  process = program(toy, tmp_path / 'run', *arguments)
  wait_for(lambda: lines(tmp_path / 'run')[-1]['step'] > reached, process)
  process.kill()
  process.communicate()
  steps = [line['step'] for line in lines(tmp_path / 'run') if line['split'] == 'train']
  assert steps == sorted(set(steps)), 'a resumed run repeats no line'


def test_a_process_killed_while_masks_change_goes_on_to_the_last_bit(toy, tmp_path):
  """They change at every step, so kill -9 falls into a change or right beside one."""
  rule = ('--sparsity=rigl', '--density=0.5', '--mask_every=1', '--mask_until=1')
  arguments = ('--model=dense_mlp', '--epochs=8', '--checkpoint_every=50', *rule)
  process = program(toy, tmp_path / 'cut', *arguments, devices=jax.device_count())
  wait_for(
    lambda: any(path.name.isdigit() for path in (tmp_path / 'cut').glob('checkpoints/*')),
    process,
    seconds=300,
  )
  process.kill()
  process.communicate()
  assert process.returncode == -signal.SIGKILL, 'it was not done yet'

  for name in ('cut', 'whole'):
    assert run(toy, tmp_path / name, *arguments) == 0
  steps = [line['step'] for line in lines(tmp_path / 'cut') if line['split'] == 'train']
  assert steps == sorted(set(steps)), 'a resumed run repeats no line'
  cut, whole = last_state(tmp_path / 'cut'), last_state(tmp_path / 'whole')
  assert jax.tree.leaves(cut['dense']['sparse'].masks), 'there are masks'
  jax.tree.map(np.testing.assert_array_equal, cut, whole)


def wait_for(condition, process, seconds=90):
  deadline = time.monotonic() + seconds
  while not condition():
    assert process.poll() is None, process.communicate()[1]
    assert time.monotonic() < deadline, 'timed out'
    time.sleep(0.05)


def fails(arguments, capsys, program_=train):
  status = main_lib.call(program_.main, program_.FLAGS, arguments)
  captured = capsys.readouterr()
  assert status != 0
  return captured.err.strip().splitlines()[-1]


def test_wrong_input_is_one_sentence_that_names_the_field(toy, tmp_path, capsys):
  base = [f'--data={toy}', *SMALL]
  out = tmp_path / 'run'
  assert 'dropuot: dense_mlp has no such field; did you mean' in fails(
    [*base, f'--out={out}', '--set=dropuot=1'], capsys
  )
  assert '--set width=9: --width=8 is given too' in fails(
    [*base, f'--out={out}', '--set=width=9'], capsys
  )
  assert 'width=0' in fails([*base, f'--out={out}', '--width=0'], capsys)
  assert 'batch_size=5000: expected at least 1 and at most the 3000 rows' in fails(
    [*base, f'--out={out}', '--batch_size=5000'], capsys
  )
  assert 'schema.json: not found' in fails([f'--data={tmp_path}', f'--out={out}'], capsys)
  file = tmp_path / 'file'
  file.touch()
  assert fails([*base, f'--out={file}'], capsys) == f'error: {file}: Not a directory'
  assert 'width: a view cannot keep 99 of 24' in fails(
    [*base, f'--out={out}', '--model=ssr_s', '--width=99'], capsys
  )
  assert not out.exists(), 'nothing half-written is left'
  assert "model 'mlp' is unknown" in fails([*base, f'--out={out}', '--model=mlp'], capsys)


def test_a_mesh_must_hold_the_devices_of_every_process(toy, tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(train, 'join_processes', lambda: None)
  several = ['--coordinator=localhost:1', '--processes=2', '--mesh=4']
  assert 'several processes need a mesh of all 8 devices' in fails(
    [f'--data={toy}', f'--out={tmp_path / "run"}', *SMALL, *several], capsys
  )
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  'error, message',
  [
    (
      RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore'),
      'has not enough memory',
    ),
    (
      RuntimeError(
        'INTERNAL: Error dispatching computation: Out of memory allocating 9 bytes.\nmore'
      ),
      'enough memory',
    ),
    (MemoryError(), 'has not enough memory'),
    (
      ValueError('RESOURCE_EXHAUSTED: writing failed\nmore'),
      'cannot be written, is the disk full?',
    ),
  ],
)
def test_a_full_memory_or_disk_is_one_sentence(toy, tmp_path, capsys, monkeypatch, error, message):
  def full(*arguments, **named):
    raise error

  where = (
    (train_lib, 'init')
    if not isinstance(error, ValueError)
    else (checkpoint.ocp.CheckpointManager, 'save')
  )
  monkeypatch.setattr(*where, full)
  said = fails([f'--data={toy}', f'--out={tmp_path / "run"}', *SMALL], capsys)
  assert said.startswith('error: ') and message in said and 'more' not in said


def test_a_run_directory_of_another_config_is_refused_and_left_alone(toy, tmp_path, capsys):
  out = tmp_path / 'run'
  assert run(toy, out, '--epochs=0') == 0
  before = (out / 'config.json').read_text()
  message = fails(
    [f'--data={toy}', f'--out={out}', *SMALL, '--epochs=0', '--seed=3', '--width=9'], capsys
  )
  assert 'made with another config (seed, width differ)' in message
  assert (out / 'config.json').read_text() == before


def test_damaged_data_names_the_block(toy, tmp_path, capsys):
  copy = shutil.copytree(toy, tmp_path / 'data')
  (copy / 'valid' / '00000.npy').unlink()
  assert 'valid/00000.npy: block is missing' in fails(
    [f'--data={copy}', f'--out={tmp_path / "a"}', *SMALL], capsys
  )
  block = copy / 'train' / '00001.npy'
  block.write_bytes(block.read_bytes()[:-4] + b'\x01\x02\x03\x04')
  assert 'train/00001.npy: block is damaged' in fails(
    [f'--data={copy}', f'--out={tmp_path / "b"}', *SMALL], capsys
  )
  assert not (tmp_path / 'a').exists() and not (tmp_path / 'b').exists()


def test_a_state_is_held_once_after_a_resume(toy, tmp_path, monkeypatch):
  """A table that fits once is also resumed: nothing is initialized beside what is restored."""

  def tables():
    gc.collect()
    held = [array for array in jax.live_arrays() if array.shape == (550, 4)]
    return len({array.unsafe_buffer_pointer() for array in held})

  with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
    cut_after(cut, 2)
    cut.setattr(feeds, 'DISPATCH', 4)
    run(toy, tmp_path / 'run', '--epochs=2', '--model=dense_mlp', CUT)
  held, opened, before = [], feeds.open_feed, tables()
  monkeypatch.setattr(
    feeds, 'open_feed', lambda *arguments: held.append(tables()) or opened(*arguments)
  )
  assert run(toy, tmp_path / 'run', '--epochs=2', '--model=dense_mlp', CUT) == 0
  assert held == [before + 3]  # the table and both moments


def test_evaluate_reads_other_data_only_when_they_are_named(toy, tmp_path, capsys):
  out, copy = tmp_path / 'run', shutil.copytree(toy, tmp_path / 'data')
  assert run(copy, out) == 0
  schema = json.loads((copy / 'schema.json').read_text())
  (copy / 'schema.json').write_text(json.dumps(schema | {'fingerprint': 'other'}))
  assert 'is another data set than the one that the run was trained on' in fails(
    [f'--run={out}'], capsys, evaluate
  )
  assert main_lib.call(evaluate.main, evaluate.FLAGS, [f'--run={out}', f'--data={copy}']) == 0
  assert json.loads(capsys.readouterr().out.splitlines()[-1])['data_fingerprint'] == 'other'
  assert json.loads((out / 'summary.json').read_text())['test_auc'] is None


def test_evaluate_refuses_data_whose_ids_are_other_values(toy, tmp_path, capsys):
  """Sizes agree: hashes alone tell, and vocabularies name the field while both are there."""
  own = shutil.copytree(toy, tmp_path / 'own')
  other = shutil.copytree(toy, tmp_path / 'other')
  for place, value, swapped in ((own, 'ours', False), (other, 'theirs', True)):
    schema = json.loads((place / 'schema.json').read_text())
    schema |= {'vocabulary': value, 'fingerprint': value}
    (place / 'schema.json').write_text(json.dumps(schema))
    for field in schema['fields']:
      values = [str(i) for i in range(1, field['vocab_size'])]
      values = values[::-1] if swapped and field['name'] == 'field_2' else values
      table = pl.DataFrame({'value': [None, *values], 'id': range(field['vocab_size'])})
      vocabulary.save(table, place, field['name'])
  out = tmp_path / 'run'
  assert run(own, out, '--epochs=1') == 0
  arguments = [f'--run={out}', f'--data={other}']
  error = fails(arguments, capsys, evaluate)
  assert f"--data={other}: values of field 'field_2' have other ids than in the data" in error
  assert f'with launch.prepare --vocab_from={own}' in error
  shutil.rmtree(own)
  assert 'table rows stand for something else than' in fails(arguments, capsys, evaluate)
  error = fails([f'--run={out}'], capsys, evaluate)
  assert f'{own}: the data set that the run was trained on is not there; name its' in error


FIELD_A = {'name': 'a', 'kind': 'categorical', 'vocab_size': 3}
FIELD_B = {'name': 'b', 'kind': 'categorical', 'vocab_size': 2}


@pytest.mark.parametrize(
  'change, message',
  [
    ({}, None),
    ({'tasks': ['buy']}, 'its labels are click, the run.s buy'),
    ({'fields': [FIELD_B, FIELD_A]}, 'its fields are a, b, the run.s b, a'),
    ({'fields': [FIELD_A, FIELD_B | {'vocab_size': 4}]}, "values of field 'b' have other ids"),
    ({'fields': None}, 'is of an older version'),
  ],
)
def test_what_data_must_share_with_a_checkpoint(change, message):
  fields = (schema_lib.Field(**FIELD_A), schema_lib.Field(**FIELD_B))
  schema = schema_lib.FeatureSchema(fields, ('click',), None, {}, '', {}, vocabulary='x')
  theirs = identity.metadata(schema) | change
  theirs = {name: value for name, value in theirs.items() if value is not None}
  with pytest.raises(ValueError, match=message) if message else contextlib.nullcontext():
    identity.check(theirs, schema, pathlib.Path('data'), pathlib.Path('own'))


def test_evaluate_names_what_is_missing(toy, tmp_path, capsys):
  out = tmp_path / 'run'
  assert 'holds no config.json' in fails([f'--run={out}'], capsys, evaluate)
  assert run(toy, out, '--epochs=0') == 0
  shutil.rmtree(out / 'checkpoints')
  assert 'holds no checkpoint: launch.train has saved none yet' in fails(
    [f'--run={out}'], capsys, evaluate
  )
  shutil.rmtree(out)
  assert run(toy, out, '--epochs=1') == 0
  assert 'holds the steps 30' in fails([f'--run={out}', '--checkpoint=31'], capsys, evaluate)
  shutil.rmtree(out / 'checkpoints' / '30' / 'table')
  assert '30: not a checkpoint of this configuration, or damaged' in fails(
    [f'--run={out}'], capsys, evaluate
  )


@pytest.mark.parametrize(
  'begun_by_one, mesh, feed',
  [
    (True, '1,4', 'stream'),
  ],
)
def test_two_processes_train_the_network_of_one_and_one_reads_their_checkpoint(
  toy, tmp_path, capsys, monkeypatch, begun_by_one, mesh, feed
):
  """Two processes of two devices against one process of four, from the same flags or from the
  checkpoint of one.

  With mesh 1,4 the processes share each batch: they differ in what they hold of the dense
  parameters.
  """
  arguments = (
    '--batch_size=600',
    '--epochs=2',
    '--model=ssr_s',
    f'--feed={feed}',
    f'--mesh={mesh}',
  )
  if begun_by_one:
    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
      cut_after(cut, 1)
      run(toy, tmp_path / 'two', *arguments)
    assert steps_of(tmp_path / 'two')
  with socket.socket() as free:
    free.bind(('localhost', 0))
    coordinator = f'localhost:{free.getsockname()[1]}'
  pair = [
    program(
      toy,
      tmp_path / 'two',
      *arguments,
      f'--coordinator={coordinator}',
      '--processes=2',
      f'--process={i}',
      devices=2,
    )
    for i in range(2)
  ]
  said = []
  for process in pair:
    out, error = process.communicate(timeout=180)
    assert process.returncode == 0, error
    said.append(json.loads(out.splitlines()[-1]))
  assert said[0] == said[1] and said[0]['status'] == 'finished'
  assert run(toy, tmp_path / 'one', *arguments) == 0
  one, two = last_state(tmp_path / 'one'), last_state(tmp_path / 'two')
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), one['table'], two['table'])
  capsys.readouterr()
  assert (
    main_lib.call(evaluate.main, evaluate.FLAGS, [f'--run={tmp_path / "two"}', '--split=valid'])
    == 0
  )
  printed = json.loads(capsys.readouterr().out.splitlines()[-1])
  assert printed['logloss'] == pytest.approx(lines(tmp_path / 'two')[-1]['logloss'], abs=1e-6)
  assert printed['logloss'] == pytest.approx(lines(tmp_path / 'one')[-1]['logloss'], abs=1e-5)


@pytest.mark.parametrize(
  'flags, message',
  [
    (['--processes=2'], 'several processes need a coordinator'),
    (
      ['--coordinator=localhost:1', '--processes=2', '--process=2'],
      'several processes need a coordinator',
    ),
    (['--mesh=3,3'], '--mesh=3,3: there are 8 devices'),
    (['--mesh=a'], '--mesh=a: expected data or data,model'),
    (['--mesh=0'], '--mesh=0: expected data or data,model'),
    (['--mesh=1,2,3'], '--mesh=1,2,3: expected data or data,model'),
  ],
)
def test_wrong_devices_are_named(toy, tmp_path, capsys, flags, message):
  assert message in fails([f'--data={toy}', f'--out={tmp_path / "run"}', *SMALL, *flags], capsys)
