"""launch.analyze: every analysis from tiny runs, reads only what it needs, and says what a run
cannot show.
"""

import functools
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch import analyze
from launch import main as main_lib
from launch import train as launch_train
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.analysis import ics_dynamics
from rec_sparse.embedding import table as table_lib
from rec_sparse.models.marks import Mark
from rec_sparse.runs import activations
from rec_sparse.runs import analysis
from rec_sparse.runs import density
from rec_sparse.runs import kernels
from rec_sparse.runs import restored

SMALL = ('--width=8', '--views=3', '--embedding_dim=4', '--batch_size=120')
RUNS = {
  'dense_mlp': ('--epochs=0', '--mesh=1', '--set=head_hidden=5', '--seed=5'),
  'ssr_s': ('--epochs=0', '--mesh=8', '--set=table_dtype=bfloat16'),
  'ssr_d': (
    '--epochs=3',
    '--mesh=2,2',
    '--set=alpha_sign=positive',
    '--learning_rate=0.05',
    '--set=keep_every=20',
  ),
}


@pytest.fixture(scope='module')
def runs(toy, tmp_path_factory) -> pathlib.Path:
  """A directory with a run of each model."""
  directory = tmp_path_factory.mktemp('runs')
  for model, arguments in RUNS.items():
    out = directory / model
    assert (
      main_lib.call(
        launch_train.main,
        launch_train.FLAGS,
        [f'--data={toy}', f'--out={out}', f'--model={model}', *SMALL, *arguments],
      )
      == 0
    )
  return directory


def call(*arguments):
  return main_lib.call(analyze.main, analyze.FLAGS, list(map(str, arguments)))


def fails(capsys, *arguments):
  assert call(*arguments) != 0
  return capsys.readouterr().err.strip().splitlines()[-1]


def read(directory, what):
  return json.loads((directory / f'{what}.json').read_text())


def test_all_of_ssr_d_trained_on_a_mesh(runs, tmp_path, capsys):
  assert call(f'--run={runs / "ssr_d"}', '--checkpoint=last', f'--out={tmp_path}') == 0
  printed = capsys.readouterr().out
  assert printed.count('wrote ') == 5 and 'skipped' not in printed
  names = [path.name for path in tmp_path.iterdir()]
  assert all(name in printed for name in names)
  assert {f'{what}.{kind}' for what in analyze.WHAT for kind in ('json', 'png')} < set(names)
  found = read(tmp_path, 'ics')
  assert (found['model'], found['step'], found['examples']) == ('ssr_d', 75, 700)
  for layer in found['layers'].values():
    assert np.shape(layer['thresholds']) == (3, 5)
    assert all(
      relu <= zeros < 1 for relu, zeros in zip(layer['zeros_of_relu'], layer['zeros'], strict=True)
    )
  paths = found['over_steps']
  assert paths['steps'][0] == 0 and paths['steps'][-1] == 75 and {20, 40, 60} < set(paths['steps'])
  alpha_SxVxI = np.array(paths['layers']['filter_0']['alpha'])
  np.testing.assert_allclose(alpha_SxVxI[0], 0.1, rtol=1e-6)
  assert np.abs(alpha_SxVxI[-1] - 0.1).max() > 1e-3
  assert paths['layers']['filter_1']['zeros'][-1] == found['layers']['filter_1']['zeros']
  weights = read(tmp_path, 'implicit_sparsity')
  assert list(weights['layers']) == ['filter_0', 'layer_0', 'filter_1', 'layer_1', 'head/linear']
  assert weights['layers']['filter_0']['shape'] == [24, 3 * 16]
  assert (
    weights['layers']['layer_0']['blocks'] == 3
    and len(weights['layers']['layer_0']['singular_values']) == 3 * 8
  )
  views = read(tmp_path, 'views')
  assert np.shape(views['layers']['filter_1']['cosine']['matrix']) == (3, 3)
  assert views['layers_at_init']['filter_1']['cosine']['mean_absolute'] < 0.2
  units = read(tmp_path, 'units')
  assert (units['examples'], list(units['layers'])) == (700, ['layer_0', 'layer_1'])
  assert units['layers']['layer_1']['units'] == len(units['layers']['layer_1']['information']) == 24
  assert units['kernels']['filter_0']['now']['entropy_rank'] < 24
  fields = read(tmp_path, 'embeddings')['fields']
  assert list(fields) == [f'field_{i}' for i in range(6)] and {
    f['rows'] for f in fields.values()
  } == {50, 300}


