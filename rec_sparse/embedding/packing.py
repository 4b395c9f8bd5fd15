"""Several rows of a table side by side in a row of 128 lanes, as the memory of a TPU wants them.

A TPU lays a row of 16 floats across its lanes, so reading or writing one touches two tiles of 4
KiB. Eight of them in one *physical* row of 128 lanes are one piece of memory: a lookup gathers
whole physical rows and picks one of each, a gradient is widened to the lanes of its row before it
moves. Rows of 16 are never permuted. Products with 0/1 matrices do both, exactly: three parts of 8
bits are all of a float32, and each sum has one term that is not 0.

In this file and in `packed_update.py`, L counts the lanes of a physical row.
"""

import dataclasses
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from rec_sparse.embedding import gather
from rec_sparse.embedding import storage

LANES = 128
MOST = 32  # rows in a physical row, so that a word of 32 bits says which of them a batch touches


class Packing(NamedTuple):
  """How rows lie in physical ones."""

  width: int  # D, numbers of a row
  pitch: int  # lanes from a row to the next; those beyond its width stay 0
  per: int  # rows in a physical row

  @property
  def lanes(self) -> int:
    """L."""
    return self.pitch * self.per

  @property
  def row_of_L(self) -> np.ndarray:
    """int32 (L,): which of its rows a lane is of."""
    return np.arange(self.lanes, dtype=np.int32) // self.pitch

  @property
  def column_L(self) -> np.ndarray:
    """int32 (L,): which number of its row a lane holds; `width` or more: none."""
    return np.arange(self.lanes, dtype=np.int32) % self.pitch

  @property
  def copies_DxL(self) -> np.ndarray:
    """float32 0/1: each number of a row at its lane, once for each row of a physical one."""
    return (np.arange(self.width)[:, None] == self.column_L[None]).astype(np.float32)


def of(width: int) -> Packing:
  """The packing of rows of `width` numbers; wide ones are physical rows by themselves."""
  if width > LANES // 2:
    return Packing(width, max(width, LANES), 1)
  pitch = LANES // MOST
  while pitch < width:
    pitch *= 2
  return Packing(width, pitch, LANES // pitch)


@dataclasses.dataclass(frozen=True)
class Pack:
  """rows_RxD -> physical rows (R / per, L); R must be a multiple of `per`."""

  packing: Packing

  def __call__(self, rows_RxD: jax.Array) -> jax.Array:
    spare = self.packing.pitch - self.packing.width
    return jnp.pad(rows_RxD, ((0, 0), (0, spare))).reshape(-1, self.packing.lanes)


@dataclasses.dataclass(frozen=True)
class Unpack:
  """The inverse of `Pack`."""

  packing: Packing

  def __call__(self, packed_RxL: jax.Array) -> jax.Array:
    return packed_RxL.reshape(-1, self.packing.pitch)[:, : self.packing.width]


def read(packing: Packing, packed_RxL: jax.Array, ids_O: jax.Array) -> jax.Array:
  """rows_OxD as they are stored; of an id outside of the table, those of some row."""
  ids_O = jnp.clip(ids_O, 0, packed_RxL.shape[0] * packing.per - 1)
  (wide_OxL,) = gather.gather_rows((packed_RxL,), ids_O // packing.per)
  decoded_OxL = storage.decode(wide_OxL)
  is_wanted_OxL = packing.row_of_L[None] == (ids_O % packing.per)[:, None]
  masked_OxL = jnp.where(is_wanted_OxL, decoded_OxL, 0)
  rows_OxD = exact_product(masked_OxL, packing.copies_DxL.T)
  return storage.encode(rows_OxD, 'float32' if wide_OxL.dtype == jnp.float32 else 'bfloat16')


def widen(packing: Packing, grads_DxO: jax.Array, ids_O: jax.Array) -> jax.Array:
  """grads_OxL: each at the lanes of its row, 0 at the others.

  Gradients come with occurrences last: with numbers last, each would fill 128 lanes already.
  """
  copies_OxL = exact_product(grads_DxO.astype(jnp.float32).T, packing.copies_DxL)
  is_own_OxL = packing.row_of_L[None] == (ids_O % packing.per)[:, None]
  return jnp.where(is_own_OxL, copies_OxL, 0)


def exact_product(x_OxX: jax.Array, zero_one: np.ndarray) -> jax.Array:
  """x times a matrix of which each column has at most one 1 that meets a number: no rounding."""
  matrix = jnp.asarray(zero_one, x_OxX.dtype)
  return lax.dot(
    x_OxX, matrix, precision=lax.Precision.HIGHEST, preferred_element_type=jnp.float32
  ).astype(x_OxX.dtype)
