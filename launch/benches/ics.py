"""The competition (ICS), forward and backward: closed form against autodiff of its iterations."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from launch.benches import timing
from launch.benches.figure import Figure
from launch.benches.figure import ratio
from rec_sparse.sparsity import ics
from rec_sparse.sparsity import ics_pallas


class Sizes(NamedTuple):
  views: int  # V
  dims: int  # K
  batch: int  # B
  iterations: int  # T
  turns: int  # of one dispatch
  rounds: int


FULL = Sizes(8, 256, 4096, 5, 8, 9)
TINY = Sizes(2, 8, 16, 3, 2, 2)


def measure(sizes: Sizes) -> Iterator[Figure]:
  """All figures of --what=ics."""
  z_VxKxB = jax.random.normal(jax.random.key(0), (sizes.views, sizes.dims, sizes.batch))
  alpha_VxT = jnp.full((sizes.views, sizes.iterations), 0.1)
  gamma_VxK = jnp.ones((sizes.views, sizes.dims))
  forms = {'plain': lambda *x: ics.ics(*x, -2), 'autodiff': lambda *x: ics.ics_iterated(*x, -2)}
  if jax.default_backend() == 'gpu':
    from jax.experimental.pallas import triton

    forms['pallas'] = lambda *x: ics_pallas.ics_pallas(*x, 32, triton.CompilerParams())
  made = {
    name: timing.repeated(_both_ways(form), sizes.turns, z_VxKxB, alpha_VxT, gamma_VxK)
    for name, form in forms.items()
  }
  calls = {name: call for name, (call, _) in made.items()}
  calls['copy'] = timing.repeated(
    lambda z_VxKxB: (z_VxKxB + 1.0, z_VxKxB - 1.0), sizes.turns, z_VxKxB
  )[0]
  seconds = timing.interleave(calls, sizes.rounds)
  yield ratio(
    'ics_speedup', seconds['autodiff'], seconds['plain'], 'autodiff of iterations / closed form'
  )
  if 'pallas' in forms:
    yield ratio(
      'ics_pallas_speedup', seconds['plain'], seconds['pallas'], 'closed form / Pallas kernel'
    )
  yield ratio(
    'ics_over_copy', seconds['plain'], seconds['copy'], 'closed form / writing two such arrays'
  )
  for name, (_, compiled) in made.items():
    yield Figure(
      f'ics_{name}_ms',
      1e3 * timing.median(seconds, name) / sizes.turns,
      'ms',
      'forward and backward',
    )
    yield Figure(
      f'ics_{name}_temp_mb',
      compiled.temp_bytes / 1e6,
      'MB',
      f'temporary memory; z has {z_VxKxB.nbytes / 1e6:.0f} MB',
    )


def _both_ways(form: Callable) -> Callable:
  def both(z_VxKxB, alpha_VxT, gamma_VxK):
    y_VxKxB, back = jax.vjp(form, z_VxKxB, alpha_VxT, gamma_VxK)
    return y_VxKxB, back(z_VxKxB)

  return both