def test_all_skips_what_a_model_does_not_have_and_a_name_refuses_it(runs, tmp_path, capsys):
  dense = f'--run={runs / "dense_mlp"}'
  assert call(dense, f'--out={tmp_path}') == 0
  printed = capsys.readouterr().out
  assert (
    'skipped ics: dense_mlp has no competition' in printed
    and 'skipped views: dense_mlp has none' in printed
  )
  assert sorted(path.name for path in tmp_path.glob('*.json')) == [
    'embeddings.json',
    'implicit_sparsity.json',
    'units.json',
  ]
  assert list(read(tmp_path, 'implicit_sparsity')['layers']) == [
    'layer_0',
    'layer_1',
    'head/hidden_0',
    'head/linear',
  ]
  assert 'error: ics: dense_mlp has no competition' in fails(capsys, dense, '--what=ics')
  assert 'error: views: dense_mlp has none' in fails(capsys, dense, '--what=views')
  assert not (runs / 'dense_mlp' / 'analysis').exists()


@pytest.mark.parametrize(
  'what, item', [('implicit_sparsity', 'dense'), ('views', 'dense'), ('embeddings', 'table')]
)
def test_reads_only_the_item_that_it_needs(runs, tmp_path, capsys, what, item):
  """As on a laptop that was given one item: no data set, no other item, one device."""
  run = shutil.copytree(runs / 'ssr_d', tmp_path / 'run')
  (run / 'data.json').write_text('{"data": "/nowhere"}')
  for path in run.glob('checkpoints/*/*'):
    if path.is_dir() and path.name not in (item, 'metadata'):
      shutil.rmtree(path)
  assert call(f'--run={run}', f'--what={what}') == 0
  assert read(run / 'analysis', what)['step'] > 0
  capsys.readouterr()
  assert (
    'ics: needs the data set, and /nowhere holds none; name another place with --data'
    in fails(capsys, f'--run={run}', '--what=ics')
  )
  assert call(f'--run={run}') == 0
  assert capsys.readouterr().out.count('skipped') == (3 if item == 'dense' else 4)


@pytest.mark.parametrize('model', ['dense_mlp', 'ssr_s'])
def test_the_initial_network_is_the_one_that_training_starts_from(runs, model):
  with restored.open_run(runs / model, 'last') as run:
    assert run.steps == (0,)
    saved = restored.item(run, 'dense') | restored.item(run, 'table')
    start = restored.initial(run, 'dense') | restored.initial(run, 'table')
    rows = len(start['table_RxD'])
    saved['table_RxD'] = saved['table_RxD'][:rows]  # without what pads it for eight devices
    jax.tree.map(np.testing.assert_array_equal, start, {name: saved[name] for name in start})
    found = analysis.implicit_sparsity(run).numbers
  assert found['layers'] == found['layers_at_init']


def test_static_filters_and_a_bfloat16_table(runs, tmp_path, capsys):
  assert call(f'--run={runs / "ssr_s"}', f'--out={tmp_path}') == 0
  assert 'skipped ics: ssr_s' in capsys.readouterr().out
  layers = read(tmp_path, 'views')['layers']
  assert layers['layer_0']['coverage']['expected'] == pytest.approx(1 - (1 - 8 / 24) ** 3)
  assert layers['layer_1']['reads_per_input']['mean'] == 1.0
  embeddings = read(tmp_path, 'embeddings')
  assert embeddings['fields'] == embeddings['fields_at_init']
  assert embeddings['fields']['field_3']['abundance_share'] > 0.6


