"""The resident feed: the encoded split lies in device memory.

A batch is a gather inside the compiled step.
"""

from typing import Any

import jax
import jax.numpy as jnp

from data_pipelines import blocks
from data_pipelines import order

# ids_BxF int32, label_BxT uint8, value_BxA float32, group_B int32: B is the whole split
Data = dict[str, jax.Array]


def to_device(split: blocks.OpenSplit, sharding: Any = None) -> Data:
  """Copies the whole split to the device, or to the devices of `sharding`."""
  return jax.device_put(blocks.read_all(split), sharding)


def batch_at(
  data: Data, step: Any, *, batch_size: int, seed: Any, shuffle: bool, length: int | None = None
) -> Data:
  """The batch of global training step `step`, equal to that of the stream.

  step and seed may be traced or vmapped. weight_B is 0 for what pads a batch to `length` (default:
  batch_size). Raises ValueError when batch_size is not in [1, rows].
  """
  rows_B, weight_B = order.batch_rows(step, batch_size, _rows(data), seed, shuffle, jnp, length)
  return _take(data, rows_B) | {'weight_B': weight_B}


def eval_batch_at(data: Data, index: Any, batch_size: int) -> Data:
  """Batch `index` in file order.

  weight_B is float32: 1, and 0 for padding (copies of row 0) after the last row.
  """
  start = jnp.asarray(index, jnp.int32) * jnp.int32(batch_size)
  position_B = start + jnp.arange(batch_size, dtype=jnp.int32)
  real_B = position_B < _rows(data)
  batch = _take(data, jnp.where(real_B, position_B, 0))
  return batch | {'weight_B': real_B.astype(jnp.float32)}


def _rows(data: Data) -> int:
  return data['ids_BxF'].shape[0]


def _take(data: Data, rows_B: jax.Array) -> Data:
  batch = {name: column[rows_B] for name, column in data.items()}
  return batch | {'label_BxT': batch['label_BxT'].astype(jnp.float32)}
