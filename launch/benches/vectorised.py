"""Eight trials of a small rung as one program, against the same eight in turn and against one."""

from collections.abc import Iterator
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
  """All figures of --what=vectorised. What is timed: a dispatch of steps, resident feed, states
  donated.
  """
  config = settings.make(
    'dense_mlp',
    {'width': sizes.width, 'depth': 2, 'embedding_dim': sizes.dim, 'batch_size': sizes.batch},
  )
  schema = rows.schema(sizes.fields, sizes.table)
  run, data = train.program(config, schema), rows.draw(schema, sizes.data, 'zipf')
  seeds, rates = list(range(TRIALS)), [1e-3] * TRIALS
  one = functools.partial(feeds.advance_resident, run)
  steps = jnp.int32(sizes.steps)
  single = jax.jit(one, donate_argnums=0)
  together = jax.jit(
    lambda states, data, steps: trials.over_trials(lambda s: one(s, data, steps), states),
    donate_argnums=0,
  )
  mapped = jax.jit(
    lambda states, data, steps: jax.vmap(lambda s: one(s, data, steps))(states), donate_argnums=0
  )
  # where steps leave a state: else the second call compiles again
  placed = jax.NamedSharding(run.mesh, jax.P())
  fresh = lambda: train.init_trials(run, schema, seeds, rates, placed)
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
  cpu = jax.default_backend() == 'cpu'
  yield ratio(
    'vectorised8',
    seconds['together'],
    seconds['in_turn' if cpu else 'one'],
    'eight trials as one program / ' + ('eight in turn' if cpu else 'one trial'),
  )
  yield ratio(
    'vectorised8_over_one', seconds['together'], seconds['one'], 'eight as one program / one'
  )
  yield ratio(
    'vectorised8_vmap_over_in_turn', seconds['vmap'], seconds['in_turn'], 'vmap / in turn'
  )
  yield Figure(
    'small_step_ms', 1e3 * timing.median(seconds, 'one') / sizes.steps, 'ms', 'step of one trial'
  )
