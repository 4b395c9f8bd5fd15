"""Golden numbers: what fixed data make of each model in forty steps.

A change that is not meant to move results must leave these as they are. Where one is meant to,
say so in the commit and write the numbers that the failing test shows.
"""

import jax
import numpy as np
import pytest

from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train

SIZES = (50, 30, 20, 1)
BATCH = 128
STEPS = 40
LEARNED = {'filter': 'learned', 'filter_warmup': 10}
CASES = {
  'dense_mlp': ('dense_mlp', {'weight_decay': 0.1}),
  'dcn_v2': ('dcn_v2', {'table_optimizer': 'adagrad'}),
  'ssr_s': ('ssr_s', {'dropout': 0.2, 'views': 3}),
  'ssr_s learned': ('ssr_s', {'views': 3, 'table_optimizer': 'sgd'} | LEARNED),
  'ssr_d': ('ssr_d', {'embedding_dropout': 0.1, 'views': 3}),
}
# case -> summed loss, then the norm and the sum of all dense parameters, and of the table
GOLDEN = {
  'dense_mlp': (7.98805, 7.0871, 3.94325, 2.18031, -0.518058),
  'dcn_v2': (11.9024, 12.2155, 6.95703, 0.960729, 0.312739),
  'ssr_s': (10.4285, 14.7469, 106.121, 2.32187, 3.65303),
  'ssr_s learned': (10.6047, 19.3294, 148.685, 0.81157, 0.136684),
  'ssr_d': (10.3139, 26.1098, 272.839, 2.21993, -3.17088),
}


def batches():
  """STEPS batches of random ids, of which the first and the number decide the label."""
  rng = np.random.default_rng(11)
  ids_KxBxF = (rng.random((STEPS, BATCH, len(SIZES))) * SIZES).astype(np.int32)
  value_KxBx1 = rng.normal(size=(STEPS, BATCH, 1)).astype(np.float32)
  label_KxBx1 = (ids_KxBxF[..., :1] % 3 == 0) | (value_KxBx1 > 1)
  offsets = np.cumsum((0, *SIZES[:-1])).astype(np.int32)
  return {
    'ids_BxF': ids_KxBxF + offsets,
    'value_BxA': value_KxBx1,
    'label_BxT': label_KxBx1.astype(np.float32),
    'weight_B': np.ones((STEPS, BATCH), np.float32),
  }


def trained(model, overrides):
  """(summed loss, state) after STEPS steps on fixed data."""
  kinds = ('categorical', 'categorical', 'categorical', 'numeric')
  fields = tuple(
    schema_lib.Field(f'field_{i}', kind, size)
    for i, (kind, size) in enumerate(zip(kinds, SIZES, strict=True))
  )
  schema = schema_lib.FeatureSchema(fields, ('label',), None, {}, '', {})
  config = settings.make(
    model,
    {
      'width': 16,
      'depth': 2,
      'embedding_dim': 8,
      'batch_size': BATCH,
      'learning_rate': 0.01,
      'seed': 5,
    }
    | overrides,
  )
  program = train.program(config, schema)

  @jax.jit
  def loop(state, stacked):
    def body(carry, batch):
      return train.train_step(program, *carry, batch), None

    return jax.lax.scan(body, (state, train.zero_sums()), stacked)[0]

  state, sums = loop(train.init(program, schema), batches())
  return float(sums.loss), state


def summary(loss, state):
  """Five numbers of a trained state."""
  dense = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(state.params)]
  table = np.asarray(state.table.rows_RxD, np.float64)
  numbers = [loss]
  for all_of in (np.concatenate(dense), table):
    numbers += [np.linalg.norm(all_of), all_of.sum()]
  return numbers


@pytest.mark.parametrize('case', CASES)
def test_training_gives_what_it_gave(case):
  found = summary(*trained(*CASES[case]))
  shown = ', '.join(f'{number:.6g}' for number in found)
  assert found == pytest.approx(GOLDEN[case], rel=2e-4, abs=1e-3), (
    f'if {case} is meant to train otherwise now, write GOLDEN[{case!r}] = ({shown}) '
    'and say why in the commit'
  )
