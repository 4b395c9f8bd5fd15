"""From launch.select to a compact data set: what stays, what raw rows become, what is refused."""

import csv
import dataclasses
import json

import numpy as np
import polars as pl
import pytest

from data_pipelines import blocks
from data_pipelines import vocabulary
from launch import kept
from launch import main as main_lib
from launch import prepare
from launch import prepare_flags
from launch import select
from rec_sparse import plan as plan_lib
from rec_sparse import schema as schema_lib
from rec_sparse.runs import counted
from rec_sparse.runs import select as runs_select

ROWS = 6000


def raw_rows(rows, seed):
  rng = np.random.default_rng(seed)
  item = rng.integers(0, 40, rows)
  age = rng.normal(30, 8, rows).round(2)
  price = rng.gamma(2.0, 10.0, rows).round(2)
  logit = 1.5 * np.sin(item) + 0.08 * (age - 30) + 0.05 * (price - 20)
  return pl.DataFrame(
    {
      'label': (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(int),
      'item': [f'i{value}' for value in item],
      'same_item': [f's{(7 * value) % 40}' for value in item],
      'noise': rng.integers(0, 3000, rows).astype(str),
      'age': age,
      'price': price,
      'late': pl.Series(rng.normal(size=rows).round(3)).set(
        pl.Series(rng.random(rows) < 0.2), None
      ),
    }
  )


def do(program, flags, *arguments):
  return main_lib.call(program.main, flags, [str(argument) for argument in arguments])


def make(*arguments):
  return do(prepare, prepare_flags.FLAGS, *arguments)


def choose(*arguments):
  return do(select, select.FLAGS, *arguments)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  """Two id columns that say the same, noise, and numbers: one in buckets, two as values."""
  directory = tmp_path_factory.mktemp('select')
  raw_rows(ROWS, 0).write_csv(directory / 'log.csv')
  spec = {
    'categorical': ['item', 'same_item', 'noise'],
    'numeric': {'age': 'quantile', 'price': 'value', 'late': 'value'},
    'group': 'item',
  }
  (directory / 'spec.json').write_text(json.dumps(spec))
  files = (f'--train={directory}/log.csv', f'--spec={directory}/spec.json')
  assert make('--source=csv', *files, f'--out={directory}/data') == 0
  return directory / 'data'


def rows_of(directory, split):
  schema = schema_lib.load_schema(directory)
  return schema, blocks.read_all(blocks.open_split(directory, schema, split))


def test_fields_that_tell_something_stay(data, tmp_path, capsys):
  assert choose(f'--data={data}', '--until=heldout', '--pairs', f'--out={tmp_path}') == 0
  said = capsys.readouterr().out.splitlines()
  assert said[-1] == str(tmp_path / 'plan.npz')
  trace = json.loads((tmp_path / 'trace.json').read_text())
  assert set(trace['kept']) - {'same_item'} | {'item'} == {'item', 'age', 'price'}
  assert len(trace['heldout_logloss']) == 1 + len(trace['trace'])
  assert trace['heldout_logloss'][3] < trace['heldout_logloss'][0] - 0.1
  names = trace['made_by']['fields']
  nmi = np.array(trace['nmi'])
  assert nmi[names.index('item'), names.index('same_item')] == pytest.approx(1, abs=1e-6)
  assert nmi[names.index('item'), names.index('age')] < 0.02
  for name in ('trace.png', 'pairs.png'):
    assert (tmp_path / name).read_bytes()[:4] == b'\x89PNG'


@pytest.mark.parametrize('by', ['jmi', 'mi', 'frequency', 'random', 'lasso'])
def test_orders_keep_as_many_fields_as_asked(data, tmp_path, by):
  assert choose(f'--data={data}', '--k=2', f'--by={by}', f'--out={tmp_path}') == 0
  plan = plan_lib.load(tmp_path / 'plan.npz')
  assert plan.arrays['kept_F'].sum() == 2 and plan.made_by['by'] == by
  if by in ('jmi', 'mi'):
    names = np.array(plan.made_by['fields'])
    assert set(names[plan.arrays['kept_F']]) & {'item', 'same_item'}


def test_autofis_keeps_all_fields_and_names_pairs(data, tmp_path, capsys):
  assert choose(f'--data={data}', '--k=3', '--by=autofis', f'--out={tmp_path}') == 0
  plan = plan_lib.load(tmp_path / 'plan.npz')
  kept = plan.arrays['kept_pairs'].tolist()
  fields = len(plan.made_by['fields'])
  assert plan.arrays['kept_F'].all() and plan.arrays['gate_P'].shape == (
    fields * (fields - 1) // 2,
  )
  gate_P = plan.arrays['gate_P']
  assert len(kept) == min(3, np.count_nonzero(gate_P)) > 0 and gate_P[kept].all()
  assert f'--kept_pairs={",".join(map(str, kept))}' in capsys.readouterr().out
  assert choose(f'--data={data}', '--k=99', '--by=autofis', f'--out={tmp_path}') == 1
  assert 'pairs of fields' in capsys.readouterr().err


def test_a_plan_that_keeps_all_changes_no_row(data, tmp_path, capsys):
  assert choose(f'--data={data}', '--k=6', f'--out={tmp_path}') == 0
  plan = f'--plan={tmp_path}/plan.npz'
  assert make(plan, f'--data={data}', f'--out={tmp_path}/all') == 0
  old, new = schema_lib.load_schema(data), schema_lib.load_schema(tmp_path / 'all')
  assert new.fields == old.fields and new.columns == old.columns
  assert new.vocabulary == old.vocabulary and new.fingerprint != old.fingerprint
  assert new.source['plan'] == plan_lib.load(tmp_path / 'plan.npz').hash
  for split in schema_lib.SPLITS:
    first, second = rows_of(data, split)[1], rows_of(tmp_path / 'all', split)[1]
    for name in first:
      np.testing.assert_array_equal(first[name], second[name])
  capsys.readouterr()
  assert make(plan, f'--data={data}', f'--out={tmp_path}/all') == 0
  assert 'already there' in capsys.readouterr().out


def test_values_that_go_share_the_unknown_row(data, tmp_path):
  """Blocks, vocabulary and raw rows agree, whatever becomes of a column."""
  assert choose(f'--data={data}', '--level=value', '--k=60', f'--out={tmp_path}') == 0
  small = tmp_path / 'small'
  assert make(f'--plan={tmp_path}/plan.npz', f'--data={data}', f'--out={small}') == 0
  plan = plan_lib.load(tmp_path / 'plan.npz')
  old, before = rows_of(data, 'train')
  new, after = rows_of(small, 'train')
  assert sum(f.vocab_size - 1 for f in new.fields if f.kind == 'categorical') == 60
  assert {'price', 'late'} <= {field.name for field in new.fields}

  row_R = plan.arrays['row_R'][plan.arrays['row_R'] >= 0]
  firsts = set(new.offsets)
  shared = np.bincount(row_R)
  assert all(count == 1 for row, count in enumerate(shared) if row not in firsts)
  assert set(row_R) == set(range(new.table_rows))
  kept = [field.name for field in new.fields]
  for f, field in enumerate(old.fields):
    if field.name not in kept or field.kind == 'numeric':
      continue
    texts = np.array(vocabulary.load(data, field.name).sort('id')['value'].to_list())
    fewer = np.array(vocabulary.load(small, field.name).sort('id')['value'].to_list())
    g = kept.index(field.name)
    text_B = texts[before['ids_BxF'][:, f] - old.offsets[f]]
    text_B[~np.isin(text_B, fewer[1:])] = None
    np.testing.assert_array_equal(fewer[after['ids_BxF'][:, g] - new.offsets[g]], text_B)
    unknown = new.columns[field.name].unknown
    assert unknown['train'] == (after['ids_BxF'][:, g] == new.offsets[g]).sum()
  np.testing.assert_array_equal(before['value_BxA'], after['value_BxA'])
  np.testing.assert_array_equal(before['group_B'], after['group_B'])
  _check_raw_rows(data, small, plan, tmp_path)


def _check_raw_rows(data, small, plan, tmp_path):
  """New logs are encoded as those of the whole data set, and then through the plan."""
  raw_rows(500, 1).write_csv(tmp_path / 'new.csv')
  raw_rows(500, 1).drop('noise').write_csv(tmp_path / 'fewer.csv')
  log = f'--test={tmp_path}/new.csv'
  for source, name in ((data, 'of_whole'), (small, 'of_small')):
    made = f'--out={tmp_path}/{name}'
    assert make('--source=csv', log, f'--vocab_from={source}', made) == 0
  whole = rows_of(tmp_path / 'of_whole', 'test')[1]
  compact = rows_of(tmp_path / 'of_small', 'test')[1]
  wanted = plan.arrays['row_R'][whole['ids_BxF'][:, plan.arrays['kept_F']]]
  np.testing.assert_array_equal(compact['ids_BxF'], wanted)
  np.testing.assert_array_equal(compact['value_BxA'], whole['value_BxA'])


def test_a_field_that_goes_need_not_be_in_new_logs(data, tmp_path):
  assert choose(f'--data={data}', '--k=3', f'--out={tmp_path}') == 0
  small = tmp_path / 'small'
  assert make(f'--plan={tmp_path}/plan.npz', f'--data={data}', f'--out={small}') == 0
  raw_rows(100, 2).drop('noise', 'late').write_csv(tmp_path / 'new.csv')
  arguments = ('--source=csv', f'--test={tmp_path}/new.csv', f'--vocab_from={small}')
  assert make(*arguments, f'--out={tmp_path}/new') == 0
  assert len(schema_lib.load_schema(tmp_path / 'new').fields) == 3


def test_what_it_refuses(data, one_class, tmp_path, capsys, monkeypatch):
  out = tmp_path / 'out'

  def refused(program, *arguments):
    assert program(*arguments, f'--out={out}') == 1
    assert not out.exists()
    return capsys.readouterr().err.splitlines()[-1]

  given = f'--data={data}'
  assert '--k=7: the data set has 6 fields' in refused(choose, given, '--k=7')
  assert '--k, --until: expected one of the two' in refused(choose, given)
  said = refused(choose, given, '--until=heldout', '--by=mi')
  assert '--until=heldout: is for --level=field --by=afe|jmi; give --k' in said
  said = refused(choose, given, '--level=value', '--k=5', '--by=lasso')
  assert '--by=lasso: ranks fields alone' in said
  monkeypatch.setattr(counted, 'LARGEST', 1000)
  assert '--buckets=64: the two largest fields have' in refused(
    choose, given, '--k=1', '--buckets=64'
  )
  monkeypatch.undo()
  _make_one_class(one_class, tmp_path / 'one')
  said = refused(choose, f'--data={tmp_path}/one', '--k=1')
  assert "all training labels 'label' are of one class" in said

  assert choose(given, '--k=1', f'--out={tmp_path}/plan') == 0
  capsys.readouterr()
  plan = f'--plan={tmp_path}/plan/plan.npz'
  said = refused(make, plan, f'--data={one_class}')
  assert 'plan.npz: is about another data set' in said
  assert '--data: missing; --plan and --data go together' in refused(make, plan)
  assert '--source: does not apply to --plan' in refused(make, plan, given, '--source=csv')
  assert '--source: missing' in refused(make)
  fingerprint = schema_lib.load_schema(data).fingerprint
  rows = np.zeros(schema_lib.load_schema(data).table_rows, bool)
  nothing = plan_lib.keep_rows(schema_lib.load_schema(data), rows)
  plan_lib.save(plan_lib.Plan({}, fingerprint, nothing), tmp_path / 'none.npz')
  assert 'none.npz: leaves no field' in refused(make, f'--plan={tmp_path}/none.npz', given)


def _make_one_class(directory, out):
  """The data set of `directory` as if all training labels were 0, by its schema."""
  out.mkdir()
  raw = json.loads((directory / 'schema.json').read_text())
  raw['splits']['train']['positives'] = [0]
  (out / 'schema.json').write_text(json.dumps(raw))


@pytest.mark.parametrize('level', ['field', 'value'])
@pytest.mark.parametrize('by', ['afe', 'mi', 'random'])
def test_what_is_ranked_once_is_what_each_k_alone_keeps(data, level, by):
  """`kept.points` counts once for all orders, and ranks once for all k."""
  schema = schema_lib.load_schema(data)
  job = runs_select.Job(data, by=by, level=level, buckets=64, seed=3)
  opened = runs_select.count(runs_select.Job(data, level=level, buckets=64), schema)
  keep = runs_select.keeper(job, opened)
  for k in (4, 2, 5):
    wanted = runs_select.select(dataclasses.replace(job, k=k)).plan.arrays
    for name, array in keep(k).items():
      np.testing.assert_array_equal(array, wanted[name])


def test_loss_against_kept_fields(toy, tmp_path, capsys, monkeypatch):
  """Orders that keep the same share their trials; what is there is not done again."""
  network = (
    'seeds = 2\nlearning_rates = [1e-2]\n[common]\nbatch_size = 500\nembedding_dim = 2\n'
    'width = 4\ndepth = 1\n[arms.network]\nmodel = "dense_mlp"\n'
  )
  (tmp_path / 'small.toml').write_text(network)
  out = tmp_path / 'curve'
  arguments = (f'--data={toy}', f'--study={tmp_path}/small.toml', f'--out={out}')
  passes = []
  open_data = counted.open_data
  monkeypatch.setattr(counted, 'open_data', lambda *of: passes.append(1) or open_data(*of))
  assert do(kept, kept.FLAGS, *arguments, '--orders=jmi,mi', '--ks=1,6') == 0
  assert 'curve/kept.csv' in capsys.readouterr().out
  assert len(passes) == 1  # of both orders
  rows = list(csv.DictReader((out / 'kept.csv').read_text().splitlines()))
  assert [(row['order'], row['k']) for row in rows] == [
    ('jmi', '1'),
    ('jmi', '6'),
    ('mi', '1'),
    ('mi', '6'),
  ]
  assert {name: rows[0][name] for name in rows[0] if name != 'order'} == {
    name: rows[2][name] for name in rows[2] if name != 'order'
  }
  assert rows[0]['kept'].startswith('field_') and rows[0]['fields'] == '1'
  assert float(rows[1]['logloss_difference']) == 0  # the same rows of the table, the same seeds
  low, high = float(rows[0]['logloss_low']), float(rows[0]['logloss_high'])
  assert low < float(rows[0]['logloss_difference']) < high
  trials = {path: path.stat().st_mtime_ns for path in (out / 'trials').iterdir()}
  assert len(trials) == 6  # all fields, one field, and all fields by a plan
  assert (out / 'kept.png').read_bytes()[:4] == b'\x89PNG'
  assert do(kept, kept.FLAGS, *arguments, '--orders=jmi,mi', '--ks=1,6') == 0
  assert trials == {path: path.stat().st_mtime_ns for path in (out / 'trials').iterdir()}
  capsys.readouterr()
  assert do(kept, kept.FLAGS, *arguments, '--ks=7') == 1
  assert '--k=7: the data set has 6 fields' in capsys.readouterr().err
  assert do(kept, kept.FLAGS, *arguments, '--ks=none') == 1
  assert '--ks=none: expected numbers above 0' in capsys.readouterr().err
  assert do(kept, kept.FLAGS, *arguments, '--ks=1', '--orders=rnadom:1') == 1
  assert "--orders: 'rnadom:1' is not one of afe, jmi" in capsys.readouterr().err
