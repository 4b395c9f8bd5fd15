"""Studies read back: whole, unfinished, damaged; and the learning rate that validation chooses."""

import json

import fake_study
import numpy as np
import pytest

from rec_sparse.scaling import records


@pytest.fixture
def study(tmp_path):
  arms = {'dense_mlp': fake_study.plateau(), 'ssr_s': fake_study.power_law()}
  return fake_study.write_study(tmp_path / 'study', arms, widths=(16, 32, 64), seeds=3)


def rungs_of(directory):
  return records.rungs_by_arm(records.read_results(directory)[0])


def test_reads_every_trial_in_the_order_of_the_grid(study):
  found = records.read_results(study)[0]
  assert len(found.trials) == found.expected == found.recorded == 2 * 3 * 3 * 3
  assert [t.run_id for t in found.trials] == [i for own in found.listing.values() for i in own]
  assert (
    found.about.teacher.logloss == 0.4378
    and found.study.seeds == (0, 1, 2)
    and found.strangers == ()
  )


def test_rungs_are_ascending_and_judged_at_the_best_validation_rate(study):
  rungs = rungs_of(study)
  for own in rungs.values():
    assert [r.name for r in own] == ['w16 d2', 'w32 d2', 'w64 d2']
    assert [r.flops for r in own] == sorted(r.flops for r in own)
    assert all(
      r.learning_rate == 0.003 and r.edge == '' and r.full_grid and r.seeds == (0, 1, 2)
      for r in own
    )


def test_the_test_split_does_not_choose(study):
  def flatter(record):
    return record | {'test_logloss': 0.1} if record['learning_rate'] == 0.001 else record

  fake_study.edit_trials(study, flatter)
  assert all(r.learning_rate == 0.003 for own in rungs_of(study).values() for r in own)


def test_a_rate_that_lost_a_seed_does_not_compete(study):
  def lose_one(record):
    lost = record['learning_rate'] == 0.003 and record['seed'] == 1 and record['width'] == 64
    return fake_study.fail(record, 'diverged') if lost else record

  fake_study.edit_trials(study, lose_one)
  rung = rungs_of(study)['ssr_s'][-1]
  assert rung.learning_rate in (0.001, 0.01) and rung.seeds == (0, 1, 2)


@pytest.mark.parametrize('status, edge', [('diverged', ''), ('failed', 'highest')])
def test_divergence_brackets_a_rate_and_failure_does_not(study, status, edge):
  fake_study.edit_trials(
    study, lambda r: fake_study.fail(r, status) if r['learning_rate'] == 0.01 else r
  )
  assert {r.edge for own in rungs_of(study).values() for r in own} == {edge}


def test_a_best_rate_at_an_end_is_flagged(study):
  fake_study.edit_trials(
    study, lambda r: r | {'valid_logloss': 0.2} if r['learning_rate'] == 0.001 else r
  )
  assert {r.edge for own in rungs_of(study).values() for r in own} == {'lowest'}


def test_one_rate_is_no_grid(tmp_path):
  directory = fake_study.write_study(
    tmp_path / 's', {'a': fake_study.power_law()}, learning_rates=(0.003,)
  )
  assert {r.edge for r in rungs_of(directory)['a']} == {'only'}


def test_an_unfinished_study_is_read(study):
  fake_study.edit_trials(study, lambda r: None if r['width'] == 64 and r['seed'] == 2 else r)
  found = records.read_results(study)[0]
  assert (found.recorded, found.missing, found.expected) == (48, 6, 54)
  assert [r.full_grid for r in records.rungs_by_arm(found)['ssr_s']] == [True, True, False]


def test_only_failed_trials_give_no_rungs(study):
  fake_study.edit_trials(study, fake_study.fail)
  assert rungs_of(study) == {'dense_mlp': (), 'ssr_s': ()}
  assert {t.error for t in records.read_results(study)[0].trials} == {'Resource exhausted'}


def test_a_stranger_is_left_out_and_named(study):
  record = fake_study.trial_record('dense_mlp', 4, 1, 0, 0.003, fake_study.power_law(), 0.0, 0)
  fake_study.write_trial(study, record)
  found = records.read_results(study)[0]
  assert found.strangers == (record['run_id'],) and len(found.trials) == 54


def test_trials_of_several_recipes_are_no_curve(study):
  def other(record):
    config = record['config'] | ({'batch_size': 7} if record['seed'] == 2 else {})
    return record | {'config': config}

  fake_study.edit_trials(study, other)
  with pytest.raises(
    ValueError, match='trials of dense_mlp differ in batch_size, so they are no rungs of one curve'
  ):
    rungs_of(study)


