"""Every network as an artifact: its logits, what of it is written, and what a reader refuses."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.runs import trained as trained_lib
from rec_sparse.serving import export
from rec_sparse.serving.loader import network as network_lib

SIZES = (7, 5, 1)
ROWS = 11  # of a batch: no power of two
# A network is exported whatever it is made of: a few stand for all, one with two columns a value.
VARIANTS = [
  *((model, {}) for model in ('dense_mlp', 'dcn_v2', 'ssr_s', 'ssr_d', 'reaction', 'deepfm')),
  ('dense_mlp', {'hidden_norm': 'batch', 'table_dtype': 'bfloat16'}),
  ('dcn_v2', {'compute_dtype': 'bfloat16', 'input_norm': 'layer'}),
  ('ssr_s', {'filter': 'learned', 'table_weight_decay': 0.1, 'table_decay_rows': 'all'}),
  ('reaction', {'merge': 'branches'}),
  ('ssr_d', {'gate': 'entmax15', 'alpha_sign': 'positive', 'head_hidden': (3,)}),
]


def trained(model, overrides):
  """A run that was never saved, at random weights."""
  kinds = ('categorical', 'categorical', 'numeric')
  fields = tuple(
    schema_lib.Field(f'field_{f}', kind, size)
    for f, (kind, size) in enumerate(zip(kinds, SIZES, strict=True))
  )
  schema = schema_lib.FeatureSchema(fields, ('click', 'buy'), None, {}, '', {})
  small = {'width': 4, 'views': 2, 'embedding_dim': 4, 'depth': 1}
  config = settings.make(model, small | overrides)
  program = train.program(config, schema)
  constants = train.unstack(train.draw_constants(config, schema, [0]), 0)
  rng = np.random.default_rng(5)

  def drawn(path, leaf):
    if leaf.dtype == np.uint16:  # bits of bfloat16
      return rng.integers(15_000, 16_500, leaf.shape).astype(np.uint16)
    if leaf.dtype == bool:  # masks of learned filters: as many kept as a view puts out
      return np.argsort(rng.random(leaf.shape)) < config.width
    if leaf.dtype != np.float32:
      return np.ones(leaf.shape, leaf.dtype)
    is_positive = getattr(path[-1], 'key', '') in ('alpha', 'var')
    numbers = rng.normal(0, 0.3, leaf.shape).astype(np.float32)
    return np.abs(numbers) if is_positive else numbers

  like = train.without_optimizer(train.abstract_state(program, schema))
  state = jax.tree.map_with_path(drawn, like)._replace(constants=constants)
  return trained_lib.Trained(program, state, 7, schema, pathlib.Path())


def rows():
  """Encoded rows."""
  rng = np.random.default_rng(3)
  ids_BxF = (rng.random((ROWS, len(SIZES))) * SIZES).astype(np.int32)
  first_F = np.cumsum((0, *SIZES[:-1])).astype(np.int32)
  return ids_BxF + first_F, rng.standard_normal((ROWS, 1), np.float32)


@pytest.mark.parametrize('model, overrides', VARIANTS)
def test_an_artifact_has_the_logits_of_its_run(tmp_path, model, overrides):
  run = trained(model, overrides)
  ids_BxF, value_BxA = rows()

  @jax.jit
  def forward(state, ids_BxF, value_BxA):
    batch = {'ids_BxF': ids_BxF, 'value_BxA': value_BxA}
    variables = train.variables(state)
    return train.forward(run.program, run.program.module, variables, state.table, batch)

  expected_BxT = forward(run.state, ids_BxF, value_BxA)
  export.export(run, tmp_path / 'served')
  found = network_lib.load(tmp_path / 'served').score(ids_BxF, value_BxA)
  assert np.ptp(expected_BxT) > 0.01
  np.testing.assert_allclose(found.logit_BxT, expected_BxT, atol=1e-6)
  np.testing.assert_allclose(found.probability_BxT, jax.nn.sigmoid(expected_BxT), atol=1e-6)


@pytest.mark.parametrize('norm', ['none', 'batch'])
def test_a_masked_network_is_smaller_and_has_the_same_logits(tmp_path, norm):
  overrides = {'embedding_dim': 16, 'width': 96, 'depth': 2, 'hidden_norm': norm}
  run = trained('dense_mlp', overrides | {'sparsity': 'static', 'mask_structure': 'block'})
  first, second = (run.state.params[f'layer_{i}']['kernel'] for i in range(2))
  first[:, 7:] = 0  # few outputs
  second[:16, :16] = 0  # too few zeros to pay
  dense = export.export(run, tmp_path / 'dense', compact=False)
  about = export.export(run, tmp_path / 'served')
  assert about['network']['compact'] == {'layer_0': [1, 48, 7]} and not dense['network']['compact']

  networks = [network_lib.load(tmp_path / name) for name in ('dense', 'served')]
  expected, found = (network.score(*rows()) for network in networks)
  assert np.ptp(expected.logit_BxT) > 0.01
  np.testing.assert_allclose(found.logit_BxT, expected.logit_BxT, atol=1e-5)
  kernel = 'dense.params.layer_0.kernel.npy'
  assert (tmp_path / 'dense' / 'weights' / kernel).exists()
  assert not (tmp_path / 'served' / 'weights' / kernel).exists()


@pytest.fixture(scope='module', name='served')
def _served(tmp_path_factory):
  out = tmp_path_factory.mktemp('artifact') / 'served'
  export.export(trained('dense_mlp', {'table_dtype': 'bfloat16'}), out)
  return out


def test_one_module_is_for_all_platforms_and_holds_no_weights(served):
  about = json.loads((served / 'artifact.json').read_text())
  assert about['network']['platforms'] == ['cpu', 'cuda', 'tpu']
  names = [pathlib.Path(file).stem for file in about['network']['weights']]
  assert 'table' in names and 'dense.params.head.linear.kernel' in names
  assert not any(name.endswith('examples') for name in names)  # of averages; nothing reads it
  table = np.load(served / 'weights' / 'table.npy')
  assert table.dtype == np.uint16 and table.shape == (sum(SIZES), 4)


def test_any_number_of_rows(served, monkeypatch):
  monkeypatch.setattr(network_lib, 'CPU_BATCH', 4)
  network = network_lib.load(served)
  ids_BxF, value_BxA = rows()
  whole = network.score(ids_BxF, value_BxA).probability_BxT
  assert whole.shape == (ROWS, 2)
  for few in (0, 1, 3, 4):
    part = network.score(ids_BxF[:few], value_BxA[:few]).probability_BxT
    np.testing.assert_allclose(part, whole[:few], atol=1e-6)


def test_encoded_rows_that_do_not_fit(served):
  network = network_lib.load(served)
  ids_BxF, value_BxA = rows()
  with pytest.raises(ValueError, match=r'ids \(11, 2\) and values \(11, 1\), expected \(rows, 3\)'):
    network.score(ids_BxF[:, :2], value_BxA)
  with pytest.raises(ValueError, match=r'values \(11, 0\), expected .* and \(rows, 1\)'):
    network.score(ids_BxF)
  ids_BxF[4, 1] = 12
  with pytest.raises(ValueError, match=r'row 4: field_1: id 12 is not in \[7, 12\)'):
    network.score(ids_BxF, value_BxA)
  with pytest.raises(ValueError, match='trained on encoded ids alone'):
    network.predict({})


def edit(directory, name, change):
  about = json.loads((directory / 'artifact.json').read_text())
  about[name] = change(about[name])
  (directory / 'artifact.json').write_text(json.dumps(about))


@pytest.mark.parametrize(
  'damage, message',
  [
    (lambda d: edit(d, 'artifact_version', lambda old: old + 1), 'artifact of format 2, this load'),
    (lambda d: (d / 'artifact.json').write_text('{"a'), 'artifact.json: damaged, or no artifact'),
    (lambda d: (d / 'artifact.json').write_text('[]'), 'artifact.json: damaged, or no artifact'),
    (lambda d: (d / 'weights' / 'table.npy').unlink(), 'table.npy: is missing'),
    (lambda d: (d / 'network.stablehlo').write_bytes(b''), 'network.stablehlo: is not what was'),
    (
      lambda d: edit(d, 'network', lambda old: old | {'calling_convention_version': 1}),
      'with calling convention 1, jax',
    ),
  ],
)
def test_a_damaged_artifact_is_one_sentence(served, tmp_path, damage, message):
  copy = shutil.copytree(served, tmp_path / 'copy')
  damage(copy)
  with pytest.raises(ValueError, match=message) as error:
    network_lib.load(copy)
  assert '\n' not in str(error.value)


def test_what_is_there_is_not_overwritten_and_nothing_half_written_stays(tmp_path, monkeypatch):
  run = trained('dense_mlp', {})
  (tmp_path / 'a.txt').touch()
  with pytest.raises(ValueError, match='not empty; remove it or choose another'):
    export.export(run, tmp_path)

  def full(*arguments):
    raise OSError('the disk is full')

  monkeypatch.setattr(np, 'save', full)
  with pytest.raises(OSError, match='the disk is full'):
    export.export(run, tmp_path / 'served')
  assert [path.name for path in tmp_path.iterdir()] == ['a.txt']