def test_density_of_several_runs(toy, runs, tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(density, 'DENSITIES', (1.0, 0.2))
  first = runs / 'dense_mlp'
  second = tmp_path / 'second'
  flags = [f'--data={toy}', f'--out={second}', '--model=dense_mlp', *SMALL, *RUNS['dense_mlp']]
  assert main_lib.call(launch_train.main, launch_train.FLAGS, [*flags[:-1], '--seed=6']) == 0
  both = f'--run={first},{second}'
  arguments = (both, '--what=density', '--retrain_steps=0', '--nosmall')
  assert 'need --what=density, and --out' in fails(capsys, *arguments)
  assert 'need --what=density, and --out' in fails(capsys, both, f'--out={tmp_path}')
  out = f'--out={tmp_path / "both"}'
  same = f'--run={first},{first}'
  assert 'two of the runs have seed 5' in fails(capsys, same, *arguments[1:], out)
  others = f'--run={first},{runs / "ssr_s"}'
  assert (
    'head_hidden, model, residual, table_dtype, view_widths, views, not in seed alone'
    in fails(capsys, others, *arguments[1:], out)
  )
  assert call(*arguments, out) == 0
  capsys.readouterr()
  assert call(*arguments, out) == 0
  printed = capsys.readouterr().out
  assert all(f'{run}/analysis/density.json is there' in printed for run in (first, second))
  found = read(tmp_path / 'both', 'density')
  assert (found['seeds'], list(found['curves'])) == (2, ['magnitude', 'gradient'])
  aucs = [read(run / 'analysis', 'density')['dense']['test']['auc'] for run in (first, second)]
  assert found['dense']['test']['auc'] == pytest.approx(np.mean(aucs)) and aucs[0] != aucs[1]
  shutil.rmtree(first / 'analysis')  # others look at what is there
  assert (tmp_path / 'both' / 'density.png').exists()


@pytest.mark.parametrize(
  'name, content, message',
  [
    ('config.json', '[]', 'not a JSON object'),
    ('config.json', '{}', 'not a config'),
    ('config.json', '{"model":', 'line 1: not JSON'),
    ('config.json', {'model': 'mlp'}, "model 'mlp' is unknown"),
    ('config.json', {'width': 'x'}, "width='x': expected an integer"),
    (
      'config.json',
      {'width': 16, 'dropout': 0.5},
      'dropout, width differ from the config that was trained',
    ),
    ('data.json', '{', 'line 1: not JSON'),
    ('data.json', '{}', 'data is None, expected the path'),
  ],
)
def test_a_damaged_file_of_a_run_is_named_before_anything_is_written(
  runs, tmp_path, capsys, name, content, message
):
  run = shutil.copytree(runs / 'ssr_s', tmp_path / 'run')
  if isinstance(content, dict):
    content = json.dumps(json.loads((run / name).read_text()) | content)
  (run / name).write_text(content)
  assert f'error: {run / name}: {message}' in fails(capsys, f'--run={run}')
  assert not (run / 'analysis').exists()


def test_what_is_wrong_is_one_sentence(runs, tmp_path, capsys):
  run = f'--run={runs / "ssr_d"}'
  assert 'holds no config.json; is this a run directory' in fails(
    capsys, f'--run={tmp_path / "none"}'
  )
  assert '--checkpoint=31' in fails(capsys, run, '--checkpoint=31')
  with pytest.raises(Exception, match='what'):
    call(run, '--what=weights')
  schema = json.loads(
    (
      pathlib.Path(json.loads((runs / 'ssr_d/data.json').read_text())['data']) / 'schema.json'
    ).read_text()
  )
  schema['fields'][0]['name'] = 'other'
  (tmp_path / 'schema.json').write_text(json.dumps(schema))
  error = fails(capsys, run, '--what=ics', f'--data={tmp_path}')
  assert f'--data={tmp_path}: its fields are other, field_1' in error
  damaged = shutil.copytree(runs / 'dense_mlp', tmp_path / 'damaged')
  for path in damaged.glob('checkpoints/*/dense/_METADATA'):
    path.unlink()
  assert 'or damaged (' in fails(capsys, f'--run={damaged}')


@pytest.mark.parametrize(
  'texts, alpha',
  [
    (('alpha_shape=dimension', 'alpha_sign=positive'), (3, 16, 5)),
    (('gate=one_iteration', 'alpha_shape=scalar', 'form=code'), (3, 5)),
  ],
)
def test_competitions_give_what_the_gate_uses(texts, alpha):
  config = settings.make(
    'ssr_d',
    {'width': 8, 'views': 3, 'depth': 1} | settings.parse('ssr_d', list(texts)),
  )
  fields = schema_lib.Field('a', 'categorical', 30), schema_lib.Field('b', 'categorical', 20)
  schema = schema_lib.FeatureSchema(fields, ('click',), None, {}, '', {})
  program = train.program(config, schema)
  batch = {'ids_BxF': np.stack([np.arange(20), 30 + np.arange(20)], 1)}
  watch = jax.jit(functools.partial(activations.competitions, program))
  found = watch(train.init(program, schema), batch)
  z_VxKxB, alpha_VxI, gamma_VxK = found['filter_0']
  assert z_VxKxB.shape == (*gamma_VxK.shape, 20) and alpha_VxI.shape == alpha
  np.testing.assert_allclose(alpha_VxI, 0.1, rtol=1e-6)
  used = ics_dynamics.network(found, config.options.gate)['filter_0']
  assert (
    np.shape(used['thresholds'])
    == np.shape(used['alpha'])
    == (3, 5 if config.options.gate == 'ics' else 1)
  )


@pytest.mark.parametrize('gate, with_threshold', [('top_k', False), ('soft_threshold', True)])
def test_a_control_shows_its_zeros_and_a_threshold_where_it_has_one(
  toy, tmp_path, gate, with_threshold
):
  run = tmp_path / 'run'
  assert (
    main_lib.call(
      launch_train.main,
      launch_train.FLAGS,
      [f'--data={toy}', f'--out={run}', '--model=ssr_d', *SMALL, '--mesh=1', f'--set=gate={gate}'],
    )
    == 0
  )
  assert call(f'--run={run}', '--what=ics') == 0
  found = read(run / 'analysis', 'ics')
  assert found['gate'] == gate and (run / 'analysis' / 'ics_over_steps.png').exists()
  layer, path = found['layers']['filter_0'], found['over_steps']['layers']['filter_0']
  for quantity in ('thresholds', 'threshold_over_std', 'alpha'):
    assert (layer[quantity] is not None) == (path[quantity] is not None) == with_threshold
  if gate == 'top_k':
    np.testing.assert_allclose(layer['zeros'], 0.5)
  assert np.shape(path['zeros']) == (len(found['over_steps']['steps']), 3)


def test_what_a_learned_filter_kept_is_what_is_looked_at(toy, tmp_path):
  run = tmp_path / 'run'
  assert (
    main_lib.call(
      launch_train.main,
      launch_train.FLAGS,
      [
        f'--data={toy}',
        f'--out={run}',
        '--model=ssr_s',
        *SMALL,
        '--mesh=1',
        '--set=filter=learned',
        '--set=filter_warmup=20',
        '--learning_rate=0.05',
      ],
    )
    == 0
  )
  assert call(f'--run={run}') == 0
  with restored.open_run(run, 'last') as opened:
    dense = restored.item(opened, 'dense')
  mask_VxN, drawn_VxK = (
    np.asarray(dense['moving']['masks']['layer_0']['mask']),
    dense['constants']['layer_0']['indices_VxK'],
  )
  assert not np.take_along_axis(mask_VxN, np.asarray(drawn_VxK), 1).all(), (
    'the filter is no longer the drawn one'
  )
  shared = mask_VxN[0] & mask_VxN[1]
  jaccard = np.array(read(run / 'analysis', 'views')['layers']['layer_0']['jaccard']['matrix'])
  assert jaccard[0, 1] == pytest.approx(shared.sum() / (16 - shared.sum()))
  layer = read(run / 'analysis', 'implicit_sparsity')['layers']['layer_0']
  assert (layer['shape'], layer['blocks']) == ([3 * 8, 8], 3)
  kept = np.asarray(dense['params']['layer_0']['kernel'])[mask_VxN]
  assert layer['std'] == pytest.approx(kept.std(), rel=1e-5)


def test_numeric_fields_are_value_times_embedding():
  rng = np.random.default_rng(0)
  table_RxD = jnp.asarray(rng.normal(size=(9, 4)), jnp.float32)
  batch = {
    'ids_BxF': rng.integers(0, 9, (5, 5)),
    'value_BxA': jnp.asarray(rng.normal(size=(5, 2)), jnp.float32),
  }
  names = [schema_lib.Field(f'name_{size}', 'categorical', size) for size in (1, 2, 4)]
  numbers = [schema_lib.Field(f'number_{i}', 'numeric', 1) for i in range(2)]
  schema = schema_lib.FeatureSchema((*names, *numbers), ('label',), None, {}, '', {})
  program = train.program(settings.make('dense_mlp', {'embedding_dim': 4}), schema)
  rows_BxFxD = table_RxD[batch['ids_BxF']]
  found = activations.looked_up(program, table_lib.Table(table_RxD, None), batch)
  assert list(found) == ['embedding']
  found_BxFxD = found['embedding']
  np.testing.assert_array_equal(found_BxFxD[:, :3], rows_BxFxD[:, :3])
  np.testing.assert_array_equal(
    found_BxFxD[:, 3:], rows_BxFxD[:, 3:] * batch['value_BxA'][..., None]
  )


def test_the_spectrum_of_a_stack_of_blocks_is_that_of_the_block_diagonal_matrix():
  kernel_VxKxH = np.random.default_rng(0).normal(size=(3, 5, 4))
  whole = jax.scipy.linalg.block_diag(*kernel_VxKxH)
  found = analysis.implicit_layer(kernels.Kernel(kernel_VxKxH, Mark(decays=True)), 1.0)
  np.testing.assert_allclose(
    found['singular_values'], np.linalg.svd(whole, compute_uv=False)[:12], rtol=1e-5
  )
  assert found['below_1e-3'] < 0.01 and len(found['mass_curve_absolute']) == 101
