"""Reading rows of the table and summing duplicate ids; both exchanges between devices.

The devices are simulated by a process of its own (`python -m launch.benches.lookup`), for which XLA
splits the CPU. Only their ratio means something: simulated devices share memory and cores.
"""

from collections.abc import Iterator
import functools
import json
import os
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp

from launch.benches import machine
from launch.benches import rows
from launch.benches import timing
from launch.benches.figure import Figure
from launch.benches.figure import ratio
from rec_sparse.embedding import duplicates
from rec_sparse.embedding import gather
from rec_sparse.embedding import optimizers
from rec_sparse.embedding import placement
from rec_sparse.embedding import table as table_lib


class Sizes(NamedTuple):
  fields: int  # F
  dim: int  # D
  batch: int  # B: F * B ids
  table: int  # rows
  devices: int  # simulated
  turns: int  # of one dispatch
  rounds: int
  copy_bytes: int


FULL = Sizes(39, 16, 4096, 1_000_000, 4, 16, 9, 1 << 28)
TINY = Sizes(3, 4, 16, 200, 2, 2, 2, 1 << 12)


def measure(sizes: Sizes) -> Iterator[Figure]:
  """All figures of --what=lookup."""
  yield from _on_this_device(sizes)
  yield from _simulated(sizes)


def _on_this_device(sizes: Sizes) -> Iterator[Figure]:
  ids_BxF = rows.draw(rows.schema(sizes.fields, sizes.table), sizes.batch, 'zipf')['ids_BxF']
  ids_O = ids_BxF.reshape(-1)
  grads_OxD = jax.random.normal(jax.random.key(0), (ids_O.size, sizes.dim))
  table_RxD = jax.random.normal(jax.random.key(1), (sizes.table, sizes.dim))
  calls = {'lookup': timing.repeated(gather.read_rows, sizes.turns, table_RxD, ids_BxF)[0]}
  for method in ('scratch', 'sort'):
    calls[method] = _summing(sizes, method, ids_O, grads_OxD)
  seconds = timing.interleave(calls, sizes.rounds)
  limits = machine.limits(sizes.copy_bytes, 64, sizes.rounds)
  per_second = sizes.turns * ids_O.size / timing.median(seconds, 'lookup')
  yield Figure(
    'lookup_rows_per_s', per_second, 'rows/s', f'rows of {sizes.dim} floats, {sizes.table:,} rows'
  )
  yield Figure(
    'lookup_share_of_copy',
    per_second * 2 * 4 * sizes.dim / limits.copied,
    'x',
    'bytes moved / of a device copy',
  )
  yield ratio(
    'duplicates_scratch_speedup', seconds['sort'], seconds['scratch'], 'sort / scratch cells'
  )
  for method in ('scratch', 'sort'):
    yield Figure(
      f'duplicates_{method}_ms',
      1e3 * timing.median(seconds, method) / sizes.turns,
      'ms',
      f'summing {ids_O.size:,} gradients by id',
    )


def _summing(
  sizes: Sizes, method: duplicates.Method, ids_O: jax.Array, grads_OxD: jax.Array
) -> timing.Call:
  """`turns` sums; the scratch cells are handed on in place, as the optimizer does."""
  combine = jax.jit(
    lambda scratch_R, ids_O, grads_OxD: duplicates.combine(
      method, scratch_R, ids_O, grads_OxD, sizes.table
    ),
    donate_argnums=0,
  )

  def turns(combined: duplicates.Combined) -> duplicates.Combined:
    for _ in range(sizes.turns):
      combined = combine(combined.scratch_R, ids_O, grads_OxD)
    return combined

  return timing.advancing(
    turns, combine(duplicates.new_scratch(sizes.table, method), ids_O, grads_OxD)
  )


def _simulated(sizes: Sizes) -> Iterator[Figure]:
  """Figures of a process that sees `sizes.devices` devices.

  Raises ValueError with its last line if it failed.
  """
  flags = (
    f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count={sizes.devices}'
  )
  ran = subprocess.run(
    [sys.executable, '-m', 'launch.benches.lookup', json.dumps(sizes)],
    capture_output=True,
    text=True,
    env=os.environ | {'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu'},
  )
  if ran.returncode:
    said = ran.stderr.strip().splitlines() or ['nothing']
    raise ValueError(f'--what=lookup: the process of simulated devices ended and said: {said[-1]}')
  yield from (Figure(*figure) for figure in json.loads(ran.stdout.splitlines()[-1]))


def over_devices(sizes: Sizes) -> Iterator[Figure]:
  """The ratios, on the devices of this process."""
  mesh = placement.make_mesh(sizes.devices)
  batch = sizes.batch // sizes.devices * sizes.devices
  ids_BxF = rows.draw(rows.schema(sizes.fields, sizes.table), batch, 'zipf')['ids_BxF']
  ids_BxF = jax.device_put(ids_BxF, jax.NamedSharding(mesh, jax.P('data')))

  calls = {}
  for method in table_lib.EXCHANGES:
    placed = _placed(sizes, mesh, method)
    table = _new(placed)
    looked_up = jax.jit(functools.partial(table_lib.lookup, placed))
    dropped = int(looked_up(table, ids_BxF).dropped)
    if dropped:
      raise ValueError(f'--what=lookup: {dropped} ids were dropped by {method}')
    calls[f'lookup_{method}'] = functools.partial(looked_up, table, ids_BxF)
    calls[f'update_{method}'] = _updating(placed, ids_BxF)

  seconds = timing.interleave(calls, sizes.rounds)
  for what in ('lookup', 'update'):
    yield ratio(
      f'{what}_all_to_all_over_reduce_scatter',
      seconds[f'{what}_all_to_all'],
      seconds[f'{what}_reduce_scatter'],
      f'all-to-all / reduce-scatter, {sizes.devices} simulated devices',
    )


def _placed(
  sizes: Sizes, mesh: jax.sharding.Mesh, method: table_lib.ExchangeName
) -> table_lib.Placed:
  """One stack of all rows: no field is tiny."""
  return table_lib.Placed(
    columns={'embedding': sizes.dim},
    sizes=(sizes.table,),
    dtype='float32',
    start=1.0,
    optimizer=optimizers.row_adam(method='scratch'),
    mesh=mesh,
    exchange=method,
  )


def _new(placed: table_lib.Placed) -> table_lib.Table:
  init = functools.partial(table_lib.init, placed, jax.random.key(0), jnp.int32(0))
  where = table_lib.shardings(placed, table_lib.abstract(placed))
  return table_lib.from_logical(placed, jax.jit(init, out_shardings=where)())


def _updating(placed: table_lib.Placed, ids_BxF: jax.Array) -> timing.Call:
  grads_BxFxD = jnp.ones((*ids_BxF.shape, placed.columns['embedding']))
  grads = {'embedding': jax.device_put(grads_BxFxD, ids_BxF.sharding)}

  rates = optimizers.Rates(jnp.float32(1e-3))

  def update(table: table_lib.Table) -> table_lib.Table:
    return table_lib.update(placed, table, ids_BxF, grads, rates).table

  return timing.advancing(jax.jit(update, donate_argnums=0), _new(placed))


if __name__ == '__main__':
  print(json.dumps(list(over_devices(Sizes(*json.loads(sys.argv[1]))))))
