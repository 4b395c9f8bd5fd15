"""Three nested laws of loss against size, fitted by variable projection.

power               A x^-a
power + constant    E + A x^-a
hinge plateau       E + A min(x, x_s)^-a

For a given a every law is linear in what is left, so one search over a, refined around the best,
finds the global optimum: no starting values, no failure to converge. Seeds of a rung share x, so
rung means carry all that the search needs, and a bootstrap over seeds is one search with a leading
axis of replicates.
"""

from collections.abc import Callable, Sequence
import functools
import itertools
from typing import NamedTuple

import numpy as np

from rec_sparse.scaling.student import student_quantile

LAWS = ('power', 'power + constant', 'hinge plateau')
COEFFICIENTS = {'power': 2, 'power + constant': 3, 'hinge plateau': 4}
_ALPHAS = {
  'power': np.geomspace(1e-6, 3, 400),
  'power + constant': np.geomspace(1e-2, 3, 300),
  'hinge plateau': np.geomspace(1e-2, 3, 300),
}
# how many seeds' worth of belief in one common spread shrinks the weights of the rungs
_PRIOR_FREEDOM = 4
_ROUNDS = 5  # of the search for a
_ZOOM = 15  # exponents of a round; each narrows the bracket of a by (_ZOOM - 1) / 2


class Points(NamedTuple):
  """Seed-level points of one arm, reduced to what a weighted fit needs."""

  x_P: np.ndarray  # size of each rung, any unit
  y_P: np.ndarray  # mean over seeds
  weight_P: np.ndarray  # weight of the rung: seeds times relative precision, adding up to `count`
  within: float  # weighted squares of the seeds about their rung's mean
  count: int  # seed-level points


class Law(NamedTuple):
  """A fitted law, in the unit of x; fields share the leading shape of the fitted y."""

  name: str  # one of LAWS
  E: np.ndarray  # constant: what y tends to under 'power + constant'; 0 under 'power'
  A: np.ndarray  # coefficient, unit of y times unit of x to the power alpha
  alpha: np.ndarray  # exponent
  x_s: np.ndarray  # size where the plateau begins; inf without one
  sse: np.ndarray  # weighted squares of the rung means about the law
  # False where the search ended at an end of the grid, or no a gives A >= 0 and E >= 0
  identified: np.ndarray

  def __call__(self, x: np.ndarray) -> np.ndarray:
    """The law at sizes x (...), for a law of one fit."""
    return self.E + self.A * np.minimum(x, self.x_s) ** -self.alpha

  def slope(self, x: float) -> float:
    """dL/dln(x) at the size x, for a law of one fit; 0 on a plateau."""
    return float(0.0 if x >= self.x_s else -self.alpha * self.A * x**-self.alpha)

  @property
  def asymptote(self) -> np.ndarray:
    """What y tends to as x grows: E, or the height of the plateau."""
    finite = np.isfinite(self.x_s)
    begins = np.where(finite, self.x_s, 1.0)
    return self.E + np.where(finite, self.A * begins**-self.alpha, 0.0)


def has_asymptote(law: Law) -> np.ndarray:
  """Whether the data hold what the law tends to.

  Not under 'power'; a plateau's height stands whatever its exponent.
  """
  has_constant = law.identified & (law.name == 'power + constant')
  has_plateau = np.isfinite(law.x_s) & np.isfinite(law.sse)
  return has_constant | has_plateau


def gather_points(x: Sequence[float], seeds: Sequence[np.ndarray]) -> Points:
  """Reduces rungs, each with its seeds' values, to Points.

  The rungs may hold different numbers of seeds.

  A rung weighs by its number of seeds over its variance. One time in ten the variance of three
  seeds is below a tenth of the true one, and 1/s^2 would let that rung own the fit: it is shrunk
  towards the pooled variance.
  """
  count_P = np.array([len(y) for y in seeds])
  squares_P = np.array([((y - np.mean(y)) ** 2).sum() for y in seeds])
  pooled = squares_P.sum() / max(1, (count_P - 1).sum())
  relative_P = np.ones(len(seeds))
  if pooled:
    relative_P = (squares_P / pooled + _PRIOR_FREEDOM) / (count_P - 1 + _PRIOR_FREEDOM)

  weight_P = count_P / relative_P
  scale = count_P.sum() / weight_P.sum()
  return Points(
    x_P=np.asarray(x, float),
    y_P=np.array([np.mean(y) for y in seeds]),
    weight_P=weight_P * scale,
    within=float((squares_P / relative_P).sum() * scale),
    count=int(count_P.sum()),
  )


