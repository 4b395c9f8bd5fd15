"""verdicts.json and curves.csv as another program reads them."""

import csv
import io
import json

import fake_study
import numpy as np
import pytest

from rec_sparse.report import tables
from rec_sparse.scaling import records
from rec_sparse.scaling import verdict

KEYS = [
  'verdict',
  'provisional',
  'slope',
  'slope_interval',
  'irreducible',
  'exponent',
  'seeds_needed',
  'rows_needed',
]


def strict(text):
  def refuse(constant):
    raise AssertionError(f'{constant} is not JSON')

  return json.loads(text, parse_constant=refuse)


def read(directory):
  study = records.read_results(directory)[0]
  return study, records.rungs_by_arm(study)


@pytest.mark.parametrize(
  'widths, seeds', [((16, 32, 64, 128, 256), 3), ((16, 32, 64), 1), ((16,), 3), ((16,), 1)]
)
def test_verdicts_are_strict_json_with_the_agreed_keys(tmp_path, widths, seeds):
  truths = {'a': fake_study.power_law(), 'b': fake_study.plateau()}
  _, rungs = read(fake_study.write_study(tmp_path / 's', truths, widths=widths, seeds=seeds))
  found = strict(tables.verdicts_json({arm: verdict.judge(own) for arm, own in rungs.items()}))
  assert list(found) == ['a', 'b']
  for entry in found.values():
    assert list(entry)[:8] == KEYS
    assert (
      entry['verdict'] in ('saturated', 'scaling', 'undetermined')
      and len(entry['slope_interval']) == 2
    )
    if seeds == 1:
      assert entry['slope_interval'] == [None, None] and entry['seeds_needed'] is None


def test_delta_that_would_change_the_call_is_told(tmp_path):
  _, rungs = read(fake_study.write_study(tmp_path / 's', {'a': fake_study.power_law()}))
  entry = strict(tables.verdicts_json({'a': verdict.judge(rungs['a'])}))['a']
  interval = tuple(entry['slope_interval'])
  assert verdict.classify(interval, entry['scaling_if_delta_below'] * 0.999) == 'scaling'
  assert verdict.classify(interval, entry['scaling_if_delta_below'] * 1.001) == 'undetermined'
  assert verdict.classify(interval, entry['saturated_if_delta_above'] * 1.001) == 'saturated'


def test_curves_hold_every_rung_and_every_seed(tmp_path):
  directory = fake_study.write_study(
    tmp_path / 's', {'a': fake_study.power_law()}, widths=(16, 32), seeds=3
  )
  fake_study.edit_trials(
    directory, lambda r: fake_study.fail(r) if r['width'] == 16 and r['seed'] == 1 else r
  )
  study, rungs = read(directory)
  rows = list(csv.DictReader(io.StringIO(tables.curves_csv(study, rungs))))
  assert [row['width'] for row in rows] == ['16', '32'] and [row['seeds'] for row in rows] == [
    '2',
    '3',
  ]
  assert list(rows[0])[: len(tables.CURVE_COLUMNS)] == list(tables.CURVE_COLUMNS)
  assert rows[0]['test_logloss_seed_1'] == ''
  seeds = [float(rows[1][f'test_logloss_seed_{s}']) for s in range(3)]
  assert float(rows[1]['test_logloss_mean']) == pytest.approx(np.mean(seeds), rel=1e-12)
  assert float(rows[1]['test_logloss_sd']) == pytest.approx(np.std(seeds, ddof=1), rel=1e-9)
  assert float(rows[0]['flops_per_example']) == rungs['a'][0].flops


def test_one_seed_has_no_deviation(tmp_path):
  study, rungs = read(
    fake_study.write_study(tmp_path / 's', {'a': fake_study.power_law()}, widths=(16,), seeds=1)
  )
  row = next(csv.DictReader(io.StringIO(tables.curves_csv(study, rungs))))
  assert row['test_auc_sd'] == '' and row['test_auc_mean'] == row['test_auc_seed_0']
