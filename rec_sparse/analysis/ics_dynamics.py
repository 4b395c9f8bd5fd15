"""What the competition does inside a trained SSR-D (arXiv 2604.08011, figure 5): zeros, thresholds, alpha and gamma."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from rec_sparse.sparsity import ics


def layer(z_VxKxB: np.ndarray, alpha_VxT: np.ndarray, gamma_VxK: np.ndarray) -> dict:
  """One layer on one batch of pre-activations; every list is per view.

  `zeros` is the share of exact zeros of x^T (before gamma) over dimensions and examples, `zeros_of_relu` that of ReLU
  alone: the difference is the work of the competition. `thresholds` are means over examples (and dimensions) of
  tau_1 ... tau_T, in units of z; `threshold_over_std` is tau_T in standard deviations of z, free of scale.
  """
  z, alpha, gamma = (jnp.asarray(x, jnp.float32) for x in (z_VxKxB, alpha_VxT, gamma_VxK))
  tau_TxVxKxB = np.asarray(ics.thresholds(z, alpha, gamma, axis=-2))
  x_VxKxB = np.asarray(ics.ics(z, alpha, jnp.ones_like(gamma), axis=-2))
  std_V = np.maximum(np.std(np.asarray(z), axis=(1, 2)), np.finfo(np.float32).tiny)
  tau_VxT = tau_TxVxKxB.mean((2, 3)).T
  rounded = lambda x: np.asarray(x, np.float64).tolist()
  return {
      'zeros': rounded(np.mean(x_VxKxB == 0, axis=(1, 2))),
      'zeros_of_relu': rounded(np.mean(np.asarray(z) <= 0, axis=(1, 2))),
      'dead_dimensions': rounded(np.mean(np.all(x_VxKxB == 0, axis=2), axis=1)),  # zero for every example of the batch
      'mean_output': rounded(np.mean(np.abs(x_VxKxB), axis=(1, 2))),
      'thresholds': rounded(tau_VxT),
      'threshold_over_std': rounded(tau_VxT[:, -1] / std_V),
      'alpha': rounded(np.mean(np.asarray(alpha), axis=1) if alpha.ndim == 3 else np.asarray(alpha)),
      'gamma_mean': rounded(np.mean(np.asarray(gamma), axis=-1)),
      'gamma_std': rounded(np.std(np.asarray(gamma), axis=-1)),
  }


def network(layers: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, dict]:
  """`layer` of every (z_VxKxB, alpha_VxT, gamma_VxK), by name."""
  return {name: layer(*arrays) for name, arrays in layers.items()}


def over_steps(steps: Sequence[int], snapshots: Sequence[Mapping[str, dict]]) -> dict:
  """Snapshots of `network` at training steps as one series per layer and quantity, the step as the first axis."""
  names = snapshots[0].keys()
  series = {n: {q: [snapshot[n][q] for snapshot in snapshots] for q in snapshots[0][n]} for n in names}
  return {'steps': [int(s) for s in steps], 'layers': series}
