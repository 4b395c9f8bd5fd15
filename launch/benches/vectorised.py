"""Eight trials of a small rung as one program, against the same eight in turn and against one."""

from collections.abc import Iterator
import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from launch.benches import rows
from launch.benches import timing
from launch.benches.figure import Figure
from launch.benches.figure import ratio
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.runs import feeds
from rec_sparse.runs import trials

TRIALS = 8


class Sizes(NamedTuple):
  fields: int
  dim: int
  batch: int  # examples a step of one trial
  width: int  # of both hidden layers
  table: int  # rows
  data: int  # resident examples
  steps: int  # of one dispatch
  rounds: int


FULL = Sizes(10, 10, 1024, 64, 10_000, 131_072, 64, 7)
TINY = Sizes(3, 4, 16, 8, 300, 128, 3, 2)


def measure(sizes: Sizes) -> Iterator[Figure]:
  """All figures of --what=vectorised.

  What is timed is a dispatch of steps: resident feed, states donated.
  """
  config = settings.make(
    'dense_mlp',
    {'width': sizes.width, 'depth': 2, 'embedding_dim': sizes.dim, 'batch_size': sizes.batch},
  )
  schema = rows.schema(sizes.fields, sizes.table)
  run, data = train.program(config, schema), rows.draw(schema, sizes.data, 'zipf')
  configs = [dataclasses.replace(config, seed=seed) for seed in range(TRIALS)]
  steps = jnp.int32(sizes.steps)
  one = functools.partial(feeds.advance_resident, run)

  def over_trials(states, data, steps):
    return trials.over_trials(lambda state: one(state, data, steps), states)

  def over_vmap(states, data, steps):
    return jax.vmap(lambda state: one(state, data, steps))(states)

  single = jax.jit(one, donate_argnums=0)
  together = jax.jit(over_trials, donate_argnums=0)
  mapped = jax.jit(over_vmap, donate_argnums=0)
  # where steps leave a state: else the second call compiles again
  placed = jax.NamedSharding(run.mesh, jax.P())

  def fresh():
    return train.init_trials(run, schema, configs, placed)

  each = [
    timing.advancing(lambda s: single(s, data, steps)[0], train.unstack(fresh(), i))
    for i in range(TRIALS)
  ]
  calls = {
    'one': each[0],
    'in_turn': lambda: [jax.block_until_ready(call()) for call in each],
    'together': timing.advancing(lambda s: together(s, data, steps)[0], fresh()),
    'vmap': timing.advancing(lambda s: mapped(s, data, steps)[0], fresh()),
  }
  seconds = timing.interleave(calls, sizes.rounds)

  against, words = 'one', 'one trial'
  if jax.default_backend() == 'cpu':
    against, words = 'in_turn', 'eight in turn'
  meaning = f'eight trials as one program / {words}'
  yield ratio('vectorised8', seconds['together'], seconds[against], meaning)
  yield ratio(
    'vectorised8_over_one', seconds['together'], seconds['one'], 'eight as one program / one'
  )
  yield ratio(
    'vectorised8_vmap_over_in_turn', seconds['vmap'], seconds['in_turn'], 'vmap / in turn'
  )
  milliseconds = 1e3 * timing.median(seconds, 'one') / sizes.steps
  yield Figure('small_step_ms', milliseconds, 'ms', 'step of one trial')
