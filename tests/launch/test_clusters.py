"""iHAS: gates, clusters of examples, masks within a budget, and a network for each cluster."""

import dataclasses
import functools
import json

import flax.linen as nn
import jax
import numpy as np
import pytest

from data_pipelines import blocks
from launch import clusters
from launch import main as main_lib
from launch import prepare
from launch import prepare_flags
from rec_sparse import models
from rec_sparse import plan as plan_lib
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.models.architecture import Inputs
from rec_sparse.runs import cluster_points
from rec_sparse.runs import cluster_search
from rec_sparse.runs import identity
from rec_sparse.runs import kept as kept_lib
from rec_sparse.scaling import grid
from rec_sparse.scaling import study_file
from rec_sparse.search import clusters as clusters_lib

SIZES = {'embedding_dim': 4, 'width': 8, 'depth': 1, 'batch_size': 500, 'learning_rate': 1e-2}


def do(program, flags, *arguments):
  return main_lib.call(program.main, flags, [str(argument) for argument in arguments])


def make(*arguments):
  return do(prepare, prepare_flags.FLAGS, *arguments)


@pytest.fixture(scope='module')
def searched(toy):
  config = settings.make('gated_mlp', SIZES | {'epochs': 2})
  job = cluster_search.Job(toy, config, 3)
  return job, cluster_search.search(job)


@pytest.fixture(scope='module')
def routed(toy, searched, tmp_path_factory):
  """The data set of a plan, and the plan."""
  out = tmp_path_factory.mktemp('routed')
  plan = cluster_search.plan(*searched, 0.3)
  kept_lib.make(toy, plan, out / 'data')
  return out / 'data', plan


@pytest.mark.parametrize('budget', [0.1, 0.5, 1.0])
def test_masks_keep_the_best_entries_within_the_budget(budget):
  rng = np.random.default_rng(0)
  score_VxN, share_V = rng.random((3, 40)), np.array([0.5, 0.3, 0.2])
  kept_VxN = clusters_lib.keep(score_VxN, share_V, budget)
  used = share_V @ kept_VxN.sum(1)
  assert used <= budget * 40 + 1e-9
  if budget == 1:
    assert kept_VxN.all()
  else:
    assert score_VxN[kept_VxN].min() > score_VxN[~kept_VxN].max()
    assert used > budget * 40 - share_V.max()
  other_VxN = clusters_lib.shuffled(kept_VxN, 1)
  np.testing.assert_array_equal(other_VxN.sum(1), kept_VxN.sum(1))
  assert budget == 1 or (other_VxN != kept_VxN).any()


def test_groups_that_lie_apart_are_clusters():
  rng = np.random.default_rng(0)
  centre_VxN = np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9]])
  group_E = rng.integers(0, 3, 600)
  x_ExN = (centre_VxN[group_E] + rng.normal(size=(600, 3))).astype(np.float32)
  found_E = clusters_lib.nearest(x_ExN, clusters_lib.centroids(x_ExN, 3, 0))
  assert len({*zip(found_E.tolist(), group_E.tolist(), strict=True)}) == 3


def test_each_example_gets_the_logits_of_a_dense_network_on_what_its_cluster_keeps():
  dim, fields = 4, 3
  kept = ('110000001111', '111111111111', '000000000001')
  config = settings.make('routed_mlp', {'width': 8, 'embedding_dim': dim, 'head_hidden': (5,)})
  rng = np.random.default_rng(0)
  rows_BxFxD = rng.normal(size=(20, fields + 1, dim)).astype(np.float32)
  cluster_B = np.arange(20, dtype=np.int32) % 3
  inputs = Inputs(fields + 1, dim, 2, kept)
  module = models.find('routed_mlp').module(config, inputs)
  rows = {'embedding': rows_BxFxD, 'cluster': cluster_B}
  variables = started(module, rows)
  found = jax.jit(functools.partial(module.apply, train=False))(variables, rows)

  params = variables['params']
  norm = params['input']['norm']
  x_BxFxD = rows_BxFxD[:, 1:] - variables['batch_stats']['input']['norm']['mean'][None, :, None]
  x_BxFxD /= np.sqrt(variables['batch_stats']['input']['norm']['var'] + 1e-6)[None, :, None]
  x_BxFxD = x_BxFxD * norm['scale'][None, :, None] + norm['bias'][None, :, None]
  for b, cluster in enumerate(cluster_B):
    y = x_BxFxD[b].reshape(-1) * np.array([*kept[cluster]], np.float32)
    for name in ('layer_0', 'layer_1', 'head_0', 'head'):
      y = y @ params[name]['kernel'][cluster] + params[name]['bias'][cluster]
      y = y if name == 'head' else np.maximum(y, 0)
    np.testing.assert_allclose(found[b], y, rtol=1e-4, atol=1e-5)

  whole = models.find('dense_mlp').cost(config, Inputs(fields, dim, 2))
  cost = models.find('routed_mlp').cost(config, inputs)
  assert cost.params == 3 * whole.params and cost.flops == 3 * whole.flops
  assert cost.idle == 8 * ''.join(kept).count('0')


