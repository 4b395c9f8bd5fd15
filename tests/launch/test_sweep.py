"""launch.sweep: vectorised trials equal single ones; reruns do what is missing; failures are
recorded.
"""

import contextlib
import functools
import json

import jax
import numpy as np
import pytest

from launch import main as main_lib
from launch import report
from launch import sweep
from launch import train
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse.runs import feeds
from rec_sparse.runs import memory
from rec_sparse.runs import stopping
from rec_sparse.runs import trials

SMALL = [
  '--widths=6',
  '--depths=1',
  '--views=2',
  '--embedding_dim=4',
  '--batch_size=100',
  '--learning_rates=1e-2,1e-3',
  '--seeds=0,1',
]


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
  """Trials share a device, as on a machine with one."""
  monkeypatch.setattr(
    trials, 'open_data', functools.partial(trials.open_data, devices=jax.local_devices()[:1])
  )


def run(toy, out, *arguments):
  return main_lib.call(
    sweep.main, sweep.FLAGS, [f'--data={toy}', f'--out={out}', *SMALL, *arguments]
  )


def records(out):
  return {path.stem: json.loads(path.read_text()) for path in (out / 'trials').glob('*.json')}


LEARNED = ('--set=filter=learned', '--set=filter_warmup=20')


@pytest.mark.parametrize(
  'arm, settings', [('dense_mlp', ('--batch_size=110',)), ('ssr_s', LEARNED)]
)
def test_a_vectorised_trial_is_the_single_run_of_the_same_config(toy, tmp_path, arm, settings):
  assert run(toy, tmp_path / 'study', f'--arms={arm}', '--epochs=2', *settings) == 0
  found = records(tmp_path / 'study')
  assert len(found) == 4
  single = main_lib.call(
    train.main,
    train.FLAGS,
    [
      f'--data={toy}',
      f'--out={tmp_path / "run"}',
      f'--model={arm}',
      '--width=6',
      '--depth=1',
      '--views=2',
      '--embedding_dim=4',
      '--batch_size=100',
      '--learning_rate=1e-2',
      '--seed=1',
      '--epochs=2',
      '--mesh=1',
      *settings,
    ],
  )
  assert single == 0
  summary = json.loads((tmp_path / 'run' / 'summary.json').read_text())
  twin = found[summary['run_id']]
  assert twin['valid_logloss'] == pytest.approx(summary['valid_logloss'], abs=1e-5)
  assert twin['config'] == summary['config']
  assert twin['train_examples'] == summary['train_examples'] == 2 * 3000
  assert set(twin) >= {
    'run_id',
    'config',
    'arm',
    'width',
    'depth',
    'views',
    'seed',
    'learning_rate',
    'dense_params',
    'dense_params_nonzero',
    'embedding_params',
    'embedding_params_nonzero',
    'flops_per_example',
    'train_examples',
    'valid_logloss',
    'valid_auc',
    'test_logloss',
    'test_auc',
    'wall_seconds',
    'device',
    'versions',
    'status',
  }


@pytest.mark.parametrize('settings', [(), LEARNED])
def test_side_by_side_equals_in_turn(toy, tmp_path, monkeypatch, settings):
  """vmap, the default beyond the CPU, against lax.map."""
  assert run(toy, tmp_path / 'turn', '--arms=ssr_s', *settings) == 0
  monkeypatch.setattr(trials, 'over_trials', lambda fn, states: jax.vmap(fn)(states))
  assert run(toy, tmp_path / 'side', '--arms=ssr_s', *settings) == 0
  turn, side = records(tmp_path / 'turn'), records(tmp_path / 'side')
  assert turn.keys() == side.keys()
  for name in turn:
    np.testing.assert_allclose(turn[name]['test_logloss'], side[name]['test_logloss'], atol=1e-5)


