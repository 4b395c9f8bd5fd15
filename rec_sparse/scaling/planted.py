"""Studies made up from a known truth.

They tell how often a verdict is right, and how often an interval covers.
"""

from collections import Counter
from collections.abc import Callable, Sequence
import math

import numpy as np

from rec_sparse.scaling import verdict
from rec_sparse.scaling.records import METRICS
from rec_sparse.scaling.records import Rung
from rec_sparse.scaling.row_error import RowError
from rec_sparse.scaling.student import slope_weights

Truth = Callable[[float], float]  # ln FLOPs -> expected test log loss
Noise = Callable[[np.random.Generator, int, int], np.ndarray]  # rungs, seeds -> noise_PxS of sd 1

STEP = math.log(4)  # e-folds of FLOPs between two rungs
RUNGS = 8
TEST_ROWS = 100_000


def plateau(x: float, flat: int = 4) -> float:
  """A power law that stops falling at the first of the last `flat` rungs."""
  return power_law(min(x, (RUNGS - flat) * STEP))


def power_law(x: float) -> float:
  """.4378 + .04 FLOPs^-.3, FLOPs in units of the smallest rung.

  At the top of eight rungs it falls by 6.5 delta per e-fold.
  """
  return 0.4378 + 0.04 * math.exp(-0.3 * x)


def line(slope: float) -> Truth:
  """Falls or rises by the same amount everywhere."""
  return lambda x: 0.45 + slope * x


def even(rng: np.random.Generator, rungs: int, seeds: int) -> np.ndarray:
  """The same normal noise on every rung."""
  return rng.standard_normal((rungs, seeds))


def uneven(rng: np.random.Generator, rungs: int, seeds: int) -> np.ndarray:
  """The top rung is six times noisier."""
  noise_PxS = even(rng, rungs, seeds)
  noise_PxS[-1] *= 6
  return noise_PxS


def outlier(rng: np.random.Generator, rungs: int, seeds: int) -> np.ndarray:
  """One trial in twenty lies six times as far away."""
  noise_PxS = even(rng, rungs, seeds)
  return np.where(rng.random(noise_PxS.shape) < 0.05, 6 * noise_PxS, noise_PxS)


def interaction(rng: np.random.Generator, rungs: int, seeds: int) -> np.ndarray:
  """A seed moves every rung alike, twice as far as the rest, and has a slope of its own.

  The slope is .2 per rung.
  """
  noise_PxS = even(rng, rungs, seeds)
  shared_S = 2 * rng.standard_normal(seeds)
  slope_S = 0.2 * rng.standard_normal(seeds)
  return noise_PxS + shared_S + slope_S * np.arange(rungs)[:, None]


NOISES: dict[str, Noise] = {
  'even': even,
  'uneven': uneven,
  'outlier': outlier,
  'interaction': interaction,
}


def draw(
  rng: np.random.Generator,
  truth: Truth,
  noise: Noise,
  deviation: float,
  seeds: int,
  rows_error: float,
) -> tuple[list[Rung], RowError]:
  """The rungs of a planted study, and the error over its test rows.

  `deviation` is that of a seed in nats. `rows_error` is the standard error of every slope over the
  test rows: these rows gain more, or less, from size than others would.
  """
  x_P = np.arange(RUNGS) * STEP
  true_P = np.array([truth(x) for x in x_P])
  loss_P = true_P + rows_error * rng.standard_normal() * x_P
  loss_PxS = loss_P[:, None] + deviation * noise(rng, RUNGS, seeds)
  rungs = [_rung(r, x, loss_S) for r, (x, loss_S) in enumerate(zip(x_P, loss_PxS, strict=True))]
  place = {(r.arm, r.name): k for k, r in enumerate(rungs)}
  return rungs, RowError(TEST_ROWS, place, rows_error**2 * np.outer(x_P, x_P))


def verdicts(
  truth: Truth, deviation: float, seeds: int, rows_error: float, studies: int, noise: Noise = even
) -> tuple[Counter, list[int | None]]:
  """How often each verdict is given, and the test rows that the undetermined ones ask for."""
  rng = np.random.default_rng(0)
  counts = Counter()
  rows_needed = []
  for _ in range(studies):
    rungs, rows = draw(rng, truth, noise, deviation, seeds, rows_error)
    window = verdict.judged_window(rungs, rows)
    slope, last = verdict.top_slopes(window, rungs, rows)
    call, _ = verdict.settle(slope, last, verdict.DELTA)
    counts[call] += 1
    if call == 'undetermined':
      needed, _ = verdict.rows_needed(slope, last, verdict.DELTA, rows)
      rows_needed.append(needed)
  return counts, rows_needed


def coverage(
  truth: Truth, noise: Noise, deviation: float, seeds: int, rows_error: float, studies: int
) -> float:
  """Share of studies whose interval holds the true slope of the rungs that it looks at."""
  rng = np.random.default_rng(0)
  covered = 0
  for _ in range(studies):
    rungs, rows = draw(rng, truth, noise, deviation, seeds, rows_error)
    window = verdict.judged_window(rungs, rows)
    low, high = verdict.slope_over(window, rungs, rows).interval
    x_P = np.log([r.flops for r in window])
    true_P = np.array([truth(x) for x in x_P])
    covered += low <= slope_weights(x_P) @ true_P <= high
  return covered / studies


def _rung(place: int, x: float, loss_S: Sequence[float]) -> Rung:
  seeds = tuple(range(len(loss_S)))
  return Rung(
    arm='planted',
    scale={'width': place + 1, 'depth': 1, 'views': 1},
    shape='',
    flops=math.exp(x),
    nonzero=math.exp(x),
    dense_params=math.exp(x),
    embedding_params=0.0,
    embedding_nonzero=0.0,
    learning_rate=1e-3,
    edge='',
    full_grid=True,
    seeds=seeds,
    run_ids=tuple(f'{place}-{seed}' for seed in seeds),
    metrics={name: np.asarray(loss_S) for name in METRICS},
  )