def started(module, rows):
  """Variables of a module, drawn anew."""
  made = jax.eval_shape(functools.partial(module.init, train=False), jax.random.key(0), rows)
  return anywhere({name: nn.meta.unbox(made[name]) for name in ('params', 'batch_stats')})


def anywhere(shapes):
  """Positive numbers for a tree of shapes, of float32 where it has floats."""
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda leaf: rng.uniform(0.1, 1, leaf.shape).astype(leaf.dtype), shapes)


def test_gates_are_open_or_shut_and_their_losses_those_of_the_equations():
  config = settings.make('gated_mlp', SIZES | {'gate_sparse': 2.0, 'gate_polar': 3.0})
  module = models.find('gated_mlp').module(config, Inputs(3, 4, 1))
  rows = {'embedding': np.random.default_rng(0).normal(size=(50, 3, 4)).astype(np.float32)}
  weight_B = (np.arange(50) < 40).astype(np.float32)
  sowing = functools.partial(
    module.apply, train=True, mutable=('batch_stats', 'losses', 'intermediates')
  )
  noise = {'dropout': jax.random.key(2)}
  _, sown = jax.jit(sowing)(started(module, rows), rows, weight_B, rngs=noise)
  p_NxB = np.asarray(sown['intermediates']['gates'][0])[:, :40]
  np.testing.assert_allclose(sown['losses']['gate_sparse'][0], 2 * p_NxB.mean(), rtol=1e-5)
  spread = np.abs(p_NxB - p_NxB.mean()).mean()
  np.testing.assert_allclose(sown['losses']['gate_polar'][0], -3 * spread, rtol=1e-5)
  open_NxB = np.asarray(sown['intermediates']['masked'][0])[:, :40] != 0
  # drawn: an entry is open as often as its gate says
  assert abs(open_NxB.mean() - p_NxB.mean()) < 4 * np.sqrt(0.25 / open_NxB.size)


def test_a_plan_makes_a_data_set_whose_rows_go_to_their_clusters(toy, searched, routed):
  data, plan = routed
  old, new = schema_lib.load_schema(toy), schema_lib.load_schema(data)
  views = len(plan.arrays['kept_VxN'])
  assert [field.name for field in new.fields] == ['cluster', *(f.name for f in old.fields)]
  for name in new.splits:
    before, after = (
      blocks.read_all(blocks.open_split(place, schema, name))
      for place, schema in ((toy, old), (data, new))
    )
    np.testing.assert_array_equal(after['ids_BxF'][:, 0], plan.arrays[f'cluster_{name}'])
    np.testing.assert_array_equal(after['ids_BxF'][:, 1:], before['ids_BxF'] + views)
    np.testing.assert_array_equal(after['label_BxT'], before['label_BxT'])
  assert identity.schema(identity.metadata(new)).clusters == new.clusters

  config = settings.make('routed_mlp', SIZES)
  counts = train.counts(config, new)
  read_FxD = plan.arrays['kept_VxN'].any(0).reshape(6, 4)
  assert counts['embedding_params'] == sum(
    field.vocab_size * int(read_D.sum()) for field, read_D in zip(old.fields, read_FxD, strict=True)
  )
  run = train.program(config, new)
  state = anywhere(train.abstract_state(run, new))
  ids_BxF = after['ids_BxF'][:64]

  @jax.jit
  def forward(state, ids_BxF):
    batch = {'ids_BxF': ids_BxF}
    return train.forward(run, run.module, train.variables(state), state.table, batch)

  logits = forward(state, ids_BxF)
  assert new.dim_runs[0] == schema_lib.DimRun(views, '0000')  # what routes is no input
  moved = ids_BxF.copy()
  moved[:, 0] = (moved[:, 0] + 1) % views
  assert (forward(state, moved) != logits).all()


