"""The competition (ICS), forward and backward: closed form against autodiff of its iterations."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from launch.benches import timing
from launch.benches.figure import Figure
from launch.benches.figure import ratio
from rec_sparse.sparsity import ics


class Sizes(NamedTuple):
  views: int  # V
  dims: int  # K
  batch: int  # B
  iterations: int  # I
  turns: int  # of one dispatch
  rounds: int


FULL = Sizes(8, 256, 4096, 5, 8, 9)
TINY = Sizes(2, 8, 16, 3, 2, 2)


def measure(sizes: Sizes) -> Iterator[Figure]:
  """All figures of --what=ics."""
  z_VxKxB = jax.random.normal(jax.random.key(0), (sizes.views, sizes.dims, sizes.batch))
  alpha_VxI = jnp.full((sizes.views, sizes.iterations), 0.1)
  gamma_VxK = jnp.ones((sizes.views, sizes.dims))

  calls = {}
  temp_bytes = {}
  for name, form in {'plain': ics.ics, 'autodiff': ics.ics_iterated}.items():
    calls[name], compiled = timing.repeated(
      _both_ways(form), sizes.turns, z_VxKxB, alpha_VxI, gamma_VxK
    )
    temp_bytes[name] = compiled.temp_bytes
  calls['copy'], _ = timing.repeated(_write_two, sizes.turns, z_VxKxB)
  seconds = timing.interleave(calls, sizes.rounds)

  yield ratio(
    'ics_speedup', seconds['autodiff'], seconds['plain'], 'autodiff of iterations / closed form'
  )
  yield ratio(
    'ics_over_copy', seconds['plain'], seconds['copy'], 'closed form / writing two such arrays'
  )
  of_z = f'temporary memory; z has {z_VxKxB.nbytes / 1e6:.0f} MB'
  for name in temp_bytes:
    milliseconds = 1e3 * timing.median(seconds, name) / sizes.turns
    yield Figure(f'ics_{name}_ms', milliseconds, 'ms', 'forward and backward')
    yield Figure(f'ics_{name}_temp_mb', temp_bytes[name] / 1e6, 'MB', of_z)


def _both_ways(form: Callable) -> Callable:
  """Value and derivatives of a form of the competition."""

  def both(z_VxKxB, alpha_VxI, gamma_VxK):
    y_VxKxB, back = jax.vjp(form, z_VxKxB, alpha_VxI, gamma_VxK)
    return y_VxKxB, back(z_VxKxB)

  return both


def _write_two(z_VxKxB: jax.Array) -> tuple[jax.Array, jax.Array]:
  return z_VxKxB + 1.0, z_VxKxB - 1.0
