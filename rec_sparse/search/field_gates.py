"""Fields in the order of learned gates, as in AutoField (Wang et al., WWW 2022): a control of AFE.

Every field has a keep and a drop logit; a relaxed draw of the two (Gumbel softmax) scales its
embedding in front of a small MLP. The network learns from even batches and the gates from odd ones,
as AutoField alternates training and validation batches (DARTS, first order). The temperature falls.
What is ours: sizes and rates, chosen small, and that rows are a sample.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

_DIMENSIONS = 8
_HIDDEN = 32
_BATCH = 1024
_RATE = 1e-2
_TEMPERATURES = (1.0, 0.1)  # first and last
_PASSES = 3  # over the sample, or more for
_STEPS = 150  # at least


Params = dict[str, jax.Array]


def order(
  code_FxE: Sequence[np.ndarray], sizes: Sequence[int], label_ExT: np.ndarray, seed: int
) -> list[int]:
  """Fields by falling probability of their keep gate."""
  offset_F = np.cumsum([0, *sizes[:-1]])
  ids_ExF = (np.stack(code_FxE, 1) + offset_F).astype(np.int32)
  keys = jax.random.split(jax.random.key(seed), 3)
  params = _init(keys[0], sum(sizes), len(sizes), label_ExT.shape[1])
  optimizer = optax.adam(_RATE)
  state = optimizer.init(params)

  batch = min(_BATCH, len(ids_ExF))
  per_pass = len(ids_ExF) // batch
  passes = max(_PASSES, -(-_STEPS // per_pass))
  rng = np.random.default_rng(seed)
  orders = [rng.permutation(len(ids_ExF))[: per_pass * batch] for _ in range(passes)]
  rows_IxB = np.concatenate(orders).reshape(-1, batch)
  fall = (_TEMPERATURES[1] / _TEMPERATURES[0]) ** (1 / len(rows_IxB))

  @jax.jit
  def step(
    params: Params,
    state: optax.OptState,
    ids_BxF: jax.Array,
    label_BxT: jax.Array,
    index: jax.Array,
  ) -> tuple[Params, optax.OptState]:
    temperature = _TEMPERATURES[0] * jnp.float32(fall) ** index.astype(jnp.float32)
    key = jax.random.fold_in(keys[1], index)
    slopes = jax.grad(_loss)(params, ids_BxF, label_BxT, temperature, key)
    of_gates = (index % 2).astype(jnp.float32)
    slopes = {
      name: slope * (of_gates if name == 'gate_Fx2' else 1 - of_gates)
      for name, slope in slopes.items()
    }
    with jax.numpy_dtype_promotion('standard'):  # optax raises a float to an int32 power
      updates, state = optimizer.update(slopes, state)
    return optax.apply_updates(params, updates), state

  for index, rows_B in enumerate(rows_IxB):
    label_BxT = label_ExT[rows_B].astype(np.float32)
    params, state = step(params, state, ids_ExF[rows_B], label_BxT, np.int32(index))
  keep_F = np.asarray(params['gate_Fx2'][:, 0] - params['gate_Fx2'][:, 1])
  return np.argsort(-keep_F, kind='stable').tolist()


def _init(key: jax.Array, rows: int, fields: int, tasks: int) -> Params:
  table_key, first_key, second_key = jax.random.split(key, 3)
  he = jax.nn.initializers.he_normal()
  return {
    'table_RxD': 0.1 * jax.random.normal(table_key, (rows, _DIMENSIONS)),
    'gate_Fx2': jnp.zeros((fields, 2)),
    'first_NxH': he(first_key, (fields * _DIMENSIONS, _HIDDEN)),
    'first_H': jnp.zeros(_HIDDEN),
    'second_HxT': he(second_key, (_HIDDEN, tasks)),
    'second_T': jnp.zeros(tasks),
  }


def _loss(
  params: Params, ids_BxF: jax.Array, label_BxT: jax.Array, temperature: jax.Array, key: jax.Array
) -> jax.Array:
  noise_Fx2 = jax.random.gumbel(key, params['gate_Fx2'].shape)
  gate_Fx2 = jax.nn.softmax((params['gate_Fx2'] + noise_Fx2) / temperature)
  rows_BxFxD = params['table_RxD'][ids_BxF] * gate_Fx2[None, :, :1]
  x_BxN = rows_BxFxD.reshape(len(ids_BxF), -1)
  hidden_BxH = jax.nn.relu(x_BxN @ params['first_NxH'] + params['first_H'][None])
  logit_BxT = hidden_BxH @ params['second_HxT'] + params['second_T'][None]
  return optax.sigmoid_binary_cross_entropy(logit_BxT, label_BxT).mean()