def fit_law(name: str, x_P: np.ndarray, y_P: np.ndarray, weight_P: np.ndarray) -> Law:
  """Weighted least squares of one law; y is (..., P), and every field of the result (...).

  Raises ValueError when there are not more distinct sizes than the law has coefficients, less one
  for 'power'.
  """
  sizes = len(np.unique(x_P))
  if sizes < enough_sizes(name):
    raise ValueError(f'law {name!r} needs {enough_sizes(name)} distinct sizes, not {sizes}')

  order = np.argsort(x_P, kind='stable')
  unit = np.exp(np.log(x_P).mean())
  z = x_P[order] / unit
  y = np.asarray(y_P, float)[..., order]
  w = weight_P[order]

  fits = [_search(_ALPHAS[name], objective) for objective in _objectives(name, z, y, w)]
  stacked = [np.stack(field, axis=-1) for field in zip(*fits, strict=True)]
  best, _ = _pick(_Fit(*stacked))
  law = Law(name, **best._asdict())

  none = ~np.isfinite(law.sse)  # no admissible a: the law degenerates to its constant
  mean = (y * w).sum(-1) / w.sum()
  flat = ((y - mean[..., None]) ** 2 * w).sum(-1)
  # by more than rounding
  moves = law.A * (z[0] ** -law.alpha - z[-1] ** -law.alpha) > 1e-9 * np.abs(mean)
  return law._replace(
    E=np.where(none, mean, law.E),
    A=np.where(none, 0.0, law.A * unit**law.alpha),
    x_s=law.x_s * unit,
    sse=np.where(none, flat, law.sse),
    identified=law.identified & moves & ~none,
  )


def enough_sizes(name: str) -> int:
  """Distinct sizes below which a law says nothing: one more than what bends it (3, 4, 5)."""
  return COEFFICIENTS[name] + 1


def fit_laws(points: Points) -> dict[str, Law]:
  """Every law that the points are enough for, by name."""
  sizes = len(np.unique(points.x_P))
  names = [name for name in LAWS if sizes >= enough_sizes(name)]
  return {name: fit_law(name, points.x_P, points.y_P, points.weight_P) for name in names}


def aicc(law: Law, points: Points) -> float:
  """Akaike's criterion with the small-sample term; inf with too few points.

  Lower is better, 10 is strong.

  n ln(SSE/n) + 2k + 2k(k+1)/(n-k-1) over seed-level points, k = coefficients and the noise
  variance. SSE is held above rounding error, so that of laws that all fit exactly the simplest
  wins.
  """
  n = points.count
  k = COEFFICIENTS[law.name] + 1
  if n - k - 1 <= 0:
    return float('inf')
  rounding = 1e-9 * float(np.abs(points.y_P).max())
  mean_square = max((float(law.sse) + points.within) / n, rounding**2)
  return float(n * np.log(mean_square) + 2 * k + 2 * k * (k + 1) / (n - k - 1))


def choose_law(laws: dict[str, Law], points: Points) -> Law | None:
  """The law with the lowest AICc; None when there is no law.

  The simplest one when there are too few points to tell.
  """

  def rank(law: Law) -> tuple[float, int]:
    return aicc(law, points), COEFFICIENTS[law.name]

  return min(laws.values(), key=rank, default=None)


def resample_means(rng: np.random.Generator, y_PxS: np.ndarray, replicates: int) -> np.ndarray:
  """Bootstrap over seeds: rung means (replicates, P) as other seeds might have given them.

  Multinomial weights instead of indices: what a seed does to every rung alike (its data order) is
  drawn once per replicate, the rest inside each rung. Both parts are widened from the plug-in
  variance to the unbiased one and from the normal to Student's t: percentiles of so few seeds are
  too narrow. Raises ValueError below 2 seeds or rungs.
  """
  rungs, seeds = y_PxS.shape
  if min(rungs, seeds) < 2:
    raise ValueError(f'a bootstrap over seeds needs 2 rungs and 2 seeds, not {rungs} and {seeds}')

  mean_P = y_PxS.mean(1)
  shared_S = (y_PxS - mean_P[:, None]).mean(0)
  rest_PxS = y_PxS - mean_P[:, None] - shared_S
  freedom = (rungs - 1) * (seeds - 1)
  wider = student_quantile(0.975, seeds - 1) * np.sqrt(seeds / (seeds - 1))
  wider_rest = student_quantile(0.975, freedom) * np.sqrt(seeds * rungs / freedom)

  draws = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=(replicates, rungs + 1)) / seeds
  shared = (draws[:, :1] @ shared_S) * wider
  rest = (draws[:, 1:] * rest_PxS).sum(-1) * wider_rest
  return mean_P + (shared + rest) / student_quantile(0.975, 10**9)


def draw_normal(
  rng: np.random.Generator, covariance_PxP: np.ndarray, replicates: int
) -> np.ndarray:
  """Normal draws (replicates, P) of mean 0: what other test rows would add to the rung means.

  An estimated covariance may have eigenvalues a little below 0; they count as 0.
  """
  values_P, vectors_PxP = np.linalg.eigh(covariance_PxP)
  root_PxP = vectors_PxP * np.sqrt(np.maximum(values_P, 0.0))
  return rng.standard_normal((replicates, len(values_P))) @ root_PxP.T


# ----------------------------------------------------------------------------------------------
# variable projection


