"""What the competition does inside a trained SSR-D (arXiv 2604.08011, figure 5): zeros, thresholds,
alpha and gamma.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rec_sparse.sparsity import gates
from rec_sparse.sparsity import ics

USED_ALPHA = {  # gate -> the part of alpha that it uses; the others use none
  'ics': lambda alpha_VxI: alpha_VxI,
  'one_iteration': lambda alpha_VxI: alpha_VxI[..., :1],
  'soft_threshold': lambda alpha_VxI: alpha_VxI,
}


def layer(
  z_VxKxB: np.ndarray,
  alpha_VxI: np.ndarray,
  gamma_VxK: np.ndarray,
  gate: str = 'ics',
  options: gates.Options = gates.Options(),
) -> dict:
  """One layer on one batch of pre-activations as evaluation sees it; every list is per view.

  `zeros` is the share of exact zeros of the gate's output (before gamma) over dimensions and
  examples, `zeros_of_relu` that of ReLU alone: the difference is the work of the competition.
  `thresholds` are means over examples (and dimensions) of tau_1 ... tau_I, in units of z;
  `threshold_over_std` is tau_I in standard deviations of z, free of scale. They are None where the
  gate is no ReLU(z - tau), and `alpha` where it uses none.
  """
  z, alpha, gamma = (jnp.asarray(x, jnp.float32) for x in (z_VxKxB, alpha_VxI, gamma_VxK))
  used = USED_ALPHA[gate](alpha) if gate in USED_ALPHA else None
  x_VxKxB = np.asarray(
    gates.GATES[gate](z, gates.Params(alpha, jnp.ones_like(gamma)), options, None)
  )
  tau_IxVxKxB = _thresholds(z, used, gamma, x_VxKxB, gate)
  std_V = np.maximum(np.std(np.asarray(z), axis=(1, 2)), np.finfo(np.float32).tiny)
  tau_VxI = None if tau_IxVxKxB is None else np.asarray(tau_IxVxKxB).mean((2, 3)).T
  rounded = lambda x: np.asarray(x, np.float64).tolist()
  return {
    'zeros': rounded(np.mean(x_VxKxB == 0, axis=(1, 2))),
    'zeros_of_relu': rounded(np.mean(np.asarray(z) <= 0, axis=(1, 2))),
    # zero for every example of the batch
    'dead_dimensions': rounded(np.mean(np.all(x_VxKxB == 0, axis=2), axis=1)),
    'mean_output': rounded(np.mean(np.abs(x_VxKxB), axis=(1, 2))),
    'thresholds': None if tau_VxI is None else rounded(tau_VxI),
    'threshold_over_std': None if tau_VxI is None else rounded(tau_VxI[:, -1] / std_V),
    'alpha': None if used is None else rounded(np.mean(used, axis=1) if used.ndim == 3 else used),
    'gamma_mean': rounded(np.mean(np.asarray(gamma), axis=-1)),
    'gamma_std': rounded(np.std(np.asarray(gamma), axis=-1)),
  }


def _thresholds(
  z_VxKxB: jax.Array,
  used_VxI: jax.Array | None,
  gamma_VxK: jax.Array,
  x_VxKxB: np.ndarray,
  gate: str,
) -> jax.Array | np.ndarray | None:
  """tau_1 ... tau_I of a gate that is ReLU(z - tau), I first, then axes that broadcast to those of
  z.
  """
  if gate in ('ics', 'one_iteration'):
    return ics.thresholds(z_VxKxB, used_VxI, gamma_VxK)
  if gate == 'soft_threshold':
    return gates.normal_thresholds(used_VxI)
  if gate in ('relu', 'gumbel'):  # in evaluation gumbel is ReLU
    return np.zeros((1, len(z_VxKxB), 1, 1))
  if gate == 'sparsemax':  # the largest always survives, by what it is above tau
    return (np.max(np.asarray(z_VxKxB), 1, keepdims=True) - np.max(x_VxKxB, 1, keepdims=True))[None]
  return None


def network(
  layers: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
  gate: str = 'ics',
  options: gates.Options = gates.Options(),
) -> dict[str, dict]:
  """`layer` of every (z_VxKxB, alpha_VxI, gamma_VxK), by name."""
  return {name: layer(*arrays, gate, options) for name, arrays in layers.items()}


def over_steps(steps: Sequence[int], snapshots: Sequence[Mapping[str, dict]]) -> dict:
  """Snapshots of `network` at training steps as one series per layer and quantity, the step as the
  first axis.
  """
  names = snapshots[0].keys()
  path = lambda name, quantity: [snapshot[name][quantity] for snapshot in snapshots]
  series = {
    n: {q: path(n, q) if snapshots[0][n][q] is not None else None for q in snapshots[0][n]}
    for n in names
  }
  return {'steps': [int(s) for s in steps], 'layers': series}
