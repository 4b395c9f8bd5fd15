"""Whether a run fits its devices, said by their compiler before there is a device.

A step is compiled from shapes alone, for devices at hand or described (`chips.py`). What it needs
of memory is the compiler's own account, and exact; what is said of time is *modelled*, never
measured.
"""

import dataclasses
import functools
import math
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from data_pipelines import blocks
from rec_sparse import config as config_lib
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse.embedding import table as table_lib
from rec_sparse.runs import feeds
from rec_sparse.runs import hlo
from rec_sparse.runs import memory as memory_lib
from rec_sparse.runs.chips import Chip


@dataclasses.dataclass(frozen=True)
class Footprint:
  """Of one device; bytes but where said."""

  fits: bool
  needed_bytes: int  # arguments, temporaries and what a step returns anew; resident data
  memory_bytes: int  # of the device
  table_bytes: int  # rows, slots and scratch cells
  dense_bytes: int  # parameters, moments, masks, constants
  data_bytes: int  # the data set, where it is resident
  argument_bytes: int | None  # as the compiler counts them; None: not compiled
  temp_bytes: int | None
  bytes_accessed: float | None  # a step, as the compiler models it; None: it does not say
  flops: float | None
  collectives: dict[str, int]  # operation -> bytes that it gives
  fusions: int | None
  modelled_seconds: float | None  # a step: the larger of FLOPs and bytes over the chip's peaks
  compile_seconds: float | None
  advice: str  # what to change where it does not fit, or ''


def in_words(found: Footprint) -> str:
  """One line for people."""
  needed = f'{found.needed_bytes / 1e9:.2f} GB a device of {found.memory_bytes / 1e9:.0f} GB'
  if not found.fits:
    return f'does not fit: {needed}; {found.advice}'
  if found.temp_bytes is None:
    return f'fits, as far as the state tells: {needed}; temporaries are not counted'
  return f'fits: {needed}, {found.temp_bytes / 1e9:.2f} GB of them temporaries'


class Sizes(NamedTuple):
  """Bytes of a state on one device."""

  table: int
  dense: int


