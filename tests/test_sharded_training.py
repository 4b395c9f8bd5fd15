"""Training on several devices: the network of one device, its parts where they belong, nothing
large in transit.
"""

import functools

import jax
import numpy as np
import pytest
import table_hlo

from rec_sparse import checkpoint
from rec_sparse import models
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.embedding import placement
from rec_sparse.embedding import table as table_lib
from rec_sparse.runs import hlo

BATCH, STEPS = 32, 4
# rows of the categorical fields, two of them tiny; a numeric one follows, tiny too
SIZES = (
  3000,
  7,
  600,
  20,
)
# Kernels that the rule must split -> axis of the split. Models of one kind are split alike, by the
# marks of parts that they share; each takes half a minute here, so these stand for all.
SPLIT = {
  'dense_mlp': {'layer_1': 1},
  'dcn_v2': {'layer_1': 1},
  'ssr_s': {'layer_0': 0, 'layer_1': 0},
  'reaction': {'layer_1': 1},
  'ssr_d': {'filter_0': 0, 'filter_1': 0, 'layer_0': 0, 'layer_1': 0},
}
MODELS = tuple(SPLIT)
OTHERS = ((4, 2), (1, 8))  # shapes of a mesh, besides (2, 4)
MASKED = {  # at the first step
  'dense_mlp': {'table_sparsity': 'magnitude', 'table_density': 0.5},
  'dcn_v2': {'sparsity': 'magnitude', 'density': 0.5},
}


def fields(sizes=SIZES):
  names = [schema_lib.Field(f'field_{i}', 'categorical', size) for i, size in enumerate(sizes)]
  return schema_lib.FeatureSchema(
    (*names, schema_lib.Field('number', 'numeric', 1)), ('label',), None, {}, '', {}
  )


def build(model, shape, lookup='reduce_scatter', sizes=SIZES, **overrides):
  """(program, its state at step 0)."""
  width = 16 if 'views' in models.find(model).knobs else 128
  given = {'width': width, 'embedding_dim': 8, 'batch_size': BATCH, 'dropout': 0.2}
  config = settings.make(model, given | MASKED.get(model, {}) | overrides)
  schema = fields(sizes)
  program = train.program(config, schema, placement.make_mesh(*shape), lookup)
  return program, train.init(program, schema)


def batches(schema, steps=STEPS):
  """Skewed ids, labels and values, stacked; the same on every call."""
  rng = np.random.default_rng(5)
  sizes = np.array([f.vocab_size for f in schema.fields])
  ids_KxBxF = (rng.random((steps, BATCH, len(sizes))) ** 3 * sizes).astype(np.int32) + np.array(
    schema.offsets, np.int32
  )
  return {
    'ids_BxF': ids_KxBxF,
    'label_BxT': rng.integers(0, 2, (steps, BATCH, 1)).astype(np.float32),
    'value_BxA': rng.random((steps, BATCH, 1), np.float32),
    'weight_B': np.ones((steps, BATCH), np.float32),
  }


def steps_of(program):
  """Many steps as one program, as the feeds run them."""

  def steps(state, batches):
    def step(carry, batch):
      return (train.train_step(program, *carry, batch), None)

    return jax.lax.scan(step, (state, train.zero_sums()), batches)[0]

  return jax.jit(steps, donate_argnums=0)


def padded(stacked, devices):
  """Batches that divide over the devices, by copies of their first example, of weight 0."""
  copies = -BATCH % devices

  def longer(leaf):
    return np.concatenate([leaf, np.repeat(leaf[:, :1], copies, 1)], 1)

  stacked = jax.tree.map(longer, stacked)
  stacked['weight_B'][:, BATCH:] = 0
  return stacked


def stepped(program, state):
  """(state, mean loss) after STEPS steps."""
  state, sums = steps_of(program)(state, padded(batches(fields()), program.mesh.shape['data']))
  assert int(sums.dropped) == 0
  return state, float(sums.loss) / STEPS


def on_host(program, state):
  """In logical order, without padding and the optimizer's working space."""
  table = table_lib.to_logical(program.table, state.table)
  state = checkpoint.items(state._replace(table=table))
  height, rows = table.rows_RxD.shape[0], fields().table_rows

  def cut(leaf):
    return np.asarray(leaf)[:rows] if leaf.shape[:1] == (height,) else np.asarray(leaf)

  return jax.tree.map(cut, state)


@functools.cache
def one_device(model):
  program, state = build(model, (1, 1))
  state, loss = stepped(program, state)
  return on_host(program, state), loss


def assert_close(got, want, **tolerances):
  jax.tree.map_with_path(
    lambda path, a, b: np.testing.assert_allclose(
      a, b, err_msg=jax.tree_util.keystr(path), **tolerances
    ),
    got,
    want,
  )