@pytest.mark.fusions
@pytest.mark.parametrize('devices', [2, 8])
def test_trials_dealt_out_among_devices_equal_those_of_one(toy, devices):
  """Five trials: three and two (and a filler) on two devices, one each on five of eight."""
  schema = schema_lib.load_schema(toy)
  configs = [
    settings.make(
      'ssr_s',
      {
        'width': 6,
        'views': 2,
        'embedding_dim': 4,
        'batch_size': 100,
        'epochs': 2,
        'learning_rate': 1e-2,
        'seed': seed,
      },
    )
    for seed in range(5)
  ]
  ran = {n: [] for n in (1, devices)}
  found = {
    n: trials.run_group(
      trials.open_data(toy, schema, devices=jax.local_devices()[:n]), configs, ran[n].append
    )
    for n in ran
  }
  assert len({alone.record['test_auc'] for alone in found[1]}) == len(found[devices]) == 5
  assert sum(ran[1]) == sum(ran[devices]) == 5 * 2 * 30
  for alone, dealt in zip(found[1], found[devices], strict=True):
    assert alone.record | {'wall_seconds': 0} == dealt.record | {'wall_seconds': 0}
    np.testing.assert_array_equal(alone.test_logits_ExT, dealt.test_logits_ExT)


def test_low_precision_changes_the_auc_by_little(toy, tmp_path):
  """bfloat16 layers, and a bfloat16 table that rounds stochastically: within .01 of float32 at the
  same seeds.
  """
  for name, setting in (
    ('full', 'dropout=0'),
    ('low', 'compute_dtype=bfloat16'),
    ('table', 'table_dtype=bfloat16'),
  ):
    assert run(toy, tmp_path / name, '--arms=ssr_s', '--epochs=8', f'--set={setting}') == 0
  auc = {
    name: [
      r['test_auc']
      for r in sorted(
        records(tmp_path / name).values(), key=lambda r: (r['learning_rate'], r['seed'])
      )
    ]
    for name in ('full', 'low', 'table')
  }
  assert max(auc['full']) > 0.6
  np.testing.assert_allclose(auc['low'], auc['full'], atol=0.01)
  np.testing.assert_allclose(auc['table'], auc['full'], atol=0.01)
  assert auc['low'] != auc['full'] != auc['table']


def test_a_rerun_does_only_what_is_missing_and_a_failed_trial_is_not_missing(
  toy, tmp_path, capsys, monkeypatch
):
  out = tmp_path / 'study'
  real = trials.run_group

  def not_with_9(study, configs, *more):
    if configs[0].width == 9:
      raise RuntimeError('an odd width')
    return real(study, configs, *more)

  monkeypatch.setattr(trials, 'run_group', not_with_9)
  assert run(toy, out, '--arms=ssr_s', '--widths=9') == 1, 'every trial failed'
  assert run(toy, out, '--arms=ssr_s', '--widths=6,9') == 0
  said = capsys.readouterr().out
  assert '4 of 8 trials done' in said and '4 failed' in said and 'an odd width; delete' in said
  found = records(out)
  failed = [r for r in found.values() if r['status'] == 'failed']
  assert len(found) == 8 and len(failed) == 4
  assert all(r['error'] == 'RuntimeError: an odd width' and r['test_auc'] is None for r in failed)
  victim = next(r['run_id'] for r in found.values() if r['status'] == 'finished')
  (out / 'trials' / f'{victim}.json').unlink()
  ran = []
  monkeypatch.setattr(
    trials,
    'run_group',
    lambda study, configs, *more: ran.extend(configs) or real(study, configs, *more),
  )
  assert run(toy, out, '--arms=ssr_s', '--widths=6,9') == 0
  assert len(ran) == 1
  again = records(out)
  assert again[victim]['test_logloss'] == pytest.approx(found[victim]['test_logloss'], abs=1e-6)


