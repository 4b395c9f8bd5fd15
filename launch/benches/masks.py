"""A training step under masks over the dense step: between two changes of the masks, and at one."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from launch.benches import rows
from launch.benches import step as step_lib
from launch.benches import timing
from launch.benches.figure import Figure
from launch.benches.figure import ratio
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.sparsity import rules
from rec_sparse.sparsity import schedule as schedule_lib
from rec_sparse.sparsity import table_masks


class Sizes(NamedTuple):
  fields: int
  dim: int
  batch: int  # examples a step
  width: int  # of both hidden layers
  table: int  # rows
  data: int  # resident examples
  steps: int  # of one dispatch
  rounds: int
  rules: tuple[str, ...]  # of the dense kernels
  table_rules: tuple[str, ...]


FULL = Sizes(
  39, 16, 4096, 400, 100_000, 131_072, 4, 7, tuple(rules.RULES), tuple(table_masks.RULES)
)
TINY = Sizes(5, 4, 32, 8, 500, 256, 2, 2, ('rigl',), ('dsl',))


def measure(sizes: Sizes) -> Iterator[Figure]:
  """All figures of --what=masks."""
  dense = _call(sizes, _program(sizes))
  calls = {'dense': dense}
  for name in sizes.rules:
    calls |= _calls(sizes, name, rules.RULES[name].is_due, sparsity=name, density=0.1)
  for name in sizes.table_rules:
    own = {'table_sparsity': name, 'table_density': 0.1}
    calls |= _calls(sizes, f'table_{name}', table_masks.RULES[name].is_due, **own)

  seconds = timing.interleave(calls, sizes.rounds)
  yield Figure(
    'masks_dense_ms', 1e3 * timing.median(seconds, 'dense') / sizes.steps, 'ms', 'the dense step'
  )
  for name in calls:
    if name != 'dense':
      rule, _, when = name.rpartition('_')
      meaning = {'between': 'step without a change', 'change': 'step with one'}[when]
      yield ratio(
        f'masks_{name}', seconds[name], seconds['dense'], f'{rule}: {meaning} / dense step'
      )


def _calls(
  sizes: Sizes, name: str, is_due: schedule_lib.IsDue, **overrides: Any
) -> dict[str, timing.Call]:
  """Dispatches of steps without a change and, where masks ever change, with one."""
  calls = {f'{name}_between': _call(sizes, _program(sizes, **overrides))}
  if is_due is not schedule_lib.never:
    calls[f'{name}_change'] = _call(sizes, _program(sizes, changes=True, **overrides))
  return calls


def _program(sizes: Sizes, *, changes: bool = False, **overrides: Any) -> train.Program:
  """The program whose masks, if `overrides` ask for some, change at every step, or at none.

  Which of both is a value of the compiled step, as in training: it has the code of a change.
  """
  config = settings.make(
    'dense_mlp',
    {
      'width': sizes.width,
      'depth': 2,
      'embedding_dim': sizes.dim,
      'batch_size': sizes.batch,
      **overrides,
    },
  )
  run = train.program(config, rows.schema(sizes.fields, sizes.table))

  def is_due(schedule: schedule_lib.Schedule, step: jax.Array) -> jax.Array:
    del schedule
    return step >= (0 if changes else 2**30)

  def timed(own: Any) -> Any:
    if own is None or own.rule.is_due is schedule_lib.never:
      return own
    return own._replace(rule=own.rule._replace(is_due=is_due))

  return run._replace(
    sparsifier=timed(run.sparsifier), table_sparsifier=timed(run.table_sparsifier)
  )


def _call(sizes: Sizes, run: train.Program) -> timing.Call:
  """One dispatch of steps, as the resident feed runs them; the state is donated."""
  schema = rows.schema(sizes.fields, sizes.table)
  return step_lib.training_of(run, schema, sizes.data, 'zipf', sizes.steps).call
