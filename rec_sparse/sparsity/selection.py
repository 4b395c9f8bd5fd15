"""Which entries are the smallest, an exact number of them, without sorting: bit by bit.

On two CPU cores five to nine times as fast as a sort of 250,000 weights.
"""

from typing import Any

import jax
import jax.numpy as jnp


def smallest(keys: jax.Array, count: Any) -> jax.Array:
  """The mask of the `count` smallest entries along the last axis, exactly as many.

  `keys` are float32, (keys, ..., entries): entries equal by the first key compare by the next one,
  and by index at last. `count` may be traced, and differ along the axes between. It is the mask of
  the first `count` places of jnp.lexsort; NaN comes last.
  """
  shape = keys.shape[1:]
  left = jnp.broadcast_to(jnp.asarray(count, jnp.int32), (*shape[:-1], 1))
  chosen = jnp.zeros(shape, bool)
  undecided = jnp.ones(shape, bool)

  def by_key(carry: tuple[jax.Array, ...], key: jax.Array) -> tuple[tuple[jax.Array, ...], None]:
    left, chosen, undecided = carry
    ranks = _ranks(key)
    border = _border(ranks, undecided, left)
    below = undecided & (ranks < border)
    left -= jnp.sum(below, -1, keepdims=True, dtype=jnp.int32)
    return (left, chosen | below, undecided & (ranks == border)), None

  (left, chosen, undecided), _ = jax.lax.scan(by_key, (left, chosen, undecided), keys)
  return chosen | (undecided & (jnp.cumsum(undecided, -1, dtype=jnp.int32) <= left))


def _ranks(key: jax.Array) -> jax.Array:
  """uint32 in the order of the floats."""
  bits = jax.lax.bitcast_convert_type(jnp.where(key == 0, 0, key), jnp.uint32)
  is_negative = bits >> 31 == 1
  ranks = jnp.where(is_negative, ~bits, bits | jnp.uint32(1 << 31))
  return jnp.where(jnp.isnan(key), jnp.uint32(2**32 - 1), ranks)


def _border(ranks: jax.Array, undecided: jax.Array, left: jax.Array) -> jax.Array:
  """The rank in place `left`, from 1, of those undecided: the largest with fewer below it."""

  def bit(i: jax.Array, border: jax.Array) -> jax.Array:
    higher = border | (jnp.uint32(1 << 31) >> i.astype(jnp.uint32))
    below = jnp.sum(undecided & (ranks < higher), -1, keepdims=True, dtype=jnp.int32)
    return jnp.where(below < left, higher, border)

  return jax.lax.fori_loop(0, 32, bit, jnp.zeros(left.shape, jnp.uint32))
