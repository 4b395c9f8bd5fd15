"""Gathering rows of a table, as an operation of its own."""

import jax
import jax.numpy as jnp

from rec_sparse.unfused import unfused


def gather_rows(arrays_RxX: tuple[jax.Array, ...], ids_O: jax.Array) -> tuple[jax.Array, ...]:
  """`array[ids]` of each array; an id outside of the table reads a row of the table, so ids must be
  valid or unused.

  Unfused: a step of row-sparse Adam on 40 k ids of 16 floats took 4.5 ms fused on a CPU, and 2.2 ms
  like this.
  """
  ids_O = jnp.clip(ids_O, 0, arrays_RxX[0].shape[0] - 1)

  def gather(ids_O: jax.Array) -> tuple[jax.Array, ...]:
    return tuple(
      a.at[ids_O].get(mode='promise_in_bounds', wrap_negative_indices=False) for a in arrays_RxX
    )

  return unfused(gather, ids_O)


def read_rows(table_RxD: jax.Array, ids_X: jax.Array) -> jax.Array:
  """rows_XxD of one table, as they are stored."""
  (rows_OxD,) = gather_rows((table_RxD,), ids_X.reshape(-1))
  return rows_OxD.reshape(*ids_X.shape, -1)
