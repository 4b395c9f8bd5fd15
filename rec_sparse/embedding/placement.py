"""Where the rows of a table live: row r on shard r % S, as its local row r // S.

Vocabularies are sorted by frequency, so contiguous blocks would put every hot row on shard 0;
modulo placement deals them out. A *stored* array holds shard after shard; a *logical* array holds
row after row, and this is what checkpoints keep: `to_logical` and `from_logical` exchange rows
between devices without any device holding the table.

Heights are padded to a multiple of S^2, which the exchange needs. Padding comes after the last row
in logical order, so a checkpoint moves between any numbers of devices: its reader cuts the padding,
or adds to it. A one-device table is stored in logical order, without padding.
"""

from collections.abc import Callable, Sequence
import functools
import math

import jax
from jax import lax
from jax import P
import jax.numpy as jnp

AXES = ('data', 'model')  # the table is sharded over both
MAX_DEVICES = 64  # whose square, the padding at most, is still a small table


def make_mesh(
  data: int, model: int = 1, devices: Sequence[jax.Device] | None = None
) -> jax.sharding.Mesh:
  """Mesh over data * model devices with automatic axes (explicit ones refuse plain indexing).

  They are the first of `devices`, by default of those at hand.
  """
  devices = (devices or jax.devices())[: data * model]
  return jax.make_mesh(
    (data, model), AXES, axis_types=(jax.sharding.AxisType.Auto,) * 2, devices=devices
  )


def padded_rows(rows: int, shards: int = 1, together: int = 1) -> int:
  """The height of a table that holds `rows` rows, of each device so many `together`."""
  multiple = shards * math.lcm(shards, together)
  padded = -(-rows // multiple) * multiple
  if padded >= 2**31:
    raise ValueError(f'{rows} table rows do not fit int32 ids')
  return padded


def sharding(mesh: jax.sharding.Mesh, *, replicated: bool = False) -> jax.NamedSharding:
  """Of a table, its moments and its scratch cells: rows over all devices, or all on each."""
  return jax.NamedSharding(mesh, P() if replicated else P(AXES))


def by_device(
  change: Callable[[jax.Array], jax.Array], array_RxX: jax.Array, mesh: jax.sharding.Mesh
) -> jax.Array:
  """The array after `change` of what each device has of it; `change` must hash by what it does."""
  return _each(change, mesh)(array_RxX)


def from_logical(logical_RxX: jax.Array, mesh: jax.sharding.Mesh) -> jax.Array:
  """Device array in logical order (padded height, contiguous rows per device) -> stored one."""
  return _over_shards(_deal_out, logical_RxX, mesh)


def to_logical(stored_RxX: jax.Array, mesh: jax.sharding.Mesh) -> jax.Array:
  """Stored array -> device array in logical order, contiguous rows per device: the inverse of
  `from_logical`.
  """
  return _over_shards(_gather_in, stored_RxX, mesh)


def logical_rows(height: int, mesh: jax.sharding.Mesh) -> jax.Array:
  """Row of the whole table that each row of a stored array is, int32 (R,)."""
  place_R = jnp.arange(height, dtype=jnp.int32)
  local = height // mesh.size
  return place_R % local * mesh.size + place_R // local


def _deal_out(shards: int, mine: jax.Array) -> jax.Array:
  return lax.all_to_all(mine.reshape(-1, shards, *mine.shape[1:]), AXES, 1, 0).reshape(mine.shape)


def _gather_in(shards: int, mine: jax.Array) -> jax.Array:
  return lax.all_to_all(mine.reshape(shards, -1, *mine.shape[1:]), AXES, 0, 1).reshape(mine.shape)


def _over_shards(
  exchange: Callable[[int, jax.Array], jax.Array], array_RxX: jax.Array, mesh: jax.sharding.Mesh
) -> jax.Array:
  if mesh.size == 1:
    return array_RxX
  if array_RxX.shape[0] % mesh.size**2:
    raise ValueError(f'{array_RxX.shape[0]} rows are no multiple of {mesh.size}^2; see padded_rows')
  return _compiled(exchange, mesh)(array_RxX)


@functools.lru_cache
def _each(change: Callable[[jax.Array], jax.Array], mesh: jax.sharding.Mesh) -> Callable:
  """Kept, as `_compiled`."""
  if mesh.size == 1:
    return jax.jit(change)
  return jax.jit(jax.shard_map(change, mesh=mesh, in_specs=P(AXES), out_specs=P(AXES)))


@functools.lru_cache
def _compiled(exchange: Callable[[int, jax.Array], jax.Array], mesh: jax.sharding.Mesh) -> Callable:
  """Kept, so that a second checkpoint does not compile again."""
  local = functools.partial(exchange, mesh.size)
  return jax.jit(jax.shard_map(local, mesh=mesh, in_specs=P(AXES), out_specs=P(AXES)))
