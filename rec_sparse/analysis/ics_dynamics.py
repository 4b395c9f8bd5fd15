"""What the competition does inside a trained SSR-D (SSR, arXiv 2604.08011, figure 5).

It says so by zeros, thresholds, alpha and gamma.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rec_sparse.sparsity import gates
from rec_sparse.sparsity import ics

_DEFAULT = gates.Options()

# gate -> the iterations whose alpha it uses; the others use none
USED_ALPHA = {
  'ics': slice(None),
  'one_iteration': slice(1),
  'soft_threshold': slice(None),
}


def layer(
  z_VxKxB: np.ndarray,
  alpha_VxI: np.ndarray,
  gamma_VxK: np.ndarray,
  gate: str = 'ics',
  options: gates.Options = _DEFAULT,
) -> dict:
  """One layer on one batch of pre-activations as evaluation sees it; every list is per view.

  `zeros` is the share of exact zeros of the gate's output (before gamma) over dimensions and
  examples, `zeros_of_relu` that of ReLU alone: the difference is the work of the competition.
  `thresholds` are means over examples (and dimensions) of tau_1 ... tau_I, in units of z;
  `threshold_over_std` is tau_I in standard deviations of z, free of scale. They are None where the
  gate is no ReLU(z - tau), and `alpha` where it uses none.
  """
  z_VxKxB = jnp.asarray(z_VxKxB, jnp.float32)
  alpha_VxI = jnp.asarray(alpha_VxI, jnp.float32)
  gamma_VxK = jnp.asarray(gamma_VxK, jnp.float32)
  used_VxI = alpha_VxI[..., USED_ALPHA[gate]] if gate in USED_ALPHA else None
  params = gates.Params(alpha_VxI, jnp.ones_like(gamma_VxK))
  x_VxKxB = np.asarray(gates.GATES[gate](z_VxKxB, params, options, None))

  is_zero_VxKxB = x_VxKxB == 0
  found = {
    'zeros': _listed(np.mean(is_zero_VxKxB, axis=(1, 2))),
    'zeros_of_relu': _listed(np.mean(np.asarray(z_VxKxB) <= 0, axis=(1, 2))),
    # zero for every example of the batch
    'dead_dimensions': _listed(np.mean(np.all(is_zero_VxKxB, axis=2), axis=1)),
    'mean_output': _listed(np.mean(np.abs(x_VxKxB), axis=(1, 2))),
    'thresholds': None,
    'threshold_over_std': None,
    'alpha': None,
    'gamma_mean': _listed(np.mean(np.asarray(gamma_VxK), axis=-1)),
    'gamma_std': _listed(np.std(np.asarray(gamma_VxK), axis=-1)),
  }

  tau_IxVxKxB = _thresholds(z_VxKxB, used_VxI, gamma_VxK, x_VxKxB, gate)
  if tau_IxVxKxB is not None:
    tau_VxI = np.asarray(tau_IxVxKxB).mean((2, 3)).T
    std_V = np.maximum(np.std(np.asarray(z_VxKxB), axis=(1, 2)), np.finfo(np.float32).tiny)
    found['thresholds'] = _listed(tau_VxI)
    found['threshold_over_std'] = _listed(tau_VxI[:, -1] / std_V)
  if used_VxI is not None:
    per_dimension = used_VxI.ndim == 3
    found['alpha'] = _listed(np.mean(used_VxI, axis=1) if per_dimension else used_VxI)
  return found


def _listed(x: np.ndarray | jax.Array) -> list:
  """Numbers that JSON can hold."""
  return np.asarray(x, np.float64).tolist()


def _thresholds(
  z_VxKxB: jax.Array,
  used_VxI: jax.Array | None,
  gamma_VxK: jax.Array,
  x_VxKxB: np.ndarray,
  gate: str,
) -> jax.Array | np.ndarray | None:
  """tau_1 ... tau_I of a gate that is ReLU(z - tau), else None.

  I comes first, then axes that broadcast to those of z.
  """
  if gate in ('ics', 'one_iteration'):
    return ics.thresholds(z_VxKxB, used_VxI, gamma_VxK)
  if gate == 'soft_threshold':
    return gates.normal_thresholds(used_VxI)
  if gate in ('relu', 'gumbel'):  # in evaluation gumbel is ReLU
    return np.zeros((1, len(z_VxKxB), 1, 1))
  if gate == 'sparsemax':  # the largest always survives, by what it is above tau
    largest_Vx1xB = np.max(np.asarray(z_VxKxB), 1, keepdims=True)
    above_Vx1xB = np.max(x_VxKxB, 1, keepdims=True)
    return (largest_Vx1xB - above_Vx1xB)[None]
  return None


def network(
  layers: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
  gate: str = 'ics',
  options: gates.Options = _DEFAULT,
) -> dict[str, dict]:
  """`layer` of every (z_VxKxB, alpha_VxI, gamma_VxK), by name."""
  return {name: layer(*arrays, gate, options) for name, arrays in layers.items()}


def over_steps(steps: Sequence[int], snapshots: Sequence[Mapping[str, dict]]) -> dict:
  """Snapshots of `network` at training steps as one series per layer and quantity.

  The step is the first axis.
  """
  layers = {}
  for name, quantities in snapshots[0].items():
    layers[name] = {}
    for quantity, first in quantities.items():
      path = [snapshot[name][quantity] for snapshot in snapshots]
      layers[name][quantity] = None if first is None else path
  return {'steps': [int(step) for step in steps], 'layers': layers}
