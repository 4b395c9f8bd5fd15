"""Tiny fields: on several devices, every device holds their rows, beside the sharded table.

Every example reads a row of each field, so the few rows of a tiny field are the hottest of all.
Held everywhere, they are looked up without an exchange and load no device more than another; an
update all-reduces a gradient of their size.

The sharded table keeps their rows too, stale and unread, so ids and logical arrays are what they
are without tiny fields: `take` copies them out of a table that was placed, `put` writes the trained
ones back before it leaves.
"""

from collections.abc import Callable, Sequence
import functools
from typing import NamedTuple

import jax
from jax import lax
from jax import P
import jax.numpy as jnp
import numpy as np

from rec_sparse.embedding import placement
from rec_sparse.embedding import routing

TINY_ROWS = 256  # of a field: well below a batch, whose rows and gradients would travel instead


class Fields(NamedTuple):
  """Which fields are tiny, and where their rows are; Y rows in all, stacked as the fields are."""

  tiny_J: np.ndarray  # positions among the F fields
  large_J: np.ndarray  # the others
  shift_J: np.ndarray  # int32: row of the table - row of the stack, of the tiny fields
  rows_Y: np.ndarray  # int32: row of the table that each row of the stack is


class Pair(NamedTuple):
  """An array over fields, (B, F) or (B, F, D), in two: of the tiny fields and of the others."""

  tiny: jax.Array
  large: jax.Array


def choose(sizes: Sequence[int], mesh: jax.sharding.Mesh) -> Fields | None:
  """The tiny ones of fields with `sizes` rows each; None on one device, or where no field or every
  field is tiny.
  """
  sizes_F = np.asarray(sizes)
  tiny_F = sizes_F <= TINY_ROWS
  if mesh.size == 1 or tiny_F.all() or not tiny_F.any():
    return None

  starts_F = np.cumsum(sizes_F) - sizes_F
  stack_sizes_F = sizes_F * tiny_F
  stack_starts_F = np.cumsum(stack_sizes_F) - stack_sizes_F
  rows_R = np.arange(sizes_F.sum(), dtype=np.int32)
  return Fields(
    tiny_J=np.flatnonzero(tiny_F),
    large_J=np.flatnonzero(~tiny_F),
    shift_J=(starts_F - stack_starts_F)[tiny_F].astype(np.int32),
    rows_Y=rows_R[np.repeat(tiny_F, sizes_F)],
  )


def split_ids(fields: Fields, ids_BxF: jax.Array) -> Pair:
  """Rows of the stack, and rows of the table."""
  tiny_BxJ, large_BxJ = split(fields, ids_BxF)
  return Pair(tiny_BxJ - fields.shift_J[None], large_BxJ)


def split(fields: Fields, x_BxFxX: jax.Array) -> Pair:
  """By fields."""
  return Pair(x_BxFxX[:, fields.tiny_J], x_BxFxX[:, fields.large_J])


def join(fields: Fields, tiny_BxJxX: jax.Array, large_BxJxX: jax.Array) -> jax.Array:
  """The inverse of `split`."""
  order_F = np.argsort(np.concatenate([fields.tiny_J, fields.large_J]))
  return jnp.concatenate([tiny_BxJxX, large_BxJxX], 1)[:, order_F]


def holds(fields: Fields, rows_R: jax.Array) -> jax.Array:
  """bool (R,): whether a row of the table is one of the stack."""
  rows_Y = jnp.asarray(fields.rows_Y)
  nearest_R = jnp.minimum(jnp.searchsorted(rows_Y, rows_R), len(fields.rows_Y) - 1)
  return rows_Y[nearest_R] == rows_R


def take(
  fields: Fields, arrays_RxX: tuple[jax.Array, ...], mesh: jax.sharding.Mesh
) -> tuple[jax.Array, ...]:
  """The stack of each stored array, on every device."""
  copy = _over_shards(_from_mine, mesh, (P(placement.AXES),), P())
  return copy(fields.rows_Y, arrays_RxX)


def put(
  fields: Fields,
  arrays_RxX: tuple[jax.Array, ...],
  stacks_YxX: tuple[jax.Array, ...],
  mesh: jax.sharding.Mesh,
) -> tuple[jax.Array, ...]:
  """The stored arrays with the rows of their stacks written over the stale copies."""
  write = _over_shards(_into_mine, mesh, (P(placement.AXES), P()), P(placement.AXES))
  return write(fields.rows_Y, arrays_RxX, stacks_YxX)


def _from_mine(rows_Y: jax.Array, mine_RxX: jax.Array) -> jax.Array:
  rows_YxX = mine_RxX.at[_mine(rows_Y, mine_RxX.shape[0])].get(mode='fill', fill_value=0)
  return lax.psum(rows_YxX, placement.AXES).astype(rows_YxX.dtype)  # one term is not 0


def _into_mine(rows_Y: jax.Array, mine_RxX: jax.Array, rows_YxX: jax.Array) -> jax.Array:
  return mine_RxX.at[_mine(rows_Y, mine_RxX.shape[0])].set(rows_YxX, mode='drop')


def _mine(rows_Y: jax.Array, local_rows: int) -> jax.Array:
  """Local row of each row of the stack; `local_rows`, which is none, where another has it."""
  local_Y, mine_Y = routing.my_rows(rows_Y, local_rows)
  return jnp.where(mine_Y, local_Y, local_rows)


@functools.lru_cache
def _over_shards(
  of_array: Callable[..., jax.Array], mesh: jax.sharding.Mesh, in_specs: tuple[P, ...], out_specs: P
) -> Callable[..., tuple[jax.Array, ...]]:
  """(rows_Y, arrays, ...) -> arrays: one program for the table and its moments, kept for the next
  checkpoint.
  """

  def of_arrays(rows_Y: jax.Array, *arrays: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    return jax.tree.map(functools.partial(of_array, rows_Y), *arrays)

  return jax.jit(
    jax.shard_map(of_arrays, mesh=mesh, in_specs=(P(), *in_specs), out_specs=out_specs)
  )
