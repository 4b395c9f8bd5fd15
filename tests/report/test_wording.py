"""The sentences: what each verdict says, and which study earns which caveat."""

import dataclasses

import fake_study
import pytest

from rec_sparse.report import wording
from rec_sparse.scaling import compare
from rec_sparse.scaling import records
from rec_sparse.scaling import verdict
from rec_sparse.scaling.student import Spread
from rec_sparse.scaling.verdict import Slope

NOISE = Spread(1e-3, 4)
TRUTHS = {'dense_mlp': fake_study.plateau(), 'ssr_s': fake_study.power_law()}


def words(directory):
  study = records.read_results(directory)[0]
  rungs = records.rungs_by_arm(study)
  verdicts = {arm: verdict.judge(own) for arm, own in rungs.items()}
  return wording.reading(rungs, verdicts, compare.compare_arms(rungs)), wording.caveats(
    study, rungs, verdicts
  )


def test_reading_of_a_clear_study(tmp_path):
  text, notes = words(fake_study.write_study(tmp_path / 's', TRUTHS, noise=1e-5, seeds=5))
  assert (
    'dense_mlp is saturated: a gain of 0.0001 nats per e-fold' in text
    and 'ssr_s keeps scaling' in text
  )
  assert 'ssr_s is better by' in text and 'at equal non-zero dense parameters' in text
  assert len(notes) == 1 and 'no logits of the test rows were kept' in notes[0]


@pytest.mark.parametrize(
  'slope, call, expected',
  [
    (
      Slope(('a', 'b', 'c'), 2e-3, (1e-3, 3e-3), NOISE, 3, None),
      'saturated',
      'gets worse with size',
    ),
    (
      Slope(('a', 'b', 'c'), 0.0, (-1e-3, 1e-3), NOISE, 3, None),
      'undetermined',
      'For a, about 50 seeds would settle it.',
    ),
    (Slope(('a', 'b', 'c'), 0.0, None, None, 1, None), 'undetermined', 'because.'),
    (Slope((), None, None, None, 0, None), 'undetermined', 'because.'),
  ],
)
def test_reading_of_every_other_verdict(slope, call, expected):
  needed = 50 if call == 'undetermined' and slope.interval else None
  v = dataclasses.replace(
    verdict.judge(()), slope=slope, call=call, reason='because', seeds_needed=needed
  )
  assert expected in wording.reading({'a': ()}, {'a': v}, ())


@pytest.mark.parametrize(
  'seeds, rows, with_seeds, expected',
  [
    (50, 90_000, 3, 'about 50 seeds would settle it, or about 90,000 test rows'),
    (
      None,
      90_000,
      3,
      'no number of seeds would settle it on these rows; about 90,000 test rows would',
    ),
    (
      None,
      90_000,
      12,
      'no number of seeds would settle it on these rows; '
      'about 90,000 test rows with 12 seeds would',
    ),
    (None, None, None, 'no number of seeds or test rows would settle it'),
  ],
)
def test_what_would_settle_a_verdict(seeds, rows, with_seeds, expected):
  slope = Slope(('a', 'b', 'c'), 0.0, (-1e-3, 1e-3), NOISE, 3, 1e-4)
  v = dataclasses.replace(
    verdict.judge(()),
    slope=slope,
    seeds_needed=seeds,
    rows_needed=rows,
    rows_needed_seeds=with_seeds,
  )
  assert wording.needed_text(v) == expected


def test_a_floor_under_a_scaling_arm_is_reconciled(tmp_path):
  study = records.read_results(fake_study.write_study(tmp_path / 's', TRUTHS, noise=1e-5, seeds=5))[
    0
  ]
  rungs = records.rungs_by_arm(study)
  verdicts = {arm: verdict.judge(own) for arm, own in rungs.items()}
  (text,) = wording.reconciled(rungs, verdicts)
  assert text.startswith('ssr_s keeps scaling on this ladder although its law has a floor')