def test_arms_share_a_model_and_trials_and_other_axes_make_rungs(study):
  """The study's listing says which arm a trial belongs to, and its record which size it has."""
  fake_study.edit_trials(
    study, lambda r: r | {'config': r['config'] | {'options': {'iterations': r['width'] // 16}}}
  )
  (found,) = records.read_results(study)
  own = found.listing['ssr_s']
  scale = {'iterations': [1, 2, 4], 'depth': [2]}
  arm = {'name': 'turned', 'model': 'ssr_s', 'overrides': {}, 'scale': scale}
  ladder = {'name': 'both', 'title': '', 'source': '', 'seeds': [0, 1, 2]}
  ladder |= {'learning_rates': [1e-3, 3e-3, 1e-2], 'arms': [arm, arm | {'name': 'again'}]}
  listing = {'turned': own, 'again': own}
  fake_study.write_directory(study, [{'study': ladder, 'recipes': {}, 'trials': listing}])

  (found,) = records.read_results(study)
  assert (found.expected, found.recorded, len(found.trials)) == (27, 27, 54)
  assert len(found.strangers) == 27
  rungs = records.rungs_by_arm(found)
  assert [r.name for r in rungs['again']] == [
    'w16 d2 iterations=1',
    'w32 d2 iterations=2',
    'w64 d2 iterations=4',
  ]
  assert {(r.arm, r.shape) for r in rungs['again']} == {('again', '')}
  assert records.only(found, found.study.arms[:1]).listing.keys() == {'turned'}


def test_paired_takes_common_seeds_in_order(study):
  fake_study.edit_trials(
    study, lambda r: fake_study.fail(r) if r['width'] == 32 and r['seed'] == 1 else r
  )
  own = rungs_of(study)['ssr_s']
  seeds, y_PxS = records.paired(own, 'test_logloss')
  assert seeds == (0, 2) and y_PxS.shape == (3, 2)
  np.testing.assert_array_equal(y_PxS[0], own[0].metrics['test_logloss'][[0, 2]])
  assert records.paired((), 'test_logloss')[1].shape == (0, 0)


def test_missing_study_is_one_sentence(tmp_path):
  with pytest.raises(ValueError, match=r'study.json: not found; is --study a study directory'):
    records.read_results(tmp_path)[0]


@pytest.mark.parametrize(
  'text, message',
  [
    ('{"format_version": 1', 'study.json: line 1: not JSON'),
    ('[]', 'study.json: not a JSON object'),
    ('{"format_version": 2}', 'study.json: not a study that launch.sweep wrote .data: missing'),
    ('{"format_version": 1}', 'format_version is 1, this program reads 2; the release that wrote'),
  ],
)
def test_damaged_study_is_named(study, text, message):
  (study / 'study.json').write_text(text)
  with pytest.raises(ValueError, match=message):
    records.read_results(study)[0]


def test_another_version_and_a_wrong_type_are_named(study):
  raw = json.loads((study / 'study.json').read_text())
  for change, message in (
    ({'format_version': 3}, 'format_version is 3'),
    ({'commands': 3}, 'commands: expected a valid array, got 3'),
    ({'studies': [{}]}, 'studies.0..study: missing'),
    ({'widths': [3]}, 'widths: unknown entry'),
  ):
    (study / 'study.json').write_text(json.dumps(raw | change))
    with pytest.raises(ValueError, match=message):
      records.read_results(study)[0]


def damage(change):
  return lambda raw: json.dumps({k: v for k, v in (raw | change).items() if v is not ...})


@pytest.mark.parametrize(
  'damaged, message',
  [
    (lambda raw: json.dumps(raw)[:50], 'not JSON'),
    (lambda raw: '', 'not JSON'),
    (lambda raw: '3', 'not a JSON object'),
    (damage({'width': ...}), "no 'width'"),
    (damage({'status': 'done'}), "status is 'done'"),
    (damage({'run_id': 'x'}), "run_id is 'x'"),
    (damage({'test_logloss': None}), 'test_logloss is None'),
    (damage({'test_auc': float('nan')}), 'test_auc is nan'),
    (damage({'valid_auc': 'high'}), "valid_auc is 'high'"),
    (damage({'flops_per_example': 0}), 'flops_per_example is 0'),
    (damage({'seed': 'first'}), 'invalid literal'),
    (damage({'config': {'options': 3}}), 'config.options is no object'),
  ],
)
def test_damaged_trial_names_the_file(study, damaged, message):
  path = sorted((study / 'trials').iterdir())[3]
  path.write_text(damaged(json.loads(path.read_text())))
  with pytest.raises(ValueError, match=message) as e:
    records.read_results(study)[0]
  assert path.name in str(e.value)


def test_bytes_that_are_no_text_are_named(study):
  path = sorted((study / 'trials').iterdir())[0]
  path.write_bytes(b'\xff\xfe\x00')
  with pytest.raises(ValueError, match='not UTF-8'):
    records.read_results(study)[0]
