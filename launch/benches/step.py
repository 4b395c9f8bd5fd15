"""The whole training step against its dense part, and against the height of its table.

The dense part is forward and backward alone.
"""

from collections.abc import Iterator
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from launch.benches import machine
from launch.benches import rows
from launch.benches import timing
from launch.benches.figure import Figure
from launch.benches.figure import ratio
from rec_sparse import config as config_lib
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.models import architecture
from rec_sparse.runs import feeds
from rec_sparse.runs import huge_pages


class Sizes(NamedTuple):
  fields: int
  dim: int
  batch: int  # examples a step
  width: int  # of both hidden layers
  table: int  # rows of step_over_dense, and of step_20m_over_1m
  small_table: int  # rows of step_20m_over_20k
  large_table: int
  data: int  # resident examples
  views: int  # of the SSR-S network
  steps: int  # of one dispatch
  rounds: int
  copy_bytes: int
  side: int  # of the matrix product
  # (table optimizer, draw of ids); the first has no suffix
  cases: tuple[tuple[str, rows.Draw], ...]


FULL = Sizes(
  39,
  16,
  4096,
  400,
  1_000_000,
  20_000,
  20_000_000,
  131_072,
  16,
  4,
  13,
  1 << 28,
  2048,
  (('adam', 'zipf'), ('adam', 'uniform'), ('adagrad', 'zipf'), ('sgd', 'zipf')),
)
TINY = Sizes(5, 4, 32, 8, 500, 100, 1000, 256, 2, 2, 2, 1 << 12, 16, (('adam', 'zipf'),))
ACCELERATOR_BATCH = 32_768  # examples a step of the SSR-S figure where there is an accelerator
TRAINING = 3  # FLOPs of forward and backward over forward


class Training(NamedTuple):
  """A network in training on random rows."""

  run: train.Program
  state: train.TrainState
  step: timing.Compiled  # (state, data, steps) -> (state, sums)
  call: timing.Call  # one dispatch


def measure(sizes: Sizes) -> Iterator[Figure]:
  """All figures of --what=step."""
  limits = machine.limits(sizes.copy_bytes, sizes.side, sizes.rounds)
  yield from machine.figures(limits)
  for case in sizes.cases:
    yield from _over_dense(sizes, limits, *case)
  for case in sizes.cases:
    yield from _over_height(sizes, *case)
  yield from _ssr_s(sizes, limits)


def training(
  config: config_lib.Config, fields: int, table: int, data: int, how: rows.Draw, steps: int
) -> Training:
  """Compiles `steps` steps a dispatch, as the resident feed runs them; the state is donated."""
  schema = rows.schema(fields, table)
  return training_of(train.program(config, schema), schema, data, how, steps)


def training_of(
  run: train.Program, schema: schema_lib.FeatureSchema, data: int, how: rows.Draw, steps: int
) -> Training:
  """The same of a program."""
  state, held = huge_pages.advise(train.init(run, schema)), rows.draw(schema, data, how)
  step = timing.compile_(
    functools.partial(feeds.advance_resident, run), state, held, jnp.int32(steps), donate=0
  )
  call = timing.advancing(lambda state: step.call(state, held, jnp.int32(steps))[0], state)
  return Training(run, state, step, call)


def dense_alone(run: train.Program, fields: int, steps: int) -> timing.Call:
  """The network's forward and backward, `steps` times in a dispatch.

  It has gradients to parameters and looked-up rows.
  """
  cfg = run.config
  state = train.init(run, rows.schema(fields, fields))
  looked_up = {
    purpose: 0.05 * jax.random.normal(jax.random.key(0), (cfg.batch_size, fields, width))
    for purpose, width in run.table.columns.items()
  }
  label_BxT = jnp.ones((cfg.batch_size, 1))

  def loss(params: Any, looked_up: architecture.Rows) -> jax.Array:
    variables = train.variables(state._replace(params=params))
    logits_BxT, _ = run.module.apply(
      variables,
      looked_up,
      train=True,
      rngs={'dropout': jax.random.key(0)},
      mutable=train.MOVING,
    )
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits_BxT, label_BxT))

  return timing.repeated(jax.value_and_grad(loss, (0, 1)), steps, state.params, looked_up)[0]