class _Fit(NamedTuple):
  """Best coefficients for given exponents, in normalised x: (..., J), or (...) once searched."""

  sse: np.ndarray  # weighted squares; inf where A or E would be negative
  E: np.ndarray
  A: np.ndarray
  alpha: np.ndarray
  x_s: np.ndarray  # inf without a plateau
  identified: np.ndarray


def _project(
  f: np.ndarray, y: np.ndarray, w: np.ndarray, constant: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """E, A, squares of y ~ E + A f for each of J features; f is (..., J, P), y (..., P), w (P,)."""
  if constant:
    mean_f = f @ w / w.sum()
    mean_y = y @ w / w.sum()
    f = f - mean_f[..., None]
    y = y - mean_y[..., None]

  power = np.square(f) @ w
  A = np.matmul(f * w, y[..., None])[..., 0] / np.where(power > 0, power, np.inf)
  squares = np.maximum((np.square(y) @ w)[..., None] - A**2 * power, 0.0)
  E = mean_y[..., None] - A * mean_f if constant else np.zeros_like(A)
  return E, A, squares


def _objectives(
  name: str, z: np.ndarray, y: np.ndarray, w: np.ndarray
) -> list[Callable[[np.ndarray], _Fit]]:
  """Functions alpha (..., J) -> _Fit whose minima hold the optimum of the law; z ascending."""
  if name != 'hinge plateau':
    constant = name != 'power'
    return [functools.partial(_bent, z=z, y=y, w=w, x_s=np.inf, constant=constant)]

  # three sizes below identify E, A and a, two at or above show a plateau
  knots = np.unique(z)[2:-1]
  objectives = [functools.partial(_bent, z=z, y=y, w=w, x_s=knot, constant=True) for knot in knots]
  for low, high in itertools.pairwise(knots):
    objectives.append(functools.partial(_between, z=z, y=y, w=w, low=low, high=high))
  return objectives


def _bent(
  alpha: np.ndarray, z: np.ndarray, y: np.ndarray, w: np.ndarray, x_s: float, constant: bool
) -> _Fit:
  """The law with its plateau, if any, at a known place."""
  E, A, squares = _project(np.minimum(z, x_s) ** -alpha[..., None], y, w, constant)
  fits = (A >= 0) & (E >= 0)
  return _Fit(
    sse=np.where(fits, squares, np.inf),
    E=E,
    A=A,
    alpha=np.broadcast_to(alpha, A.shape),
    x_s=np.full(A.shape, x_s),
    identified=fits,
  )


def _between(
  alpha: np.ndarray, z: np.ndarray, y: np.ndarray, w: np.ndarray, low: float, high: float
) -> _Fit:
  """A plateau that begins between two neighbouring sizes.

  Its height is free, and x_s follows from it.
  """
  left = z <= low
  E, A, squares = _project(z[left] ** -alpha[..., None], y[..., left], w[left], constant=True)
  height = (y[..., ~left] @ w[~left] / w[~left].sum())[..., None]
  squares = squares + (np.square(y[..., ~left] - height) @ w[~left])[..., None]

  rise = (height - E) / np.where(A > 0, A, np.inf)
  log_s = -np.log(np.where(rise > 0, rise, 1.0)) / alpha
  fits = (A > 0) & (E >= 0) & (rise > 0) & (log_s >= np.log(low)) & (log_s <= np.log(high))
  x_s = np.exp(np.clip(log_s, np.log(low), np.log(high)))
  return _Fit(np.where(fits, squares, np.inf), E, A, np.broadcast_to(alpha, A.shape), x_s, fits)


def _search(grid_J: np.ndarray, objective: Callable[[np.ndarray], _Fit]) -> _Fit:
  """Minimises over the grid, then over ever finer grids around the best exponent."""
  fit, k = _pick(objective(grid_J))
  inside = (k > 0) & (k < len(grid_J) - 1) & np.isfinite(fit.sse)
  low = np.log(grid_J[np.maximum(k - 1, 0)])
  high = np.log(grid_J[np.minimum(k + 1, len(grid_J) - 1)])
  for _ in range(_ROUNDS):
    finer = np.linspace(low, high, _ZOOM, axis=-1)
    finest, _ = _pick(objective(np.exp(finer)))
    better = finest.sse < fit.sse
    fields = [np.where(better, new, old) for new, old in zip(finest, fit, strict=True)]
    fit = _Fit(*fields)

    middle = np.log(fit.alpha)
    step = (high - low) / (_ZOOM - 1)
    lowest = np.clip(middle - step, low, high)
    high = np.clip(middle + step, low, high)
    low = lowest
  return fit._replace(identified=inside)


def _pick(fit: _Fit) -> tuple[_Fit, np.ndarray]:
  """The best of J exponents, and its index."""
  k = np.argmin(fit.sse, axis=-1)
  fields = []
  for field in fit:
    every = np.broadcast_to(field, fit.sse.shape)
    fields.append(np.take_along_axis(every, k[..., None], -1)[..., 0])
  return _Fit(*fields), k