def schema_of(rows: int, fields: int) -> schema_lib.FeatureSchema:
  """Data of so many table rows, in categorical fields of equal size."""
  sizes = [rows // fields + (f < rows % fields) for f in range(fields)]
  named = tuple(schema_lib.Field(f'field_{f}', 'categorical', size) for f, size in enumerate(sizes))
  return schema_lib.FeatureSchema(named, ('label',), None, {}, '', {})


def check(
  run: train.Program, schema: schema_lib.FeatureSchema, chip: Chip | None, memory: int
) -> Footprint:
  """Compiles a training step for the devices of `run`, which need not be there; `chip` has their
  peaks, if known. A lack of memory is an answer.
  """
  state = abstract_state(run, schema)
  sizes = _sizes(run, state)
  data_bytes = _resident_bytes(run.config, schema)

  began = time.perf_counter()
  try:
    compiled = compile_step(run, state)
  except jax.errors.JaxRuntimeError as e:
    if not memory_lib.is_full(memory_lib.in_words(e)):
      raise
    needed = max(sizes.table + sizes.dense + data_bytes, memory + 1)  # the compiler knows better
    return _of_state(run, schema, sizes, data_bytes, needed, memory)
  seconds = time.perf_counter() - began

  account = compiled.memory_analysis()
  needed = memory_lib.needed(compiled) + data_bytes
  cost = compiled.cost_analysis() or {}
  text = compiled.as_text()
  moved: dict[str, int] = {}
  for operation in hlo.collectives(text):
    name = operation.name.removesuffix('-start')
    moved[name] = moved.get(name, 0) + operation.size
  found = _of_state(run, schema, sizes, data_bytes, needed, memory)
  return dataclasses.replace(
    found,
    argument_bytes=account.argument_size_in_bytes,
    temp_bytes=account.temp_size_in_bytes,
    bytes_accessed=cost.get('bytes accessed'),
    flops=cost.get('flops'),
    collectives=moved,
    fusions=hlo.fusions(text),
    modelled_seconds=_modelled(cost, chip),
    compile_seconds=round(seconds, 2),
  )


def compile_step(run: train.Program, state: train.TrainState) -> jax.stages.Compiled:
  """A training step as the devices of `run` would run it, from the `abstract_state` of it."""
  sums = jax.eval_shape(functools.partial(train.zero_sums, run.terms))
  step = jax.jit(functools.partial(train.train_step, run), donate_argnums=(0, 1))
  return step.lower(state, sums, _batch(run)).compile()


def count(
  config: config_lib.Config,
  schema: schema_lib.FeatureSchema,
  devices: int,
  memory: int,
) -> Footprint:
  """What can be said without a compiler: the state, evenly spread, and no temporaries."""
  run = train.program(config, schema)
  spread = _spread(run, schema, devices)
  data_bytes = _resident_bytes(config, schema)
  return _of_state(run, schema, spread, data_bytes, sum(spread) + data_bytes, memory)


def _spread(run: train.Program, schema: schema_lib.FeatureSchema, devices: int) -> Sizes:
  """Of a state whose table is spread evenly over more devices than `run` has."""
  sizes = _sizes(run, abstract_state(run, schema))
  return Sizes(math.ceil(sizes.table / devices), sizes.dense)


def most_rows(config: config_lib.Config, fields: int, devices: int, memory: int) -> int:
  """The largest table, in rows, whose state fits; 0 where none does. Ids bound it, too."""
  low = fields - 1  # fits, or is none
  high = 2**31  # has no int32 ids
  while high - low > 1:
    rows = (low + high) // 2
    schema = schema_of(rows, fields)
    if sum(_spread(train.program(config, schema), schema, devices)) <= memory:
      low = rows
    else:
      high = rows
  return low if low >= fields else 0


def _of_state(
  run: train.Program,
  schema: schema_lib.FeatureSchema,
  sizes: Sizes,
  data_bytes: int,
  needed: int,
  memory: int,
) -> Footprint:
  """What the state alone tells."""
  fits = needed <= memory
  advice = '' if fits else _advice(run.config, schema, sizes, data_bytes)
  return Footprint(
    fits=fits,
    needed_bytes=needed,
    memory_bytes=memory,
    table_bytes=sizes.table,
    dense_bytes=sizes.dense,
    data_bytes=data_bytes,
    argument_bytes=None,
    temp_bytes=None,
    bytes_accessed=None,
    flops=None,
    collectives={},
    fusions=None,
    modelled_seconds=None,
    compile_seconds=None,
    advice=advice,
  )


def abstract_state(run: train.Program, schema: schema_lib.FeatureSchema) -> train.TrainState:
  """Shapes of the state as it is trained, and where each leaf lies."""
  logical = train.abstract_state(run, schema)

  def as_trained(table: table_lib.Table) -> table_lib.Table:
    return table_lib.from_logical(run.table, table)

  state = logical._replace(table=jax.eval_shape(as_trained, logical.table))
  return jax.tree.map(_struct, state, train.shardings(run, state))


def _struct(leaf: Any, sharding: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _batch(run: train.Program) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes of a batch, padded so that it divides over the data axis."""
  examples = feeds.padded(run, run.config.batch_size)
  spread = jax.NamedSharding(run.mesh, jax.P('data'))
  shapes = {
    'ids_BxF': ((examples, run.inputs.fields), jnp.int32),
    'label_BxT': ((examples, run.inputs.tasks), jnp.float32),
    'weight_B': ((examples,), jnp.float32),
  }
  if run.numeric:
    shapes['value_BxA'] = ((examples, run.numeric), jnp.float32)
  return {
    name: jax.ShapeDtypeStruct(shape, dtype, sharding=spread)
    for name, (shape, dtype) in shapes.items()
  }


def _sizes(run: train.Program, state: train.TrainState) -> Sizes:
  def on_a_device(tree: Any) -> int:
    total = 0
    for leaf in jax.tree.leaves(tree):
      shape = leaf.sharding.shard_shape(leaf.shape)
      total += math.prod(shape) * leaf.dtype.itemsize
    return total

  return Sizes(on_a_device(state.table), on_a_device(state._replace(table=None)))


def _resident_bytes(config: config_lib.Config, schema: schema_lib.FeatureSchema) -> int:
  """Of the splits that training keeps on every device; 0 where the data are not known."""
  if config.feed != 'resident':
    return 0
  dtype = blocks.record_dtype(
    len(schema.fields), len(schema.tasks), schema.numeric_count, schema.group is not None
  )
  record = sum(dtype[name].itemsize for name in dtype.names)  # columns: no padding
  rows = sum(split.rows for name, split in schema.splits.items() if name != 'test')
  return rows * record


def _modelled(cost: dict[str, float], chip: Chip | None) -> float | None:
  """A roofline: no time was measured."""
  if chip is None or 'flops' not in cost or 'bytes accessed' not in cost:
    return None
  return max(cost['flops'] / chip.flops, cost['bytes accessed'] / chip.bandwidth)


def _advice(
  config: config_lib.Config, schema: schema_lib.FeatureSchema, sizes: Sizes, data_bytes: int
) -> str:
  """What would save most: each change alone, by its analytic count on one device."""

  def table_bytes(**changes: Any) -> int:
    run = train.program(dataclasses.replace(config, **changes), schema)
    return _sizes(run, abstract_state(run, schema)).table

  now = table_bytes()
  saved = {
    'table_optimizer=adagrad': 1 - table_bytes(table_optimizer='adagrad') / now,
    'table_dtype=bfloat16': 1 - table_bytes(table_dtype='bfloat16') / now,
  }
  parts = [f'{name} saves {part:.0%} of the table' for name, part in saved.items() if part > 0.01]
  if data_bytes:
    parts.append(f'feed=stream saves the {data_bytes / 1e9:.2f} GB of the data')
  parts.append('twice the devices halve the table of each')
  return (
    f'table {sizes.table / 1e9:.2f} GB, dense {sizes.dense / 1e9:.2f} GB a device: '
    + '; '.join(parts)
  )