def _over_dense(
  sizes: Sizes, limits: machine.Limits, optimizer: str, how: rows.Draw
) -> Iterator[Figure]:
  config = _mlp(sizes, optimizer)
  whole = training(config, sizes.fields, sizes.table, sizes.data, how, sizes.steps)
  calls = {'whole': whole.call, 'dense': dense_alone(whole.run, sizes.fields, sizes.steps)}
  seconds = timing.interleave(calls, sizes.rounds)
  yield ratio(
    f'step_over_dense{_suffix(sizes, optimizer, how)}',
    seconds['whole'],
    seconds['dense'],
    f'step / dense forward and backward; {optimizer}, {how} ids',
  )
  if _suffix(sizes, optimizer, how):
    return
  flops = train.counts(config, rows.schema(sizes.fields, sizes.table))['flops_per_example']
  per_second = sizes.batch * sizes.steps / timing.median(seconds, 'whole')
  yield Figure('step_ms', 1e3 * timing.median(seconds, 'whole') / sizes.steps, 'ms', 'whole step')
  yield Figure(
    'step_dense_ms',
    1e3 * timing.median(seconds, 'dense') / sizes.steps,
    'ms',
    'its dense part alone',
  )
  yield Figure('step_examples_per_s', per_second, 'examples/s', 'whole step')
  yield Figure(
    'step_share_of_product',
    TRAINING * flops * per_second / limits.multiplied,
    'x',
    'FLOP/s of the step / of the matrix product',
  )
  yield Figure('step_compile_s', whole.step.seconds, 's', 'compiling the loop of steps')
  yield Figure('step_temp_mb', whole.step.temp_bytes / 1e6, 'MB', 'temporary memory of the step')


def _over_height(sizes: Sizes, optimizer: str, how: rows.Draw) -> Iterator[Figure]:
  """Against a table lower than a batch, and one that is higher.

  A CPU updates the lower one from top to bottom.
  """
  config = _mlp(sizes, optimizer)
  tables = {'20m': sizes.large_table, '20k': sizes.small_table, '1m': sizes.table}
  calls = {
    name: training(config, sizes.fields, table, sizes.data, how, sizes.steps).call
    for name, table in tables.items()
  }
  seconds = timing.interleave(calls, sizes.rounds)
  for name in ('20k', '1m'):
    yield ratio(
      f'step_20m_over_{name}{_suffix(sizes, optimizer, how)}',
      seconds['20m'],
      seconds[name],
      f'step, {tables["20m"]:,} rows / {tables[name]:,} rows; {optimizer}, {how} ids',
    )


def _ssr_s(sizes: Sizes, limits: machine.Limits) -> Iterator[Figure]:
  batch = sizes.batch if jax.default_backend() == 'cpu' or sizes == TINY else ACCELERATOR_BATCH
  config = settings.make(
    'ssr_s',
    {
      'width': 128 if sizes != TINY else 4,
      'views': sizes.views,
      'depth': 2,
      'embedding_dim': sizes.dim,
      'batch_size': batch,
    },
  )
  whole = training(config, sizes.fields, sizes.table, max(sizes.data, batch), 'zipf', sizes.steps)
  seconds = timing.interleave({'whole': whole.call}, sizes.rounds)
  per_second = batch * sizes.steps / timing.median(seconds, 'whole')
  flops = train.counts(config, rows.schema(sizes.fields, sizes.table))['flops_per_example']
  yield Figure(
    'ssr_s_examples_per_s', per_second, 'examples/s', f'SSR-S, {sizes.views} views of 128, depth 2'
  )
  yield Figure(
    'ssr_s_share_of_product',
    TRAINING * flops * per_second / limits.multiplied,
    'x',
    'its FLOP/s / of the matrix product',
  )


def _suffix(sizes: Sizes, optimizer: str, how: rows.Draw) -> str:
  return '' if (optimizer, how) == sizes.cases[0] else f'_{optimizer}_{how}'


def _mlp(sizes: Sizes, optimizer: str) -> config_lib.Config:
  return settings.make(
    'dense_mlp',
    {
      'width': sizes.width,
      'depth': 2,
      'embedding_dim': sizes.dim,
      'batch_size': sizes.batch,
      'table_optimizer': optimizer,
    },
  )