@pytest.mark.parametrize(
  'change, expected',
  [
    (lambda r: None if r['seed'] == 2 else r, 'The study is unfinished: 72 of 108'),
    (
      lambda r: fake_study.fail(r, 'diverged') if r['learning_rate'] == 0.01 else r,
      '36 of 108 recorded trials did',
    ),
    (lambda r: r | {'valid_logloss': 0.1} if r['learning_rate'] == 0.01 else r, '(highest, 0.01)'),
    (
      lambda r: fake_study.fail(r) if r['width'] == 32 and r['seed'] == 0 else r,
      'seeds are missing at w32 d2',
    ),
    (lambda r: fake_study.fail(r) if r['arm'] == 'ssr_s' else r, 'ssr_s: no trial finished'),
    (
      lambda r: r | {'config': r['config'] | {'batch_size': len(r['arm'])}},
      'differ in more than the grid: batch_size',
    ),
  ],
)
def test_caveats_of_what_went_wrong(tmp_path, change, expected):
  directory = fake_study.write_study(tmp_path / 's', TRUTHS)
  fake_study.edit_trials(directory, change)
  assert any(expected in note for note in words(directory)[1])


def test_caveats_of_a_thin_design(tmp_path):
  directory = fake_study.write_study(
    tmp_path / 's', TRUTHS, widths=(16, 32, 64), seeds=2, teacher=None, learning_rates=(0.003,)
  )
  fake_study.edit_trials(directory, lambda r: r | {'config': r['config'] | {'epochs': 4}})
  _, notes = words(directory)
  text = '\n'.join(notes)
  for expected in (
    'Few seeds (2)',
    'short ladder',
    'a single learning rate was tried',
    'no teacher',
    '4 passes',
  ):
    assert expected in text
  assert 'dense_mlp, ssr_s: a short ladder' in text  # equal words on two arms are said once


def test_a_fit_below_the_teacher_is_called_out(tmp_path):
  _, notes = words(
    fake_study.write_study(tmp_path / 's', {'a': fake_study.power_law(E=0.40)}, seeds=5)
  )
  assert any('lies below that of the teacher on the same test rows' in note for note in notes)


def test_a_verdict_that_hangs_on_one_rung_is_called_out(tmp_path):
  def cliff(flops):
    return 0.44 - 0.01 * (flops > 2e5)

  _, notes = words(fake_study.write_study(tmp_path / 's', {'a': cliff}, seeds=5, noise=1e-6))
  assert any(
    'hangs on single rungs: it would be saturated without w512 d2' in note for note in notes
  )


def test_several_depths_are_told(tmp_path):
  directory = fake_study.write_study(tmp_path / 's', TRUTHS, depths=(2, 3), widths=(16, 64, 256))
  _, notes = words(directory)
  assert any('follow its efficient frontier' in note for note in notes)


def test_arms_open_for_one_reason_share_a_sentence(tmp_path):
  text, _ = words(fake_study.write_study(tmp_path / 's', TRUTHS, widths=(16, 32)))
  assert text.startswith(
    'dense_mlp and ssr_s are undetermined: fewer than 3 sizes have finished trials.'
  )


def test_a_comparison_over_next_to_no_range_says_so(tmp_path):
  directory = fake_study.write_study(tmp_path / 's', TRUTHS, widths=(16, 32, 64))
  assert 'less than one e-fold of sizes is shared' not in words(directory)[0]
  ends = (('dense_mlp', 64), ('ssr_s', 16))
  fake_study.edit_trials(directory, lambda r: None if (r['arm'], r['width']) in ends else r)
  assert 'less than one e-fold of sizes is shared' in words(directory)[0]


def test_numbers_are_signed_decimals():
  assert wording.signed(-0.00278) == '\N{MINUS SIGN}0.00278' and wording.signed(1e-4) == '+0.00010'
  assert wording.interval_text(None) == 'no interval: too few seeds'