def test_points_of_clusters_are_arms_of_one_study(toy, tmp_path, searched, monkeypatch):
  monkeypatch.setattr(cluster_search, 'gates', lambda job: None)
  monkeypatch.setattr(cluster_search, 'cluster', lambda job, gates: searched[1])
  network = 'seeds = 2\nlearning_rates = [1e-2]\n[arms.network]\nmodel = "dense_mlp"\n'
  (tmp_path / 'small.toml').write_text(network + 'embedding_dim = 4\n')
  network = study_file.read_study_file(tmp_path / 'small.toml')
  orders = ['uniform', 'ihas', 'random_masks', 'all_kept']
  points = cluster_points.points(toy, network, orders, [0.5, 0.25], tmp_path / 'data')
  study = kept_lib.study(network, points)
  assert {arm.name: arm.model for arm in study.arms} == {
    'all': 'dense_mlp',
    'uniform_2': 'dense_mlp',
    'uniform_1': 'dense_mlp',
    'ihas_0.5': 'routed_mlp',
    'ihas_0.25': 'routed_mlp',
    'random_masks_0.5': 'routed_mlp',
    'random_masks_0.25': 'routed_mlp',
    'all_kept_1': 'routed_mlp',
  }
  schemas = {p.data: schema_lib.load_schema(p.data) for p in points if p.data}
  configs = grid.trials(study, schema_lib.load_schema(toy), schemas)
  assert configs['all_kept_1'][0].data_fingerprint != configs['ihas_0.5'][0].data_fingerprint
  with pytest.raises(ValueError, match="--orders: 'afe' is not one of uniform, ihas"):
    cluster_points.points(toy, network, ['afe'], [0.5], tmp_path / 'data')


def test_the_program_writes_plans_and_says_what_is_wrong(
  toy, tmp_path, searched, routed, monkeypatch, capsys
):
  def choose(*arguments):
    code = do(clusters, clusters.FLAGS, f'--out={tmp_path}/plans', *arguments)
    return code, capsys.readouterr()

  monkeypatch.setattr(cluster_search, 'search', lambda job: searched[1])
  code, said = choose(f'--data={toy}', '--budgets=0.5,1', '--embedding_dim=4', '--clusters=3')
  assert code == 0 and said.out.splitlines()[-1] == str(tmp_path / 'plans' / 'clusters.json')
  half, whole = json.loads((tmp_path / 'plans' / 'clusters.json').read_text()).values()
  assert whole['entries_kept'] == whole['entries'] == 24 and 10 < half['entries_kept'] <= 12
  assert sum(cluster['share'] for cluster in half['clusters']) == pytest.approx(1)
  monkeypatch.undo()

  code, said = choose(f'--data={toy}', '--model=fm')
  assert code == 1 and '--model=fm: what is searched is always gated_mlp' in said.err
  data, plan = routed
  code, said = choose(f'--data={data}')
  assert code == 1 and 'a plan has chosen among its dimensions already' in said.err
  with pytest.raises(ValueError, match='the network of cluster 0 would read no entry'):
    cluster_search.plan(*searched, 1e-3)

  path = data.with_suffix('.npz')
  other = dataclasses.replace(schema_lib.load_schema(toy), fingerprint='other')
  with pytest.raises(ValueError, match='is about another data set'):
    plan_lib.check_fits(plan, other, str(path))
  again = plan_lib.keep_fields(schema_lib.load_schema(data), [1])
  plan_lib.save(plan_lib.Plan({}, schema_lib.load_schema(data).fingerprint, again), path)
  assert make(f'--plan={path}', f'--data={data}', f'--out={tmp_path}/fewer') == 1
  assert 'such a plan is the last' in capsys.readouterr().err
  with pytest.raises(ValueError, match='embedding_dim=8: the plan of the data set is about 4'):
    train.program(settings.make('routed_mlp', {'embedding_dim': 8}), schema_lib.load_schema(data))
  with pytest.raises(ValueError, match='hidden_norm=batch: routed_mlp would normalize'):
    settings.make('routed_mlp', {'hidden_norm': 'batch'})
  schema = schema_lib.load_schema(data)
  for masks, sentence in ((('1' * 24,), 'clusters: are 1, the first'), (('1',) * 3, 'a 0 or 1')):
    schema_lib.save_schema(dataclasses.replace(schema, clusters=masks), tmp_path)
    with pytest.raises(ValueError, match=sentence):
      schema_lib.load_schema(tmp_path)
