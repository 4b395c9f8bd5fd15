"""How a table's numbers are stored: float32, or bfloat16 as its bits in uint16.

The bits, because XLA for CPU has no bfloat16 scatter: it would turn the whole table into float32
and back at every update. Rows are decoded after the gather, so nothing of the table's size is
converted, on any backend.
"""

from typing import Literal

import jax
from jax import lax
import jax.numpy as jnp

TableDtype = Literal['float32', 'bfloat16']


def encode(x: jax.Array, dtype: TableDtype) -> jax.Array:
  """Float array -> stored array, to nearest: for a new table. Updates round stochastically
  (rounding.py).
  """
  if dtype == 'float32':
    return x.astype(jnp.float32)
  if dtype == 'bfloat16':
    return lax.bitcast_convert_type(x.astype(jnp.bfloat16), jnp.uint16)
  raise ValueError(f'table dtype is {dtype!r}, expected float32 or bfloat16')


def decode(stored: jax.Array) -> jax.Array:
  """Stored array -> float32 or bfloat16 array of the same shape."""
  check(stored)
  return lax.bitcast_convert_type(stored, jnp.bfloat16) if stored.dtype == jnp.uint16 else stored


def check(stored: jax.Array) -> None:
  """Raises ValueError for a dtype that is no storage."""
  if stored.dtype not in (jnp.float32, jnp.uint16):
    raise ValueError(
      f'table is {stored.dtype}, expected float32, or uint16 holding bfloat16 bits (storage.encode)'
    )
