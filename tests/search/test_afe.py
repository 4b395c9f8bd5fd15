"""Adaptive Feature Extraction against JMI, and on rows whose redundancy is planted."""

import numpy as np
import pytest

from rec_sparse.search import afe
from rec_sparse.search import information
from rec_sparse.search import planted

METHOD = information.permutation


def order(rows, method=METHOD, **options):
  counted = planted.counted(rows, 2 if method is information.split else 1)
  names = list(rows.fields)
  steps = list(afe.steps(*counted, rows.label_BxT.shape[1], method, **options))
  return [names[step.field] for step in steps], {names[step.field]: step for step in steps}


def test_at_one_label_it_is_jmi():
  """Brown et al. 2012: I(x;y) - 1/|S| sum I(x;s) + 1/|S| sum I(x;s|y), by rows, not by tables."""
  rng = np.random.default_rng(0)
  latent = rng.integers(0, 4, 3000)
  label = (rng.random(3000) < 0.15 + 0.2 * latent).astype(int)
  fields = {}
  for name, noise in (('a', 2), ('b', 3), ('c', 4), ('d', 5)):
    fields[name] = 1 + (latent + rng.integers(0, noise, 3000)) % 6

  def entropy(*columns):
    _, n = np.unique(np.stack(columns), axis=1, return_counts=True)
    return -np.sum(n / n.sum() * np.log(n / n.sum()))

  def mutual(x, y, *given):
    both = entropy(x, *given) + entropy(y, *given) - entropy(x, y, *given)
    return both - (entropy(*given) if given else 0)

  chosen, scores = [], {}
  while len(chosen) < 4:
    for name, x in fields.items():
      if name not in chosen:
        scores[name] = mutual(x, label)
        for other in chosen:
          s = fields[other]
          scores[name] += (mutual(x, s, label) - mutual(x, s)) / len(chosen)
    chosen.append(max(fields.keys() - chosen, key=scores.get))
  names, steps = order(planted.Rows(fields, label[:, None]), information.as_counted, strikes=False)
  assert names == chosen
  for name in names:
    assert steps[name].j.value == pytest.approx(scores[name], abs=1e-12)
    parts = (steps[name].pi, steps[name].bi, steps[name].ci)
    assert steps[name].j.value == pytest.approx(sum(part.value for part in parts), abs=1e-12)
    assert steps[name].bi.value == 0


@pytest.mark.parametrize('method', [information.permutation, information.split])
def test_planted_redundancy_goes_and_the_pair_stays(method):
  rows = planted.rows(seed=0, rows=50_000, noise_values=20_000)
  names, steps = order(rows, method)
  kept = planted.kept(rows, steps.values())
  assert planted.verdict(kept) == planted.Verdict(True, True, True, True)
  assert names.index('pair_2') == names.index('pair_1') + 1
  plain, scores = order(rows, method, strikes=False)
  assert scores['copy_2'].redundant_to < 0
  if method is information.permutation:
    noise = steps['noise_of_many_values']
    assert noise.pi.low < 0 < noise.pi.high and noise.j.plug_in > 20 * abs(noise.j.value)
    assert plain.index('near_copy') < plain.index('weak')  # a mean forgives copies


def test_plug_in_takes_noise_for_the_best():
  rows = planted.rows(seed=0, rows=50_000, noise_values=20_000)
  names, _ = order(rows, information.as_counted)
  assert names.index('noise_of_many_values') <= 1


def test_a_pure_xor_pair_needs_a_start_of_pairs():
  rows = planted.rows(seed=1, rows=20_000, noise_values=500, pure=True)
  _, steps = order(rows)
  assert all(steps[name].pi.low < 0 for name in ('pair_1', 'pair_2'))
  found = afe.most_synergistic(*planted.counted(rows), 1, METHOD)
  assert {list(rows.fields)[field] for field in found} == {'pair_1', 'pair_2'}
  names, steps = order(rows, start=found)
  assert set(names[:2]) == {'pair_1', 'pair_2'} and steps[names[1]].j.low > 0
  alone = {name: rows.fields[name] for name in ('strong_1', 'weak')}
  fewer = planted.counted(planted.Rows(alone, rows.label_BxT))
  assert afe.most_synergistic(*fewer, 1, METHOD) == ()


def test_two_labels():
  """Each has a field of its own; behaviour counts what a field tells of one label given another."""
  rows = planted.rows(seed=2, rows=30_000, noise_values=500, tasks=2)
  names, steps = order(rows)
  kept = planted.kept(rows, steps.values())
  assert planted.verdict(kept) == planted.Verdict(True, True, True, True)
  assert 'of_second' in kept

  first, second = rows.label_BxT.T
  value = rows.fields['of_second']

  def informed(x, y, given):
    cell = (given * (x.max() + 1) + x) * 2 + y
    table = np.bincount(cell, minlength=4 * (x.max() + 1)).reshape(1, 2, -1, 2)
    return information.plug_in(table)

  none = np.zeros_like(first)
  wanted = informed(value, first, second) - informed(value, first, none)
  wanted += informed(value, second, first) - informed(value, second, none)
  assert steps['of_second'].bi.plug_in == pytest.approx(wanted, abs=1e-12)


def test_a_pair_of_which_nothing_can_be_counted_is_no_redundancy():
  """Every user meets every item once: given the item a user may tell anything."""
  rng = np.random.default_rng(3)
  user, item = np.divmod(np.arange(60 * 50), 50)
  rate = 0.5 + 0.3 * rng.choice([-1, 1], 60)[user] + 0.15 * rng.choice([-1, 1], 50)[item]
  label_B = (rng.random(len(user)) < rate).astype(int)
  fields = {'item': 1 + item, 'user': 1 + user}
  _, steps = order(planted.Rows(fields, label_B[:, None]))
  second = steps['item']
  assert second.redundant_to < 0 and np.isinf(second.j.half)
  assert second.j.value == second.pi.value > 0.01 and second.ci.value == 0
  assert np.isfinite(second.pi.half) and second.bi.half == 0