@pytest.mark.parametrize(
  'model, shape, lookup',
  [
    *((model, (2, 4), 'reduce_scatter') for model in MODELS),
    *((model, shape, 'reduce_scatter') for model in ('dense_mlp', 'ssr_d') for shape in OTHERS),
    ('dense_mlp', (3, 1), 'all_to_all'),
    ('ssr_d', (5, 1), 'reduce_scatter'),
  ],
)
def test_steps_on_a_mesh_equal_one_device(model, shape, lookup):
  """With dropout, and also where neither batch nor table divide over the devices."""
  program, state = build(model, shape, lookup)
  state, loss = stepped(program, state)
  want, want_loss = one_device(model)
  assert loss == pytest.approx(want_loss, abs=1e-6)
  assert_close(on_host(program, state), want, rtol=1e-4, atol=2e-5)
  for name, axis in SPLIT[model].items():
    assert_split(state.params[name]['kernel'], axis, shape[1])
  placed = train.shardings(program, state)
  assert_lies(state.moments, placed.moments)
  assert_lies(state.params, placed.params)
  for name, axis in SPLIT[model].items():
    assert_split(state.moments.mu[name]['kernel'], axis, shape[1])


def assert_split(kernel, axis, parts):
  """Each device holds one part of `parts` along `axis`."""
  want = tuple(size // parts if i == axis else size for i, size in enumerate(kernel.shape))
  assert {shard.data.shape for shard in kernel.addressable_shards} == {want}


def assert_lies(tree, placed):
  """After the steps everything is where the marks put it: else the next dispatch would compile
  again.
  """
  for (path, leaf), want in zip(
    jax.tree.leaves_with_path(tree), jax.tree.leaves(placed), strict=True
  ):
    assert leaf.sharding.is_equivalent_to(want, leaf.ndim), (
      jax.tree_util.keystr(path),
      leaf.sharding,
    )


@pytest.mark.parametrize('model', MODELS)
def test_kernels_and_their_moments_never_travel_whole(model):
  """Only activations are gathered, which a small batch makes smaller than any kernel.

  A change of masks is another matter: it sorts whole kernels.
  """
  program, state = build(model, (2, 4), batch_size=8, sparsity='none', density=1.0)
  few = jax.tree.map(lambda stacked: stacked[:, :8], batches(fields()))
  compiled = steps_of(program).lower(state, few).compile()
  gathers = [
    one.elements for one in hlo.collectives(compiled.as_text()) if one.name.startswith('all-gather')
  ]
  assert gathers and max(gathers) < min(state.params[name]['kernel'].size for name in SPLIT[model])


def logits(program, state):
  """Of the first batch, as evaluation has them."""
  stacked = padded(batches(fields()), program.mesh.shape['data'])
  batch = jax.tree.map(lambda leaf: leaf[0], stacked)
  step = jax.jit(functools.partial(train.eval_step, program))
  _, logits_BxT = step(train.without_optimizer(state), program.objective.zeros(), batch)
  return np.asarray(logits_BxT)[:BATCH]


@pytest.mark.parametrize('model', ['dense_mlp', 'ssr_d'])
def test_a_checkpoint_moves_between_a_split_network_and_one_device(model, tmp_path):
  """Written on 2 x 4 devices, read and written again on one, three and 4 x 2: the same bits."""
  program, state = build(model, (2, 4))
  state, _ = stepped(program, state)
  want, want_logits = on_host(program, state), logits(program, state)
  for shape in ((1, 1), (3, 1), (4, 2)):
    with checkpoint.manager(tmp_path / str(shape)) as manager:
      checkpoint.save(manager, program, state, {}, {})
      program, like = build(model, shape)
      state, _, _ = checkpoint.restore(manager, STEPS, program, like)
    jax.tree.map(np.testing.assert_array_equal, on_host(program, state), want)
    np.testing.assert_allclose(logits(program, state), want_logits, atol=1e-6)
  assert_lies(state.params, train.shardings(program, state).params)
  assert_split(state.params['layer_1']['kernel'], SPLIT[model]['layer_1'], 2)


def test_start_values_do_not_depend_on_the_devices():
  starts = [on_host(*build('ssr_s', shape)) for shape in ((1, 1), (3, 1), (5, 1), (2, 4))]
  for other in starts[1:]:
    jax.tree.map(np.testing.assert_array_equal, other, starts[0])


def test_stochastic_rounding_has_the_seed_of_the_run():
  assert int(build('dense_mlp', (1, 1), seed=3)[1].table.slots.seed) == 3


def test_a_second_checkpoint_compiles_nothing(caplog):
  program, state = build('dense_mlp', (4, 2))
  assert program.table.tiny
  first = on_host(program, state)
  with jax.log_compiles():
    second = on_host(program, state)
  assert not [said for said in caplog.messages if said.startswith('Compiling')]
  jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.fusions
def test_a_step_has_nothing_of_the_size_of_the_table():
  """The whole step, on a mesh that splits table and network."""
  sizes = (2**20, 7, 600, 20)
  program, state = build('ssr_d', (2, 4), sizes=sizes)
  compiled = steps_of(program).lower(state, batches(fields(sizes))).compile()
  local = state.table.rows_RxD.size // 8
  assert not table_hlo.table_sized(compiled.as_text(), local // 8)
  assert max(one.elements for one in hlo.collectives(compiled.as_text())) < local // 10
  assert compiled.memory_analysis().temp_size_in_bytes < 4 * local // 10
