"""What a GPU or a TPU reaches at the sizes at which others have published a figure.

lookup and update  FBGEMM and DynamicEmb: 1.05 M ids of which 350 k differ, D = 128, float32
dcn_v2             DLRM-DCNv2 of MLPerf in shape: 26 fields of 128, three cross layers of rank 512,
                   1024 x 3 hidden units; the table is as large as one device holds easily
ssr_s              16 views of 128, two layers, 39 fields of 16, in float32 and bfloat16
"""

from collections.abc import Iterator
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from launch.benches import step
from launch.benches import timing
from launch.benches.figure import Figure
from launch.benches.figure import ratio
from rec_sparse import settings
from rec_sparse.embedding import duplicates
from rec_sparse.embedding import optimizers
from rec_sparse.embedding import placement
from rec_sparse.embedding import table as table_lib


class Sizes(NamedTuple):
  """Of lookup and update, and of the two networks."""

  ids: int
  distinct: int
  dim: int
  table: int  # rows
  batch: int  # examples a step of the networks
  network_table: int  # rows
  width: int  # of dcn_v2; of a view of SSR-S an eighth
  turns: int  # of one dispatch
  rounds: int


FULL = Sizes(1_050_000, 350_000, 128, 10_000_000, 32_768, 4_000_000, 1024, 8, 7)
TINY = Sizes(60, 20, 4, 200, 16, 200, 16, 2, 2)
OPTIMIZERS = {'adam': optimizers.row_adam, 'sgd': optimizers.row_sgd}
METHODS: tuple[duplicates.Method, ...] = ('sort', 'scratch')


def measure(sizes: Sizes) -> Iterator[Figure]:
  """All figures of --what=accelerator.

  Raises ValueError at full size where there is none.
  """
  if sizes == FULL and jax.default_backend() == 'cpu':
    raise ValueError('its sizes are those of a GPU or a TPU, and this process sees a CPU alone')
  yield from _table(sizes)
  yield from _dcn_v2(sizes)
  yield from _ssr_s(sizes)


def _table(sizes: Sizes) -> Iterator[Figure]:
  ids_BxF = jnp.asarray(_ids(sizes))[:, None]
  calls = {
    f'{name}_{method}': _lookup_and_update(sizes, make(method=method), ids_BxF)
    for name, make in OPTIMIZERS.items()
    for method in METHODS
  }
  seconds = timing.interleave(calls, sizes.rounds)
  for name in calls:
    milliseconds = 1e3 * timing.median(seconds, name) / sizes.turns
    meaning = f'lookup and update, {sizes.ids:,} ids, {sizes.distinct:,} differ, D = {sizes.dim}'
    yield Figure(f'table_{name}_ms', milliseconds, 'ms', meaning)
  for name in OPTIMIZERS:
    yield ratio(
      f'table_{name}_sort_over_scratch',
      seconds[f'{name}_sort'],
      seconds[f'{name}_scratch'],
      'duplicates by sort / by scratch cells',
    )


def _ids(sizes: Sizes) -> np.ndarray:
  """ids_O, of which exactly `distinct` differ."""
  rng = np.random.default_rng(0)
  pool = rng.choice(sizes.table, sizes.distinct, replace=False).astype(np.int32)
  again = rng.choice(pool, sizes.ids - sizes.distinct)
  return rng.permutation(np.concatenate([pool, again]))


def _lookup_and_update(
  sizes: Sizes, optimizer: optimizers.TableOptimizer, ids_BxF: jax.Array
) -> timing.Call:
  """`turns` of both in a dispatch; what was looked up is the gradient."""
  placed = table_lib.Placed(
    columns={'embedding': sizes.dim},
    sizes=(sizes.table,),
    dtype='float32',
    start=1.0,
    optimizer=optimizer,
    mesh=placement.make_mesh(1),
  )
  rates = optimizers.Rates(jnp.float32(1e-3))

  def turn(_: jax.Array, table: table_lib.Table) -> table_lib.Table:
    found = table_lib.lookup(placed, table, ids_BxF)
    return table_lib.update(placed, table, ids_BxF, found.rows, rates).table

  def turns(table: table_lib.Table) -> table_lib.Table:
    return jax.lax.fori_loop(0, sizes.turns, turn, table)

  init = functools.partial(table_lib.init, placed, jax.random.key(0), jnp.int32(0))
  return timing.advancing(jax.jit(turns, donate_argnums=0), jax.jit(init)())


def _dcn_v2(sizes: Sizes) -> Iterator[Figure]:
  settings_of = {
    'width': sizes.width,
    'depth': 3,
    'embedding_dim': sizes.dim,
    'table_optimizer': 'adagrad',
    'structure': 'stacked',
    'cross': 'mixture',
    'cross_rank': sizes.width // 2,
    'cross_experts': 1,
  }
  yield _pace(sizes, 'dcn_v2', 'dcn_v2', 26, settings_of)


def _ssr_s(sizes: Sizes) -> Iterator[Figure]:
  for dtype in ('float32', 'bfloat16'):
    settings_of = {
      'width': sizes.width // 8,
      'views': 16,
      'depth': 2,
      'embedding_dim': 16,
      'compute_dtype': dtype,
    }
    yield _pace(sizes, f'ssr_s_{dtype}', 'ssr_s', 39, settings_of)


def _pace(sizes: Sizes, name: str, model: str, fields: int, settings_of: dict[str, Any]) -> Figure:
  """Examples a second of whole training steps."""
  config = settings.make(model, settings_of | {'batch_size': sizes.batch})
  rows = 4 * sizes.batch  # resident
  whole = step.training(config, fields, sizes.network_table, rows, 'zipf', sizes.turns)
  seconds = timing.interleave({'whole': whole.call}, sizes.rounds)
  pace = sizes.batch * sizes.turns / timing.median(seconds, 'whole')
  return Figure(f'{name}_examples_per_s', pace, 'examples/s', f'steps of {sizes.batch:,} examples')
