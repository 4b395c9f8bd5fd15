"""Row-sparse optimizers for embedding tables: only the rows of the batch, and their slots, change.

optax's idiom: a factory takes the hyper-parameters and returns a pair of pure functions,
`init(table) -> slots` and `update(table, slots, ids, grads, learning_rate) -> (table, slots)`. The
gradients are those of the gathered rows, one per occurrence; duplicates are summed first, so a row
moves once per step. Ids beyond the table are ignored. Donate table and slots (or carry them through
`lax.scan`) and the update happens in place: no buffer as large as the table, unless the table has
no more rows than the batch has ids.

Tables are float32, or bfloat16 bits (storage.py) with stochastic rounding; slots and arithmetic are
float32 always.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from rec_sparse.embedding import duplicates
from rec_sparse.embedding import storage
from rec_sparse.embedding.chunks import in_chunks
from rec_sparse.embedding.gather import gather_rows
from rec_sparse.embedding.rounding import stochastic_round


class Slots(NamedTuple):
  """What an optimizer keeps beside a table of R rows."""

  # float32, leading axis R: stored, sharded and saved as the table is
  moments: tuple[jax.Array, ...]
  count: jax.Array  # int32 scalar: updates so far, over all rows
  seed: jax.Array  # uint32 scalar: of the stochastic rounding
  scratch_R: jax.Array  # int32 working space; its content means nothing and need not be saved


class Update(Protocol):
  def __call__(
    self,
    table_RxD: jax.Array,
    slots: Slots,
    ids_N: jax.Array,
    grads_NxD: jax.Array,
    learning_rate: jax.Array,
    *,
    logical_row: Callable[[jax.Array], jax.Array] = ...,
  ) -> tuple[jax.Array, Slots]:
    """One step. `logical_row` names stored rows in the whole table (sharding), for the rounding
    noise.
    """


class TableOptimizer(NamedTuple):
  """A pair of pure functions."""

  init: Callable[[jax.Array], Slots]
  update: Update


# (summed_NxD, moments of these rows, count from 1) -> (direction_NxD, new moments of these rows)
Direction = Callable[
  [jax.Array, tuple[jax.Array, ...], jax.Array], tuple[jax.Array, tuple[jax.Array, ...]]
]


def rowwise_adagrad(
  *,
  eps: float = 1e-8,
  initial_accumulator: float = 0.0,
  weight_decay: float = 0.0,
  method: duplicates.Method = 'scratch',
  seed: int = 0,
) -> TableOptimizer:
  """acc_r += mean_d g^2; row -= lr g / (sqrt(acc_r) + eps): one float of state per row.

  Untouched rows have no gradient, so this equals the dense optimizer exactly.
  Source: github.com/facebookresearch/dlrm, optim/rwsadagrad.py.
  """

  def init_moments(table_RxD: jax.Array) -> tuple[jax.Array]:
    return (jnp.full(table_RxD.shape[:1], initial_accumulator, jnp.float32),)

  def direction(grads_NxD, moments, count):
    del count
    accumulator_N = moments[0] + jnp.mean(jnp.square(grads_NxD), axis=-1)
    return grads_NxD / (jnp.sqrt(accumulator_N) + eps)[:, None], (accumulator_N,)

  return _optimizer(init_moments, direction, weight_decay, method, seed)


def row_adam(
  *,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
  weight_decay: float = 0.0,
  method: duplicates.Method = 'scratch',
  seed: int = 0,
) -> TableOptimizer:
  """Adam whose moments move on touched rows only, with the bias correction of the global step.

  This is not dense Adam. A dense row without gradient still decays its moments and still moves
  along its first moment; here it does neither. So a rare row keeps old moments undamped, and its
  first gradients, met when the bias correction has long faded, step up to (1 - b1) / sqrt(1 - b2) =
  3.2 learning rates. The two agree exactly while every row is touched at every step. See
  https://github.com/tensorflow/tensorflow/issues/23668.
  """

  def init_moments(table_RxD: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.zeros(table_RxD.shape, jnp.float32), jnp.zeros(table_RxD.shape, jnp.float32)

  def direction(grads_NxD, moments, count):
    m_NxD = b1 * moments[0] + (1 - b1) * grads_NxD
    v_NxD = b2 * moments[1] + (1 - b2) * jnp.square(grads_NxD)
    steps = count.astype(jnp.float32)
    m_hat_NxD, v_hat_NxD = m_NxD / (1 - b1**steps), v_NxD / (1 - b2**steps)
    return m_hat_NxD / (jnp.sqrt(v_hat_NxD) + eps), (m_NxD, v_NxD)

  return _optimizer(init_moments, direction, weight_decay, method, seed)


def row_sgd(
  *,
  weight_decay: float = 0.0,
  method: duplicates.Method = 'scratch',
  seed: int = 0,
) -> TableOptimizer:
  """row -= lr g."""
  return _optimizer(
    lambda table_RxD: (),
    lambda grads_NxD, moments, count: (grads_NxD, ()),
    weight_decay,
    method,
    seed,
  )


def _optimizer(
  init_moments: Callable[[jax.Array], tuple[jax.Array, ...]],
  direction: Direction,
  weight_decay: float,
  method: duplicates.Method,
  seed: int,
) -> TableOptimizer:
  """Gathers, moves along `direction`, decays (decoupled, touched rows only, once each) and writes
  back.

  Where a table has no more rows than the batch has ids, `scratch` goes over the whole table
  instead, and keeps what the batch did not touch: a small DCN-V2 step on a CPU (8192 rows, 10 k
  ids) took 1.34 ms at ids, 1.24 ms like this.
  """

  def init(table_RxD: jax.Array) -> Slots:
    storage.check(table_RxD)
    return Slots(
      moments=init_moments(table_RxD),
      count=jnp.int32(0),
      seed=jnp.uint32(seed),
      scratch_R=duplicates.new_scratch(table_RxD.shape[0], method),
    )

  def update(
    table_RxD, slots, ids_N, grads_NxD, learning_rate, *, logical_row=lambda rows_N: rows_N
  ):
    storage.check(table_RxD)
    arrays_RxX, count, rows = (table_RxD, *slots.moments), slots.count + 1, table_RxD.shape[0]

    def moved(old_NxX, ids_N, summed_NxD):
      """New rows and moments of these ids."""
      stored_NxD, *moments_NxX = old_NxX
      direction_NxD, moments_NxX = direction(summed_NxD, tuple(moments_NxX), count)
      rows_NxD = storage.decode(stored_NxD).astype(jnp.float32)
      rows_NxD -= learning_rate * (direction_NxD + weight_decay * rows_NxD)
      if stored_NxD.dtype == jnp.uint16:
        rows_NxD = stochastic_round(rows_NxD, logical_row(ids_N), count, slots.seed)
      return rows_NxD, *moments_NxX

    def at_ids(arrays_RxX, occurrences):
      unique_N, summed_NxD = occurrences
      new_NxX = moved(gather_rows(arrays_RxX, unique_N), unique_N, summed_NxD)
      return tuple(_write(old, unique_N, new) for old, new in zip(arrays_RxX, new_NxX, strict=True))

    def top_to_bottom(touched_R, summed_RxD):
      new_RxX = moved(arrays_RxX, jnp.arange(rows, dtype=jnp.int32), summed_RxD)
      touched = lambda array_RxX: touched_R.reshape(rows, *(1,) * (array_RxX.ndim - 1))
      return tuple(
        jnp.where(touched(old), new, old) for old, new in zip(arrays_RxX, new_RxX, strict=True)
      )

    scratch_R = slots.scratch_R
    if method == 'scratch' and rows <= ids_N.shape[0]:
      table_RxD, *moments_RxX = top_to_bottom(*duplicates.by_row(ids_N, grads_NxD, rows))
    else:
      scratch_R, *occurrences = duplicates.combine(method, scratch_R, ids_N, grads_NxD, rows)
      table_RxD, *moments_RxX = in_chunks(at_ids, arrays_RxX, tuple(occurrences))
    return table_RxD, Slots(tuple(moments_RxX), count, slots.seed, scratch_R)

  return TableOptimizer(init, update)


def _write(array_RxX: jax.Array, unique_ids_N: jax.Array, rows_NxX: jax.Array) -> jax.Array:
  return array_RxX.at[unique_ids_N].set(
    rows_NxX, mode='drop', unique_indices=True, wrap_negative_indices=False
  )
