"""Standings: the rules of best, patience and divergence; timetables."""

import math

import pytest

from rec_sparse import objective
from rec_sparse import settings
from rec_sparse.runs import standing as standing_lib
from rec_sparse.runs import timetable
from rec_sparse.runs.standing import Standing

CLICKS = objective.clicks(('click',), 'logloss')


def after(losses, patience=0, settled=0):
  """The standings after validations of these log losses, one every 10 steps."""
  standing, reached = Standing(), []
  for i, loss in enumerate(losses):
    standing = standing_lib.after_steps(standing, 10 * (i + 1), 0.5)
    found = None if math.isnan(loss) else {'logloss': loss}
    standing = standing_lib.judge(CLICKS, patience, standing, found, settled)
    reached.append(standing)
  return reached


def test_patience_counts_validations_since_the_best_of_which_the_first_of_equals_is_one():
  reached = after([0.5, 0.4, 0.4, 0.45, 0.3], patience=2)
  assert [own.waited for own in reached] == [0, 0, 1, 2, 2]
  assert [own.best_step for own in reached] == [10, 20, 20, 20, 20]
  assert [own.is_best for own in reached] == [True, True, False, False, False]
  assert [own.status for own in reached] == ['running'] * 3 + ['finished'] * 2
  assert reached[-1].step == 40 and reached[-1].why.startswith('stopped early: 2 validations')
  assert all(own.runs for own in after([0.5, 0.6, 0.7, 0.8]))

  longer = standing_lib.reopened(reached[-1], 40, patience=3)
  assert longer.runs and longer.waited == 2 and longer.best == {'logloss': 0.4}
  assert not standing_lib.reopened(reached[-1], 40, patience=2).runs


def test_no_state_is_the_best_before_the_network_is_the_one_that_was_asked_for():
  reached = after([0.3, 0.35, 0.5, 0.45], patience=1, settled=30)
  assert [own.best_step for own in reached] == [0, 0, 30, 40]
  assert all(own.runs for own in reached) and reached[1].best is None
  assert after([math.nan], settled=30)[0].status == 'diverged'


def test_numbers_that_are_not_finite_end_a_run_and_leave_its_best():
  *_, lost = after([0.5, math.nan, 0.1])
  assert lost.status == 'diverged' and lost.best == {'logloss': 0.5} and lost.step == 20
  assert lost.why == 'logits of the validation split are NaN or infinite by step 20'
  lost = standing_lib.after_steps(Standing(), 7, math.inf)
  assert lost.why == 'the training loss became NaN or infinite by step 7'
  assert standing_lib.at_end(lost, 7) == lost


def test_a_timetable_stops_at_what_is_due():
  sizes = {'batch_size': 10, 'epochs': 2, 'eval_every': 7, 'checkpoint_every': 5, 'keep_every': 12}
  table = timetable.of(settings.make('dense_mlp', sizes), rows=95)
  stops, step = [], 0
  while step < table.last:
    step = table.next_stop(step, most=6)
    stops.append(step)
  assert stops == [5, 7, 10, 12, 14, 15, 20]
  assert [step for step in stops if table.validates(step)] == [7, 14, 20]
  assert [step for step in stops if table.saves(step)] == stops
  with pytest.raises(ValueError, match='batch_size'):
    timetable.of(settings.make('dense_mlp', sizes), rows=9)