def test_trials_that_do_not_fit_the_memory_together_run_by_halves(toy, tmp_path, monkeypatch):
  errors = [
    RuntimeError('RESOURCE_EXHAUSTED: Out of memory'),
    MemoryError(),
    RuntimeError('INTERNAL: Error dispatching computation: Out of memory allocating 9 bytes.'),
  ]
  real, sizes = trials.run_group, []

  def run_group(study, configs, *more):
    sizes.append(len(configs))
    if len(configs) > 1:
      raise errors.pop()
    return real(study, configs, *more)

  assert run(toy, tmp_path / 'whole', '--arms=dense_mlp') == 0
  monkeypatch.setattr(trials, 'run_group', run_group)
  assert run(toy, tmp_path / 'halves', '--arms=dense_mlp') == 0
  assert sizes == [4, 2, 1, 1, 2, 1, 1] and not errors
  whole, halves = records(tmp_path / 'whole'), records(tmp_path / 'halves')
  assert {name: r['test_auc'] for name, r in halves.items()} == {
    name: r['test_auc'] for name, r in whole.items()
  }


def test_a_trial_that_the_memory_does_not_hold_is_missing_and_tried_again(
  toy, tmp_path, monkeypatch, capsys
):
  out, arguments = tmp_path / 'study', ('--arms=dense_mlp', '--widths=6,9')
  real, sizes = trials.run_group, []

  def run_group(study, configs, *more):
    if configs[0].width == 9:
      sizes.append(len(configs))
      raise RuntimeError('RESOURCE_EXHAUSTED: Out of memory')
    return real(study, configs, *more)

  with monkeypatch.context() as small:
    small.setattr(trials, 'run_group', run_group)
    assert run(toy, out, *arguments) == 1
  said = capsys.readouterr()
  assert sizes == [4, 2, 1], 'where one trial does not fit, no other of its shape is tried'
  assert '4 of 8 trials done' in said.out and '0 failed, 4 missing' in said.out
  assert 'does not hold even one trial of dense_mlp 9x1 (RuntimeError: RESOURCE' in said.err
  assert {found['width'] for found in records(out).values()} == {6}
  old = next(iter(records(out).values()))  # as older versions recorded it
  full = {'status': 'failed', 'error': 'Out of memory'}
  (out / 'trials' / f'{old["run_id"]}.json').write_text(json.dumps(old | full))
  assert run(toy, out, *arguments) == 0
  assert {found['status'] for found in records(out).values()} == {'finished'}
  assert len(records(out)) == 8


def stop_after(monkeypatch, dispatches):
  """A signal comes in the dispatch after so many."""
  asked = iter([False] * dispatches)

  @contextlib.contextmanager
  def on_signals():
    yield lambda: next(asked, True)

  monkeypatch.setattr(stopping, 'on_signals', on_signals)


@pytest.mark.fusions
def test_a_sweep_that_was_stopped_goes_on_bit_for_bit(toy, tmp_path, monkeypatch, capsys):
  """Stopped in the first evaluation interval, at an evaluation,
  and with another number of devices before the end.
  """
  arguments = (
    '--arms=ssr_s',
    '--epochs=3',
    '--set=dropout=0.2',
    '--set=eval_every=25',
    '--learning_rates=3e-2,1e38',
    '--set=table_dtype=bfloat16',
    '--patience=1',
  )
  whole, cut = tmp_path / 'whole', tmp_path / 'cut'
  monkeypatch.setattr(feeds, 'DISPATCH', 10)
  assert run(toy, whole, *arguments) == 0
  for dispatches, devices in ((1, 1), (1, 2), (3, 4)):
    opened = functools.partial(trials.open_data.func, devices=jax.local_devices()[:devices])
    with monkeypatch.context() as stopped:
      stopped.setattr(trials, 'open_data', opened)
      stop_after(stopped, dispatches + 1)  # asked once before the group begins
      assert run(toy, cut, *arguments) == main_lib.INTERRUPTED
    assert 'interrupted; resumable: the same command goes on from' in capsys.readouterr().out
    assert not records(cut) and len(list((cut / 'partial').iterdir())) == 1
  damaged = next((cut / 'partial').iterdir())
  before = damaged.read_bytes()
  damaged.write_bytes(before[:-9])
  assert run(toy, cut, *arguments) == 1
  assert f'{damaged}: damaged' in capsys.readouterr().err
  damaged.write_bytes(before)
  assert run(toy, cut, *arguments) == 0
  assert not (cut / 'partial').exists()
  uncut, resumed = records(whole), records(cut)
  assert {name: r | {'wall_seconds': 0} for name, r in uncut.items()} == {
    name: r | {'wall_seconds': 0} for name, r in resumed.items()
  }
  for path in (whole / 'logits').iterdir():
    np.testing.assert_array_equal(np.load(path), np.load(cut / 'logits' / path.name))


