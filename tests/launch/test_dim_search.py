"""From launch.dims to a network with embeddings of several widths, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest

from data_pipelines import blocks
from launch import dims
from launch import kept
from launch import main as main_lib
from launch import prepare
from launch import prepare_flags
from rec_sparse import plan as plan_lib
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.runs import dim_points
from rec_sparse.runs import dim_search
from rec_sparse.runs import kept as kept_lib
from rec_sparse.scaling import grid
from rec_sparse.scaling import study_file

VALUES, RANK = 16, 4


def do(program, flags, *arguments):
  return main_lib.call(program.main, flags, [str(argument) for argument in arguments])


def make(*arguments):
  return do(prepare, prepare_flags.FLAGS, *arguments)


def choose(*arguments):
  return do(dims, dims.FLAGS, *arguments)


@pytest.fixture(scope='module')
def planted(tmp_path_factory):
  """A field that adds to the logit, and two that meet in products of RANK pairs of dimensions."""
  directory = tmp_path_factory.mktemp('planted')
  rng = np.random.default_rng(0)
  alone_W = 1.5 * rng.normal(size=VALUES)
  first_WxJ, second_WxJ = rng.normal(size=(2, VALUES, RANK))
  dtype = blocks.record_dtype(3, tasks=1, numeric=0, grouped=False)
  splits = {}
  for name, rows in (('train', 8000), ('valid', 4000)):
    ids_BxF = rng.integers(0, VALUES, (rows, 3))
    meet_B = (first_WxJ[ids_BxF[:, 1]] * second_WxJ[ids_BxF[:, 2]]).sum(1)
    label_B = rng.random(rows) < 1 / (1 + np.exp(-alone_W[ids_BxF[:, 0]] - meet_B))
    writer = blocks.BlockWriter(directory, name, dtype)
    ids_BxF = (ids_BxF + VALUES * np.arange(3)).astype(np.int32)
    writer.append(ids_BxF, label_B[:, None].astype(np.uint8))
    splits[name] = writer.finish()
  names = ('alone', 'first', 'second')
  fields = tuple(schema_lib.Field(name, 'categorical', VALUES) for name in names)
  schema = schema_lib.FeatureSchema(fields, ('label',), None, splits, 'planted', {})
  schema_lib.save_schema(schema, directory)
  return directory


def test_a_search_keeps_dimensions_of_the_fields_that_need_several(planted):
  """FM has a first-order weight of each value: the field that adds needs no dimension at all."""
  given = {'embedding_dim': 2 * RANK, 'batch_size': 500, 'learning_rate': 1e-2, 'epochs': 5}
  config = settings.make('fm', given)
  job = dim_search.Job(planted, config, 'dnis', 5, (1.0,))
  found = dim_search.search(job)
  alone, first, second = found.alpha_ZxD.mean(1)
  assert alone < min(first, second) - 0.05
  alone, first, second = dim_search.plan(job, found, 0.5).arrays['kept_ZxD'].sum(1)
  assert alone <= 1 and min(first, second) >= RANK - 1 and alone + first + second == 3 * RANK


def test_plans_make_data_sets_of_several_widths(toy, tmp_path, capsys):
  out = tmp_path / 'plans'
  arguments = ('--by=frequency', '--embedding_dim=8', '--budgets=0.5,1')
  assert choose(f'--data={toy}', *arguments, f'--out={out}') == 0
  assert capsys.readouterr().out.splitlines()[-1] == str(out / 'dims.png')
  assert (out / 'dims.png').read_bytes()[:4] == b'\x89PNG'
  half, whole = json.loads((out / 'dims.json').read_text()).values()
  assert whole['entries_kept'] == whole['entries'] == 8 * 550
  assert 0.49 * 8 * 550 < half['entries_kept'] <= 4 * 550
  for field in half['fields'].values():
    assert field['dims'] == sorted(field['dims'], reverse=True)  # frequent values have more

  made = tmp_path / 'half'
  assert make(f'--plan={out}/plan_0.5.npz', f'--data={toy}', f'--out={made}') == 0
  old, new = schema_lib.load_schema(toy), schema_lib.load_schema(made)
  assert new.fields == old.fields and new.fingerprint != old.fingerprint
  config = settings.make('dense_mlp', {'embedding_dim': 8})
  assert train.counts(config, new)['embedding_params'] == half['entries_kept']
  plan = plan_lib.load(out / 'plan_0.5.npz')
  text_R = [run.kept for run in new.dim_runs for _ in range(run.rows)]
  kept_RxD = plan.arrays['kept_ZxD'][plan.arrays['bin_R']]
  np.testing.assert_array_equal([[c == '1' for c in text] for text in text_R], kept_RxD)


def test_points_of_uniform_widths_and_of_plans_are_arms_of_one_study(toy, tmp_path, capsys):
  network = 'seeds = 2\nlearning_rates = [1e-2]\n[arms.network]\nmodel = "fm"\nembedding_dim = 4\n'
  (tmp_path / 'small.toml').write_text(network)
  network = study_file.read_study_file(tmp_path / 'small.toml')
  points = dim_points.points(toy, network, ['uniform', 'random:1'], [0.5, 0.25], tmp_path / 'data')
  study = kept_lib.study(network, points)
  assert [arm.name for arm in study.arms] == [
    *('all', 'uniform_2', 'uniform_1', 'random:1_0.5', 'random:1_0.25')
  ]
  schemas = {p.data: schema_lib.load_schema(p.data) for p in points if p.data}
  configs = grid.trials(study, schema_lib.load_schema(toy), schemas)
  numbers = []
  for arm in study.arms:
    schema = schema_lib.load_schema(arm.data or toy)
    numbers.append(train.counts(configs[arm.name][0], schema)['embedding_params'] - 550)
  assert numbers[:3] == [2200, 1100, 550]  # beside the first-order weights
  assert 1090 < numbers[3] <= 1100 and 540 < numbers[4] <= 550

  arguments = (f'--data={toy}', f'--study={tmp_path}/small.toml', '--level=dim', '--ks=0.5')
  assert do(kept, kept.FLAGS, *arguments, '--orders=afe', f'--out={tmp_path}/out') == 1
  assert "--orders: 'afe' is not one of uniform, dnis" in capsys.readouterr().err


def test_what_it_refuses(toy, planted, tmp_path, capsys):
  def refused(program, *arguments):
    assert program(*arguments, f'--out={tmp_path}/out') == 1
    assert not (tmp_path / 'out').exists()
    return capsys.readouterr().err.splitlines()[-1]

  given = (f'--data={toy}', '--by=random', '--embedding_dim=4')
  assert '--budgets: 1.5 is not above 0' in refused(choose, *given, '--budgets=1.5')
  assert '--budgets=: expected numbers' in refused(choose, *given, '--budgets=')
  assert '--bins=0.5,0.6: expected shares that add' in refused(choose, *given, '--bins=0.5,0.6')
  assert 'would keep no dimension' in refused(choose, *given, '--budgets=1e-6')
  assert choose(*given, '--budgets=0.5', f'--out={tmp_path}/plans') == 0
  plan = f'--plan={tmp_path}/plans/plan_0.5.npz'
  capsys.readouterr()
  said = refused(make, plan, f'--data={planted}')
  assert 'plan_0.5.npz: is about another data set (fingerprint toy' in said
  assert make(plan, f'--data={toy}', f'--out={tmp_path}/half') == 0
  said = refused(choose, f'--data={tmp_path}/half', '--by=random')
  assert 'a plan has chosen among its dimensions already' in said


def test_runs_of_dimensions_that_are_not_those_of_the_table(toy, tmp_path):
  schema = schema_lib.load_schema(toy)
  for runs, said in (
    (((550, '0a'),), 'kept is not a 0 or 1'),
    (((500, '01'), (50, '011')), 'of as many in each run'),
    (((549, '01'),), 'dim_runs: are of 549 rows, the table has 550'),
  ):
    wrong = tuple(schema_lib.DimRun(*run) for run in runs)
    schema_lib.save_schema(dataclasses.replace(schema, dim_runs=wrong), tmp_path)
    with pytest.raises(ValueError, match=said):
      schema_lib.load_schema(tmp_path)
