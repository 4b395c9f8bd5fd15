"""Count tables of fields by label: they add up over chunks of rows, files and devices.

Labels of a row stand for one of Y numbers: the half of the rows that it is in (halves of them,
1 or 2), then a bit per task. Tables of a pair are int64 (J, W, Y): buckets of the field that is
given, buckets of the candidate, labels.
"""

from collections.abc import Callable, Iterator, Sequence
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

TASKS = 6  # at most: tables have 2**tasks cells for each pair of values
CELLS = 1 << 26  # of all tables of one pass; more are counted in several


class Rows(NamedTuple):
  """A chunk of rows."""

  code_FxB: Sequence[np.ndarray]  # of each field the bucket, uint16
  label_B: np.ndarray  # int64: the labels as one number


Source = Callable[[], Iterator[Rows]]  # a pass over the rows
Count = Callable[[np.ndarray, int], np.ndarray]  # (cell_B, cells) -> rows of each cell, int64


def joint_label(label_BxT: np.ndarray, first: int, halves: int) -> np.ndarray:
  """Labels and half as one number; `first` is the place of the first row, which decides halves."""
  label_B = (first + np.arange(len(label_BxT))) % halves
  for label in label_BxT.T:
    label_B = 2 * label_B + label
  return label_B


def by_label(table: np.ndarray, tasks: int, task: int) -> np.ndarray:
  """(..., Y) -> (X, ..., 2): halves first, the label of one task last."""
  return _axes(table, tasks, [task])


def by_label_given(table_WxY: np.ndarray, tasks: int, task: int, given: int) -> np.ndarray:
  """(W, Y) -> table_Xx2xWx2: halves, label of the task that is given, value, label of `task`."""
  return _axes(table_WxY, tasks, [given, task]).swapaxes(1, 2)


def _axes(table: np.ndarray, tasks: int, kept: list[int]) -> np.ndarray:
  lead = table.ndim - 1
  apart = table.reshape(*table.shape[:-1], -1, *(2,) * tasks)
  others = tuple(lead + 1 + task for task in range(tasks) if task not in kept)
  summed = apart.sum(others)
  if len(kept) == 2 and kept[0] > kept[1]:
    summed = summed.swapaxes(-1, -2)
  return np.moveaxis(summed, lead, 0)


def pairs(
  source: Source,
  given: int,
  candidates: Sequence[int],
  sizes: Sequence[int],
  labels: int,
  count: Count,
) -> Iterator[np.ndarray]:
  """Tables of each candidate with the field `given`, in order, from one pass over the rows.

  `sizes`: buckets of each field; `labels`: Y. Several passes where tables have more than CELLS
  cells.
  """
  waiting = list(candidates)
  while waiting:
    group = [waiting.pop(0)]
    cells = sizes[given] * sizes[group[0]] * labels
    while waiting and cells + sizes[given] * sizes[waiting[0]] * labels <= CELLS:
      group.append(waiting.pop(0))
      cells += sizes[given] * sizes[group[-1]] * labels
    yield from _pass(source, given, group, sizes, labels, count)


def _pass(
  source: Source,
  given: int,
  group: Sequence[int],
  sizes: Sequence[int],
  labels: int,
  count: Count,
) -> list[np.ndarray]:
  tables = [np.zeros(sizes[given] * sizes[field] * labels, np.int64) for field in group]
  for rows in source():
    given_B = rows.code_FxB[given].astype(np.int64)
    for field, table in zip(group, tables, strict=True):
      cell_B = (given_B * sizes[field] + rows.code_FxB[field]) * labels + rows.label_B
      table += count(cell_B, len(table))
  return [
    table.reshape(sizes[given], sizes[field], labels)
    for field, table in zip(group, tables, strict=True)
  ]


def on_host(cell_B: np.ndarray, cells: int) -> np.ndarray:
  """Counts on the host."""
  return np.bincount(cell_B, minlength=cells)


def on_devices(devices: Sequence[jax.Device]) -> Count:
  """Counts on devices: each its own rows in int32, added up over all of them.

  A chunk has fewer than 2**31 rows, so no count overflows; chunks are added up in int64.
  """
  mesh = jax.make_mesh(
    (len(devices),), ('rows',), axis_types=(jax.sharding.AxisType.Auto,), devices=devices
  )

  @functools.partial(jax.jit, static_argnums=1)
  def counted(cell_B: jax.Array, cells: int) -> jax.Array:

    def local(cell_B: jax.Array) -> jax.Array:
      own = jnp.zeros(cells, jnp.int32).at[cell_B].add(jnp.int32(1), mode='drop')
      return jax.lax.psum(own, 'rows')

    return jax.shard_map(local, mesh=mesh, in_specs=jax.P('rows'), out_specs=jax.P())(cell_B)

  def count(cell_B: np.ndarray, cells: int) -> np.ndarray:
    padded = np.full(-(-len(cell_B) // len(devices)) * len(devices), cells, np.int32)
    padded[: len(cell_B)] = cell_B  # what pads lies outside of the table, and is dropped
    return np.asarray(counted(padded, cells)).astype(np.int64)

  return count