def test_one_class_leaves_a_study_that_can_be_read(one_class, tmp_path, capsys):
  out, arguments = tmp_path / 'study', ('--arms=dense_mlp', '--learning_rates=1e-2')
  assert run(one_class, tmp_path / 'refused', *arguments, '--set=monitor=auc') == 1
  assert 'monitor=auc: all labels' in capsys.readouterr().err
  assert not (tmp_path / 'refused').exists()
  assert run(one_class, out, *arguments) == 0
  said = capsys.readouterr().out
  assert "valid: all labels 'label' are of one class" in said and "test: all labels 'label'" in said
  assert all(r['status'] == 'finished' and r['test_auc'] is None for r in records(out).values())
  assert main_lib.call(report.main, report.FLAGS, [f'--study={out}']) == 0
  page = (out / 'report.html').read_text()
  assert 'All labels of the test split are of one class, so its AUC is undefined.' in page
  assert '>nan' not in page
  assert 'nan' not in (out / 'curves.csv').read_text()


def test_a_study_grows_and_remembers_its_axes(toy, tmp_path):
  out = tmp_path / 'study'
  assert run(toy, out, '--arms=dense_mlp') == 0
  assert run(toy, out, '--arms=ssr_s,dense_mlp', '--widths=ssr_s:4,dense_mlp:8', '--seeds=2') == 0
  study = json.loads((out / 'study.json').read_text())
  (planned,) = study['studies']
  dense, sparse = planned['study']['arms']
  assert (dense['name'], dense['scale']) == (
    'dense_mlp',
    {'width': [6, 8], 'depth': [1], 'views': [2]},
  )
  assert (sparse['name'], sparse['scale']['width']) == ('ssr_s', [4])
  listed = [run_id for own in planned['trials'].values() for run_id in own]
  assert set(listed) == set(records(out)) and len(listed) == 12
  assert [
    ('--arms=ssr_s,dense_mlp' in command, '--seeds=2' in command) for command in study['commands']
  ] == [(False, False), (True, True)]
  assert study['teacher'] == {'logloss': 0.4, 'auc': 0.8}
  assert {r['arm'] for r in records(out).values()} == {'dense_mlp', 'ssr_s'}


def test_another_recipe_of_an_arm_is_refused(toy, tmp_path, capsys):
  out, other = tmp_path / 'study', ('--set=dropout=0.5', '--set=filter_draw=shared')
  assert run(toy, out, '--arms=ssr_s', '--learning_rates=1e-2', '--seeds=1') == 0
  path = out / 'study.json'
  before = path.read_text()
  recipe = json.loads(before)['studies'][0]['recipes']['ssr_s']
  assert recipe['batch_size'] == 100 and 'width' not in recipe
  assert run(toy, out, '--arms=ssr_s', '--widths=4', *other) == 1
  assert (
    f'{out}: its trials of ssr_s differ in dropout, filter_draw; choose another'
    in capsys.readouterr().err
  )
  assert path.read_text() == before
  assert run(toy, out, '--arms=ssr_s', '--learning_rates=1e-2', '--seeds=1') == 0
  assert path.read_text() == before


@pytest.mark.parametrize(
  'content, message',
  [
    ('[]', 'not a JSON object'),
    ('{}', 'not a study that launch.sweep wrote (format_version: missing)'),
    (
      '{"format_version": 1}',
      'format_version is 1, this program reads 2; the release that wrote it',
    ),
  ],
)
def test_a_file_that_is_no_study_is_refused(toy, tmp_path, capsys, content, message):
  (tmp_path / 'study.json').write_text(content)
  assert run(toy, tmp_path) == 1
  assert f'{tmp_path / "study.json"}: {message}' in capsys.readouterr().err
  assert [path.name for path in tmp_path.iterdir()] == ['study.json']


