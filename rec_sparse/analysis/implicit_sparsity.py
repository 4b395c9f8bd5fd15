"""How sparse a dense layer has made itself, per layer.

SSR (arXiv 2604.08011), section 2.1 and figure 1.

The paper reports the share of |w| < 1e-3 and the share of input dimensions that hold 80 % of the
"weight power", without a formula; the first depends on the scale of the weights, so scale-free
versions stand beside it, and the second is given for absolute and for squared weights. Read them
beside the same layer at its initialisation.
"""

from collections.abc import Mapping

import numpy as np

from rec_sparse.analysis import spectrum

HELD = 0.8  # share of the mass that the counted inputs hold
CURVE_POINTS = 101  # points of a mass curve, at equal shares of inputs from 0 to 1


def network(
  weights: Mapping[str, np.ndarray], init_std: Mapping[str, float] | None = None
) -> dict[str, dict]:
  """`layer` of every weight_NxH, by name."""
  init_std = init_std or {}
  return {name: layer(weight_NxH, init_std.get(name)) for name, weight_NxH in weights.items()}


def layer(weight_NxH: np.ndarray, init_std: float | None = None) -> dict:
  """One dense layer, N inputs by H outputs.

  `init_std` is the standard deviation that it was initialised with.
  """
  weight_NxH = np.asarray(weight_NxH, np.float64)
  magnitude_NxH = np.abs(weight_NxH)
  absolute_N = magnitude_NxH.sum(1)
  squared_N = np.square(weight_NxH).sum(1)

  def share_below(limit: float) -> float:
    return float(np.mean(magnitude_NxH < limit))

  return {
    'shape': list(weight_NxH.shape),
    'below_1e-3': share_below(1e-3),
    'below_1e-2_of_max': share_below(0.01 * magnitude_NxH.max()),
    'below_1e-2_of_init_std': None if init_std is None else share_below(0.01 * init_std),
    'std': float(weight_NxH.std()),
    'max': float(magnitude_NxH.max()),
    'inputs_holding_80_percent_absolute': inputs_holding(absolute_N),
    'inputs_holding_80_percent_squared': inputs_holding(squared_N),
    'mass_curve_absolute': mass_curve(absolute_N),
    'mass_curve_squared': mass_curve(squared_N),
    **spectrum.summary(spectrum.singular_values(weight_NxH)),
  }


def inputs_holding(mass_N: np.ndarray, held: float = HELD) -> float:
  """Smallest share of the inputs that together hold at least `held` of the mass.

  0 where there is no mass.
  """
  falling_N = np.cumsum(-np.sort(-mass_N))
  if falling_N[-1] == 0:
    return 0.0
  # one part in 1e12 of slack: 4 of 5 equal inputs hold 80 %, whatever the last digit of the sum is
  enough = held * falling_N[-1] * (1 - 1e-12)
  return float(np.searchsorted(falling_N, enough) + 1) / len(mass_N)


def mass_curve(mass_N: np.ndarray) -> list[float]:
  """Share of the mass in the heaviest x of the inputs, x from 0 to 1 in equal steps."""
  falling_N = np.concatenate([[0.0], np.cumsum(-np.sort(-mass_N))])
  share_N = falling_N / (falling_N[-1] or 1.0)
  inputs_N = np.linspace(0, 1, len(falling_N))
  return np.interp(np.linspace(0, 1, CURVE_POINTS), inputs_N, share_N).tolist()
