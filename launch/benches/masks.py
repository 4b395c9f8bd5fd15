"""A training step under masks over the dense step: between two changes of the masks, and at one."""

from collections.abc import Iterator
from typing import NamedTuple

import jax

from launch.benches import rows
from launch.benches import step as step_lib
from launch.benches import timing
from launch.benches.figure import Figure
from launch.benches.figure import ratio
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.sparsity import rules


class Sizes(NamedTuple):
  fields: int
  dim: int
  batch: int  # examples a step
  width: int  # of both hidden layers
  table: int  # rows
  data: int  # resident examples
  steps: int  # of one dispatch
  rounds: int
  rules: tuple[str, ...]


FULL = Sizes(39, 16, 4096, 400, 100_000, 131_072, 4, 7, tuple(rules.RULES))
TINY = Sizes(5, 4, 32, 8, 500, 256, 2, 2, ('rigl',))


def measure(sizes: Sizes) -> Iterator[Figure]:
  """All figures of --what=masks."""
  dense = _call(sizes, _program(sizes))
  calls = {'dense': dense}
  for name in sizes.rules:
    calls[f'{name}_between'] = _call(sizes, _program(sizes, name))
    if rules.RULES[name].is_due is not rules.never:
      calls[f'{name}_change'] = _call(sizes, _program(sizes, name, changes=True))

  seconds = timing.interleave(calls, sizes.rounds)
  yield Figure(
    'masks_dense_ms', 1e3 * timing.median(seconds, 'dense') / sizes.steps, 'ms', 'the dense step'
  )
  for name in calls:
    if name != 'dense':
      rule, _, when = name.partition('_')
      meaning = {'between': 'step without a change', 'change': 'step with one'}[when]
      yield ratio(
        f'masks_{name}', seconds[name], seconds['dense'], f'{rule}: {meaning} / dense step'
      )


def _program(sizes: Sizes, rule: str = 'none', *, changes: bool = False) -> train.Program:
  """The program of a tenth of the weights whose masks change at every step, or at none.

  Which of both is a value of the compiled step, as in training: it has the code of a change.
  """
  config = settings.make(
    'dense_mlp',
    {
      'width': sizes.width,
      'depth': 2,
      'embedding_dim': sizes.dim,
      'batch_size': sizes.batch,
      'sparsity': rule,
      'density': 0.1 if rule != 'none' else 1.0,
    },
  )
  run = train.program(config, rows.schema(sizes.fields, sizes.table))
  own = run.sparsifier
  if own is None or own.rule.is_due is rules.never:
    return run

  def is_due(schedule: rules.Schedule, step: jax.Array) -> jax.Array:
    del schedule
    return step >= (0 if changes else 2**30)

  return run._replace(sparsifier=own._replace(rule=own.rule._replace(is_due=is_due)))


def _call(sizes: Sizes, run: train.Program) -> timing.Call:
  """One dispatch of steps, as the resident feed runs them; the state is donated."""
  schema = rows.schema(sizes.fields, sizes.table)
  return step_lib.training_of(run, schema, sizes.data, 'zipf', sizes.steps).call