def test_a_diverged_trial_does_not_touch_its_neighbours(toy, tmp_path):
  out = tmp_path / 'study'
  assert (
    run(toy, out, '--arms=dense_mlp', '--learning_rates=1e-2,1e38', '--set=input_norm=none') == 0
  )
  status = {(r['learning_rate'], r['seed']): r['status'] for r in records(out).values()}
  assert status == {
    (0.01, 0): 'finished',
    (0.01, 1): 'finished',
    (1e38, 0): 'diverged',
    (1e38, 1): 'diverged',
  }
  assert (
    run(
      toy, tmp_path / 'alone', '--arms=dense_mlp', '--learning_rates=1e-2', '--set=input_norm=none'
    )
    == 0
  )
  for name, alone in records(tmp_path / 'alone').items():
    assert records(out)[name]['test_logloss'] == pytest.approx(alone['test_logloss'], abs=1e-6)


def test_early_stopping_keeps_each_trials_own_best(toy, tmp_path):
  """With patience, a trial is tested in the state of its best validation, as a single run is."""
  out = tmp_path / 'study'
  assert (
    run(toy, out, '--arms=dense_mlp', '--epochs=25', '--patience=2', '--learning_rates=3e-2,1e-3')
    == 0
  )
  for found in records(out).values():
    if found['learning_rate'] == 3e-2 and found['seed'] == 0:
      assert (
        main_lib.call(
          train.main,
          train.FLAGS,
          [
            f'--data={toy}',
            f'--out={tmp_path / "run"}',
            '--model=dense_mlp',
            '--width=6',
            '--depth=1',
            '--embedding_dim=4',
            '--batch_size=100',
            '--learning_rate=3e-2',
            '--epochs=25',
            '--patience=2',
            '--mesh=1',
          ],
        )
        == 0
      )
      single = json.loads((tmp_path / 'run' / 'summary.json').read_text())
      assert single['run_id'] == found['run_id']
      assert single['valid_logloss'] == pytest.approx(found['valid_logloss'], abs=1e-4)
      assert single['train_examples'] == found['train_examples']
      assert found['train_examples'] < max(
        other['train_examples'] for other in records(out).values()
      )


def test_what_happens_to_a_trial_after_its_end_is_not_recorded(toy):
  """Out of patience after two validations, it diverges while its neighbour goes on."""
  schema = schema_lib.load_schema(toy)
  common = {
    'width': 6,
    'depth': 1,
    'embedding_dim': 4,
    'batch_size': 100,
    'input_norm': 'none',
    'table_optimizer': 'sgd',
    'eval_every': 1,
    'patience': 1,
  }

  def make(rate):
    return settings.make('dense_mlp', common | {'learning_rate': rate})

  study = trials.open_data(toy, schema)
  (alone,) = trials.run_group(study, [make(2e5)], lambda steps: None)
  together = trials.run_group(study, [make(2e5), make(3e-4)], lambda steps: None)
  assert together[0].record | {'wall_seconds': 0} == alone.record | {'wall_seconds': 0}
  assert (
    alone.record['status'] == 'finished'
    and alone.record['train_examples'] < together[1].record['train_examples']
  )


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['--widths=6,a'], '--widths=6,a: expected numbers'),
    (['--set=dropuot=1'], 'dropuot'),
    (['--arms=mlp'], "model 'mlp' is unknown"),
    (['--batch_size=4000'], 'batch_size=4000'),
    (['--set=width=32'], '--set width=32: use --widths'),
    (['--set=learning_rate=0.5'], '--set learning_rate=0.5: use --learning_rates'),
    (['--set=epochs=2'], '--set epochs=2: use --epochs'),
    (['--set=data_fingerprint=x'], '--set data_fingerprint=x: use --data'),
    (['--set=feed=stream'], '--set feed=stream: the trials of a sweep are resident'),
    (['--seeds=0'], '--seeds=0: one number is a count of seeds, at least 1'),
    (['--seeds=-1'], '--seeds=-1: expected seeds not below 0'),
    (['--seeds=0,-1'], '--seeds=0,-1: expected seeds not below 0'),
    (['--seeds=0,3000000000'], 'seed=3000000000: expected'),
    (['--learning_rates=1e-3,inf'], 'learning_rates: expected numbers above 0'),
    (['--study=table4'], ': not with --study, whose file says it'),
    (['--set=dropout'], '--set dropout: expected name=value'),
    (['--widths=ssr_d:8'], '--widths=ssr_d:8: dense_mlp has none'),
    (['--widths=mlp:8'], "--widths=mlp:8: 'mlp' is none of the arms"),
    (['--views='], '--views=: expected numbers separated by commas'),
    (
      ['--arms=ssr_s', '--widths=100000'],
      'ssr_s, 100000 wide: width: a view cannot keep 100000 of 24',
    ),
  ],
)
def test_wrong_flags_name_themselves_and_leave_nothing(toy, tmp_path, capsys, arguments, message):
  assert run(toy, tmp_path / 'study', *arguments) == 1
  assert message in capsys.readouterr().err
  assert not (tmp_path / 'study').exists()


