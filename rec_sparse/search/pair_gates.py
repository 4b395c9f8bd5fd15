"""Pairs of fields by learned gates, as in AutoFIS (Liu et al., KDD 2020, arXiv 2003.11235).

A DeepFM in which each inner product has a gate (its equations 6 to 8):

    logit = b + sum_f w_f + sum_{f<g} alpha_fg BN(<e_f, e_g>) + MLP(e)

BN standardizes over a batch, without gain or bias, so that the size of alpha says what a pair is
worth. The network learns by Adam and alpha, on the same batches, by GRDA (arXiv 1909.12063):

    alpha_t = S_g(t)(alpha_0 - rate sum_{i<t} gradient_i),   g(t) = c sqrt(rate) (t rate)^mu

with S the soft threshold, so gates of pairs that bring nothing end at exactly 0. What is ours:
sizes and rates, chosen small; that rows are a sample; and that c follows from the number of steps,
so that the last threshold is the same whatever that is.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

_DIMENSIONS = 8
_HIDDEN = 32
_BATCH = 1024
_RATE = 1e-2  # of Adam
_START = 0.6  # alpha_0
_GATE_RATE = 0.1  # of GRDA
_LAST = 0.7  # the last threshold g
_MU = 0.8
_PASSES = 3  # over the sample, or more for
_STEPS = 150  # at least
_EPSILON = 1e-5  # of a variance over the batch


Params = dict[str, jax.Array]


def gates(
  code_FxE: Sequence[np.ndarray], sizes: Sequence[int], label_ExT: np.ndarray, seed: int
) -> np.ndarray:
  """alpha_P of all pairs f < g, (0, 1), (0, 2) and so on; exact zeros among them."""
  offset_F = np.cumsum([0, *sizes[:-1]])
  ids_ExF = (np.stack(code_FxE, 1) + offset_F).astype(np.int32)
  params = _init(jax.random.key(seed), sum(sizes), len(sizes), label_ExT.shape[1])
  optimizer = optax.adam(_RATE)
  state = optimizer.init(params)
  start_P = jnp.full(len(sizes) * (len(sizes) - 1) // 2, jnp.float32(_START))
  total_P = jnp.zeros_like(start_P)

  @jax.jit
  def step(
    params: Params,
    state: optax.OptState,
    total_P: jax.Array,
    ids_BxF: jax.Array,
    label_BxT: jax.Array,
    done: jax.Array,
  ) -> tuple[Params, optax.OptState, jax.Array]:
    alpha_P = grda(start_P, total_P, done)
    slopes, slope_P = jax.grad(_loss, (0, 1))(params, alpha_P, ids_BxF, label_BxT)
    with jax.numpy_dtype_promotion('standard'):  # optax raises a float to an int32 power
      updates, state = optimizer.update(slopes, state)
    return optax.apply_updates(params, updates), state, total_P + slope_P

  steps = _order_of_rows(len(ids_ExF), seed)
  for index, rows_B in enumerate(steps):
    label_BxT = label_ExT[rows_B].astype(np.float32)
    params, state, total_P = step(
      params, state, total_P, ids_ExF[rows_B], label_BxT, np.float32(index / len(steps))
    )
  return np.asarray(grda(start_P, total_P, jnp.float32(1)))


def grda(start_P: jax.Array, total_P: jax.Array, done: jax.Array) -> jax.Array:
  """alpha_P after a share `done` of the steps, whose gradients sum to `total_P`."""
  threshold = _LAST * done**_MU
  moved_P = start_P - _GATE_RATE * total_P
  return jnp.sign(moved_P) * jnp.maximum(jnp.abs(moved_P) - threshold, 0)


def largest(alpha_P: np.ndarray, k: int) -> list[int]:
  """The k pairs with the largest gates, in their own order; fewer where fewer are not 0."""
  best_P = np.argsort(-np.abs(alpha_P), kind='stable')[:k]
  return sorted(pair for pair in best_P.tolist() if alpha_P[pair])


def _order_of_rows(rows: int, seed: int) -> np.ndarray:
  """rows_IxB of all steps: passes, each in an order of its own."""
  batch = min(_BATCH, rows)
  per_pass = rows // batch
  passes = max(_PASSES, -(-_STEPS // per_pass))
  rng = np.random.default_rng(seed)
  orders = [rng.permutation(rows)[: per_pass * batch] for _ in range(passes)]
  return np.concatenate(orders).reshape(-1, batch)


def _init(key: jax.Array, rows: int, fields: int, tasks: int) -> Params:
  table_key, first_key, second_key = jax.random.split(key, 3)
  he = jax.nn.initializers.he_normal()
  return {
    'table_RxD': 0.1 * jax.random.normal(table_key, (rows, _DIMENSIONS)),
    'linear_RxT': jnp.zeros((rows, tasks)),
    'first_NxH': he(first_key, (fields * _DIMENSIONS, _HIDDEN)),
    'first_H': jnp.zeros(_HIDDEN),
    'second_HxT': he(second_key, (_HIDDEN, tasks)),
    'second_T': jnp.zeros(tasks),
  }


def _loss(
  params: Params, alpha_P: jax.Array, ids_BxF: jax.Array, label_BxT: jax.Array
) -> jax.Array:
  rows_BxFxD = params['table_RxD'][ids_BxF]
  first_P, second_P = np.triu_indices(ids_BxF.shape[1], 1)
  product_BxP = jnp.sum(rows_BxFxD[:, first_P] * rows_BxFxD[:, second_P], -1)
  centred_BxP = product_BxP - jnp.mean(product_BxP, 0, keepdims=True)
  variance_P = jnp.mean(jnp.square(centred_BxP), 0)
  pairs_B = (centred_BxP * jax.lax.rsqrt(variance_P + _EPSILON)[None]) @ alpha_P

  x_BxN = rows_BxFxD.reshape(len(ids_BxF), -1)
  hidden_BxH = jax.nn.relu(x_BxN @ params['first_NxH'] + params['first_H'][None])
  deep_BxT = hidden_BxH @ params['second_HxT'] + params['second_T'][None]
  linear_BxT = jnp.sum(params['linear_RxT'][ids_BxF], 1)
  logit_BxT = deep_BxT + linear_BxT + pairs_B[:, None]
  return optax.sigmoid_binary_cross_entropy(logit_BxT, label_BxT).mean()
