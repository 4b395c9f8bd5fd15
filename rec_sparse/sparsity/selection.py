"""Which entries are the smallest, an exact number of them, without sorting: bit by bit.

On two CPU cores twenty times as fast as a sort of 250,000 weights, unless many of them are equal.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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

  def by_key(undecided: _Undecided, key: jax.Array) -> tuple[_Undecided, None]:
    is_settled = _is_settled(undecided)
    return jax.lax.cond(is_settled, lambda undecided, _: undecided, _narrowed, undecided, key), None

  start = _Undecided(left, jnp.zeros(shape, bool), jnp.ones(shape, bool))
  end, _ = jax.lax.scan(by_key, start, keys)
  return end.chosen | jax.lax.cond(
    _is_settled(end), lambda end: end.entries, lambda end: _first(end.entries, end.left), end
  )


class _Undecided(NamedTuple):
  """What is still to be decided, and what is already."""

  left: jax.Array  # int32: how many of `entries` are chosen too, (..., 1)
  chosen: jax.Array
  entries: jax.Array  # equal by all keys so far


def _is_settled(undecided: _Undecided) -> jax.Array:
  """Whether all entries that are left are chosen: so it is but for ties. It saves half the time."""
  entries = jnp.sum(undecided.entries, -1, keepdims=True, dtype=jnp.int32)
  return jnp.all(entries == undecided.left)


def _narrowed(undecided: _Undecided, key: jax.Array) -> _Undecided:
  """Decided by one more key."""
  left, chosen, entries = undecided
  ranks = ranks_of(key)

  def below(border: jax.Array) -> jax.Array:
    return jnp.sum(entries & (ranks < border), -1, keepdims=True, dtype=jnp.int32)

  border = _border(below, left)
  chosen |= entries & (ranks < border)
  return _Undecided(left - below(border), chosen, entries & (ranks == border))


def _first(entries: jax.Array, left: jax.Array) -> jax.Array:
  return entries & (jnp.cumsum(entries, -1, dtype=jnp.int32) <= left)


def smallest_of_all(keys: Sequence[Any], among: Any, count: Any) -> Any:
  """The mask of the `count` smallest entries of a tree of arrays together, exactly as many.

  `among`, a tree of booleans, says which entries there are. `keys` are trees of uint32: entries
  equal by the first compare by the next one, and the last one must tell all apart. What decides are
  counts: arrays that lie over several devices stay where they are, and the mask is the same on any
  number of them. `count` may be traced.
  """
  left = jnp.asarray(count, jnp.int32)
  chosen = jax.tree.map(jnp.zeros_like, among)
  undecided = among
  for ranks in keys:
    border, left = _cut(undecided, ranks, left)
    below = _both(undecided, jax.tree.map(lambda part, b=border: part < b, ranks))
    chosen = jax.tree.map(jnp.logical_or, chosen, below)
    undecided = _both(undecided, jax.tree.map(lambda part, b=border: part == b, ranks))
  return jax.tree.map(lambda c, u: c | (u & (left > 0)), chosen, undecided)


def _cut(undecided: Any, ranks: Any, left: jax.Array) -> tuple[jax.Array, jax.Array]:
  """(the rank in place `left` of those undecided, how many of that rank are still wanted)."""

  def below(border: jax.Array) -> jax.Array:
    is_below = _both(undecided, jax.tree.map(lambda part: part < border, ranks))
    return sum(jnp.sum(part, dtype=jnp.int32) for part in jax.tree.leaves(is_below))

  border = _border(below, left)
  return border, left - below(border)


def _both(some: Any, others: Any) -> Any:
  return jax.tree.map(jnp.logical_and, some, others)


def ranks_of(key: jax.Array) -> jax.Array:
  """uint32 in the order of floats; NaN comes last."""
  bits = jax.lax.bitcast_convert_type(jnp.where(key == 0, 0, key), jnp.uint32)
  is_negative = bits >> 31 == 1
  ranks = jnp.where(is_negative, ~bits, bits | jnp.uint32(1 << 31))
  return jnp.where(jnp.isnan(key), jnp.uint32(2**32 - 1), ranks)


def _border(below: Callable[[jax.Array], jax.Array], left: jax.Array) -> jax.Array:
  """The rank in place `left`, from 1: the largest with fewer than that below it."""

  def bit(i: jax.Array, border: jax.Array) -> jax.Array:
    higher = border | (jnp.uint32(1 << 31) >> i.astype(jnp.uint32))
    return jnp.where(below(higher) < left, higher, border)

  return jax.lax.fori_loop(0, 32, bit, jnp.zeros(left.shape, jnp.uint32))