def test_another_data_set_or_folder_is_refused(toy, tmp_path, capsys):
  (tmp_path / 'full').mkdir()
  (tmp_path / 'full' / 'thesis.tex').write_text('mine')
  assert run(toy, tmp_path / 'full') == 1
  assert 'is not a study directory' in capsys.readouterr().err


def test_a_sweep_keeps_the_logits_that_a_report_reads(toy, tmp_path):
  """The error over test rows is in the slope; without the logits the trials run again
  and give the same numbers.
  """
  out = tmp_path / 'study'
  assert run(toy, out, '--arms=dense_mlp', '--widths=2,4,8', '--learning_rates=1e-2') == 0
  names = {path.stem for path in (out / 'logits').iterdir()}
  assert names == {*records(out), 'labels'}
  assert main_lib.call(report.main, report.FLAGS, [f'--study={out}']) == 0
  found = json.loads((out / 'verdicts.json').read_text())['dense_mlp']
  assert found['slope_rows_error'] is not None and found['provisional']
  assert len(found['ladder']) == 3

  before = {name: record['test_logloss'] for name, record in records(out).items()}
  for path in (out / 'logits').iterdir():
    path.unlink()
  assert main_lib.call(report.main, report.FLAGS, [f'--study={out}']) == 0
  assert json.loads((out / 'verdicts.json').read_text())['dense_mlp']['slope_rows_error'] is None
  assert 'no logits of the test rows were kept' in (out / 'report.html').read_text()
  assert run(toy, out, '--arms=dense_mlp', '--widths=2,4,8', '--learning_rates=1e-2') == 0
  assert {path.stem for path in (out / 'logits').iterdir()} == names
  assert before == {name: record['test_logloss'] for name, record in records(out).items()}


def test_plan_only_says_what_a_study_needs_and_trains_nothing(toy, tmp_path, capsys):
  out = tmp_path / 'study'
  assert run(toy, out, '--arms=dense_mlp,ssr_s', '--plan_only') == 0
  *lines, last = capsys.readouterr().out.splitlines()
  assert lines[0].startswith('dense_mlp: dense_mlp 6x1: 4 trials, ')
  assert lines[1].startswith('ssr_s: ssr_s 6x1, 2 views: 4 trials, ')
  assert all('ms a step, at most' in line for line in lines)
  assert last.startswith('8 trials in 2 shapes, at most ')
  assert not out.exists()

  assert run(toy, out, '--arms=dense_mlp') == 0
  capsys.readouterr()
  assert run(toy, out, '--arms=dense_mlp,ssr_s', '--plan_only') == 0
  assert capsys.readouterr().out.splitlines()[-1].startswith('4 trials in 1 shapes')


def test_plan_only_names_what_does_not_fit(toy, tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(memory, 'of_device', lambda devices: 1000)
  assert run(toy, tmp_path, '--arms=dense_mlp', '--plan_only') == 3
  said = capsys.readouterr().out
  assert 'GB: does not fit; half as many trials' in said and '1 do not fit' in said
