"""Does an arm saturate or keep scaling? An equivalence test on the local slope.

The slope is dL/dln(x), L the test log loss and x the forward FLOPs per example, at the top of the
ladder. With a smallest gain that matters, delta, set in advance:

scaling       the whole 95 % interval of the slope lies below -delta; that of the last segment
              lies below 0, and not wholly above -delta
saturated     the whole interval lies above -delta; that of the last segment not wholly below it
undetermined  anything else: noise cannot pass as a plateau

The interval holds both errors: over seeds and over test rows. More of either can only make a
verdict clearer.
"""

from collections.abc import Callable, Sequence
import dataclasses
import math
import statistics
from typing import Literal, NamedTuple

import numpy as np

from rec_sparse.scaling import fit
from rec_sparse.scaling import ladder as ladder_lib
from rec_sparse.scaling.records import paired
from rec_sparse.scaling.records import Rung
from rec_sparse.scaling.row_error import RowError
from rec_sparse.scaling.student import half_width
from rec_sparse.scaling.student import pooled_spread
from rec_sparse.scaling.student import slope_weights
from rec_sparse.scaling.student import Spread
from rec_sparse.scaling.student import spread_of_contrast

# smallest gain that matters, nats per e-fold of FLOPs, registered before any study was run
DELTA = 1e-4
ON_LINE = 0.99  # level of the interval in which one more rung meets the line through those above it
REPLICATES = 1000  # bootstrap refits of the law
POWER = 0.8  # chance of a settled verdict that `seeds_needed` and `rows_needed` ask for
MOST_SEEDS = 1000  # beyond this, more seeds are no answer
MOST_ROWS = 1000  # times the present test rows: beyond this, more rows are no answer

Call = Literal['saturated', 'scaling', 'undetermined']
Interval = tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class Slope:
  """A slope over some rungs of one arm's ladder."""

  rungs: tuple[str, ...]  # names of the rungs it looks at, by ascending FLOPs
  value: float | None  # nats per e-fold of FLOPs; None with too few sizes
  interval: Interval  # 95 %, over seeds and test rows; None with one seed
  spread: Spread | None  # of the slope of a single seed; None with one seed
  seeds: int  # seeds that every one of these rungs finished
  rows_error: float | None  # standard error over the test rows; None where no logits were kept


NO_SLOPE = Slope((), None, None, None, 0, None)


@dataclasses.dataclass(frozen=True)
class Holdout:
  """How well the smaller rungs foretell the largest: the only honest check of extrapolation."""

  rung: str  # name of the largest rung, left out of the fit
  law: str  # law that AICc chose without it
  predicted: float  # nats per example
  observed: float  # nats per example, mean over seeds


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What the study says of one arm."""

  call: Call  # the verdict
  reason: str  # why, in words
  provisional: tuple[str, ...]  # why it may still change by itself, in words; empty: it does not
  delta: float  # smallest gain that matters, nats per e-fold
  slope: Slope  # what the call rests on
  last: Slope  # of the last segment, which must agree
  ladder: tuple[str, ...]  # rungs of the curve: slopes, laws and the holdout look at these alone
  seeds_needed: int | None  # fewest, on these rows, for 80 % chance to settle it; None: none does
  rows_needed: int | None  # fewest that do, with `rows_needed_seeds`; None: none does, or no logits
  rows_needed_seeds: int | None  # the present ones or, where it takes both, times 2, 4, and so on
  law: fit.Law | None  # of test log loss against FLOPs, chosen by AICc; None with too few sizes
  aicc: dict[str, float]  # by law
  # what the law tends to; None if it has no such term or is not identified
  irreducible: float | None
  irreducible_interval: Interval  # 95 %, bootstrap over seeds and test rows
  exponent: float | None  # of the law; None if not identified
  exponent_interval: Interval  # 95 %, bootstrap over seeds and test rows
  holdout: Holdout | None  # None with too few sizes
  # the call from the slope's other rungs, if one of them were dropped
  without_rung: dict[str, Call]
  # rungs whose learning rate is not bracketed: such a rung may be under-tuned
  rate_at_edge: tuple[str, ...]


def judge(
  rungs: Sequence[Rung],
  delta: float = DELTA,
  seed: int = 0,
  rows: RowError | None = None,
  missing: int = 0,
) -> Verdict:
  """The verdict on one arm from its rungs, by ascending FLOPs.

  It never raises for want of rungs or seeds. `seed` feeds the bootstrap, `rows` holds the error
  over test rows, `missing` is the number of trials of the study that have no record yet.
  """
  ladder = ladder_lib.frontier(rungs)
  window = judged_window(ladder, rows)
  slope, last = top_slopes(window, ladder, rows)
  call, reason = settle(slope, last, delta)
  needed = _needed(call, slope, last, delta, rows)
  return Verdict(
    call=call,
    reason=reason,
    provisional=_provisional(window, missing),
    delta=delta,
    slope=slope,
    last=last,
    ladder=tuple(r.name for r in ladder),
    seeds_needed=needed.seeds,
    rows_needed=needed.rows,
    rows_needed_seeds=needed.rows_seeds,
    without_rung=_leave_one_out(window, ladder, rows, delta),
    rate_at_edge=tuple(r.name for r in rungs if r.edge),
    holdout=hold_out(ladder),
    **_law(ladder, np.random.default_rng(seed), rows),
  )


class _Needed(NamedTuple):
  """What settles a verdict; the fields of `Verdict`."""

  seeds: int | None
  rows: int | None
  rows_seeds: int | None


def _needed(call: Call, slope: Slope, last: Slope, delta: float, rows: RowError | None) -> _Needed:
  """What the study has, if its verdict is settled, else what would do."""
  if call != 'undetermined' and rows:
    return _Needed(slope.seeds, rows.rows, slope.seeds)
  if call != 'undetermined':
    return _Needed(slope.seeds, None, None)
  seeds = seeds_needed(slope, last, delta)
  if not rows:
    return _Needed(seeds, None, None)
  return _Needed(seeds, *rows_needed(slope, last, delta, rows))


def judged_window(ladder: Sequence[Rung], rows: RowError | None = None) -> Sequence[Rung]:
  """The last rungs that the slope is judged over; none where the ladder has fewer than three sizes.

  At least three sizes and one e-fold: with several depths two rungs may be all but equal in FLOPs,
  and a slope over next to no distance is noise. One rung more as long as it meets the line through
  those above it, by the noise of the whole ladder: that test sees a bend at few seeds too, and
  where noise is uneven it errs towards fewer rungs.
  """
  window = ladder_lib.top(ladder)
  if not window:
    return ()
  while len(window) < len(ladder):
    longer = ladder[-len(window) - 1 :]
    if not _on_line(longer, ladder, rows):
      break
    window = longer
  return window


def top_slopes(
  window: Sequence[Rung], ladder: Sequence[Rung], rows: RowError | None = None
) -> tuple[Slope, Slope]:
  """The slopes that a verdict is settled on: over the window, and of the last segment alone."""
  if not window:
    return NO_SLOPE, NO_SLOPE
  last = ladder_lib.last_segment(ladder)
  return slope_over(window, ladder, rows), slope_over(last, ladder, rows)


def slope_over(
  rungs: Sequence[Rung], ladder: Sequence[Rung], rows: RowError | None = None
) -> Slope:
  """Least-squares slope of test log loss on ln FLOPs, with its interval; of two sizes or more.

  Seeds are paired across rungs (same data order); only seeds that every rung finished count, if
  there are any. Other rungs of the ladder tell of the noise.
  """
  names = tuple(r.name for r in rungs)
  weights_P = slope_weights(np.log([r.flops for r in rungs]))
  value, seeds, spread = _contrast(weights_P, rungs, ladder, spread_of_contrast)
  rows_error = rows.of_contrast(rungs, weights_P) if rows else None
  if spread is None:
    return Slope(names, value, None, None, seeds, rows_error)
  half = half_width(spread, seeds, rows_error or 0.0)
  return Slope(names, value, (value - half, value + half), spread, seeds, rows_error)


def settle(slope: Slope, last: Slope, delta: float) -> tuple[Call, str]:
  """The verdict and its reason: the equivalence test, and whether the last segment agrees with it.

  A line through rungs of which the last ones are flat has a slope too. So the last segment must
  itself improve for sure, and not for sure by less than delta, before its arm is called scaling;
  and an arm whose last segment improves by more than delta for sure is not called saturated.
  """
  if slope.value is None:
    return 'undetermined', f'fewer than {ladder_lib.LEAST_SIZES} sizes have finished trials'
  if slope.interval is None:
    return 'undetermined', (
      f'{slope.seeds} seed finished every one of the largest rungs, and a spread takes two'
    )

  call = classify(slope.interval, delta)
  step = classify(last.interval, delta)
  if call == 'scaling' and step == 'saturated':
    return 'undetermined', 'the line falls, but its last segment gains less than delta'
  if call == 'scaling' and (last.interval is None or last.interval[1] >= 0):
    return 'undetermined', 'the line falls, but its last segment does not show a gain by itself'
  if call == 'saturated' and step == 'scaling':
    return 'undetermined', 'the line is flat, but its last segment gains more than delta'

  if call == 'scaling':
    return call, 'the whole interval of the slope is below \N{MINUS SIGN}delta'
  if call == 'saturated' and slope.interval[0] > 0:
    return call, 'the slope is above 0: larger is worse'
  if call == 'saturated':
    return call, 'the whole interval of the slope is above \N{MINUS SIGN}delta'
  return call, 'the interval holds gains above and below delta: too wide to tell'


def classify(interval: Interval, delta: float) -> Call:
  """The equivalence test on one interval."""
  if interval is None:
    return 'undetermined'
  low, high = interval
  if high < -delta:
    return 'scaling'
  if low > -delta:
    return 'saturated'
  return 'undetermined'


def seeds_needed(slope: Slope, last: Slope, delta: float) -> int | None:
  """Fewest seeds, more than now, that settle the verdict with a chance of 80 %.

  On the same test rows. Slopes and spreads as found are taken for the truth. None if that cannot be
  known (no spread), or if no number of seeds up to 1,000 would do.
  """

  def chance(seeds: int) -> float:
    return _chance(slope, last, delta, seeds, 1.0)

  return _fewest(range(slope.seeds + 1, MOST_SEEDS + 1), chance)


def rows_needed(
  slope: Slope, last: Slope, delta: float, rows: RowError
) -> tuple[int | None, int | None]:
  """(fewest test rows that settle the verdict with a chance of 80 %, with how many seeds).

  More rows than now. With the present seeds; or, where neither more rows nor more seeds alone would
  do, with twice as many seeds, four times, and so on. Rows to two figures; else as `seeds_needed`.
  """
  factors = np.geomspace(1.0, MOST_ROWS, 300)[1:]
  numbers = sorted({two_figures(rows.rows * factor) for factor in factors})
  seeds = slope.seeds
  while 1 < seeds <= MOST_SEEDS:
    fewest = _fewest_rows(numbers, slope, last, delta, seeds, rows)
    if fewest:
      return fewest, seeds
    if seeds == slope.seeds and seeds_needed(slope, last, delta):
      return None, None
    seeds *= 2
  return None, None


def _fewest_rows(
  numbers: Sequence[int], slope: Slope, last: Slope, delta: float, seeds: int, rows: RowError
) -> int | None:
  """The first of `numbers` of test rows that settles the verdict with so many seeds."""

  def chance(number: int) -> float:
    return _chance(slope, last, delta, seeds, number / rows.rows)

  return _fewest(numbers, chance)


def two_figures(number: float) -> int:
  """Rounded up to two figures."""
  unit = 10 ** max(0, math.floor(math.log10(number)) - 1)
  return math.ceil(number / unit) * unit


def hold_out(ladder: Sequence[Rung]) -> Holdout | None:
  """Fits the rungs below the largest and predicts it; None if they are too few for any law."""
  smaller = [r for r in ladder if r.flops < ladder[-1].flops]  # empty for no rungs
  sizes = [r.flops for r in smaller]
  if len(set(sizes)) < fit.enough_sizes(fit.LAWS[0]):
    return None

  points = fit.gather_points(sizes, [r.metrics['test_logloss'] for r in smaller])
  law = fit.choose_law(fit.fit_laws(points), points)
  last = ladder[-1]
  return Holdout(
    rung=last.name,
    law=law.name,
    predicted=float(law(last.flops)),
    observed=float(last.metrics['test_logloss'].mean()),
  )


def _contrast(
  weights_P: np.ndarray,
  rungs: Sequence[Rung],
  ladder: Sequence[Rung],
  spread_of: Callable[[np.ndarray, np.ndarray], Spread],
) -> tuple[float, int, Spread | None]:
  """(sum w_r times the mean of rung r, the seeds that it is over, the spread of a single seed).

  `spread_of` sees these rungs and all others of the ladder that finished the same seeds.
  """
  seeds, y_PxS = paired(rungs, 'test_logloss')
  if not seeds:
    means_P = np.array([r.metrics['test_logloss'].mean() for r in rungs])
    return float(weights_P @ means_P), 0, None
  value = float(weights_P @ y_PxS.mean(1))
  if len(seeds) < 2:
    return value, len(seeds), None

  judged = {r.name for r in rungs}
  others = [r for r in ladder if r.name not in judged and set(seeds) <= set(r.seeds)]
  of_others = []
  for rung in others:
    own = [rung.seeds.index(seed) for seed in seeds]
    of_others.append(rung.metrics['test_logloss'][own])
  y_JxS = np.array(of_others).reshape(-1, len(seeds))
  weights = np.concatenate([np.zeros(len(others)), weights_P])
  return value, len(seeds), spread_of(weights, np.concatenate([y_JxS, y_PxS]))


def _on_line(rungs: Sequence[Rung], ladder: Sequence[Rung], rows: RowError | None) -> bool:
  """Whether the first rung's mean meets the line through the others; no for want of seeds."""
  x_P = np.log([r.flops for r in rungs])
  others_P = x_P[1:]
  of_line_P = 1 / len(others_P) + slope_weights(others_P) * (x_P[0] - others_P.mean())
  weights_P = np.concatenate([[1.0], -of_line_P])

  miss, seeds, spread = _contrast(weights_P, rungs, ladder, pooled_spread)
  if spread is None:
    return False
  rows_error = rows.of_contrast(rungs, weights_P) if rows else 0.0
  return abs(miss) <= half_width(spread, seeds, rows_error, ON_LINE)


def _chance(slope: Slope, last: Slope, delta: float, seeds: int, more_rows: float) -> float:
  """Chance that a repetition with so many seeds, and times the rows, settles the verdict.

  An approximation: the two slopes are taken for independent and normal, and the spread for known.
  """
  if slope.interval is None or last.interval is None:
    return 0.0
  error, half = _foreseen(slope, seeds, more_rows)
  last_error, last_half = _foreseen(last, seeds, more_rows)
  scaling = _below(-delta - half, slope.value, error) * _below(-last_half, last.value, last_error)
  saturated = 1 - _below(-delta + half, slope.value, error)
  return scaling + saturated


def _foreseen(slope: Slope, seeds: int, more_rows: float) -> tuple[float, float]:
  """(standard error, half of the interval) of a slope, had it so many seeds and times the rows."""
  rows_error = (slope.rows_error or 0.0) / math.sqrt(more_rows)
  freedom = slope.spread.freedom * (seeds - 1) // max(1, slope.seeds - 1)
  half = half_width(Spread(slope.spread.deviation, freedom), seeds, rows_error)
  return math.hypot(slope.spread.deviation / math.sqrt(seeds), rows_error), half


def _below(limit: float, mean: float, error: float) -> float:
  return statistics.NormalDist(mean, error).cdf(limit) if error else float(mean < limit)


def _fewest(numbers: Sequence[int], chance: Callable[[int], float]) -> int | None:
  """The first of `numbers`, rising, whose chance is enough."""
  return next((number for number in numbers if chance(number) >= POWER), None)


def _provisional(window: Sequence[Rung], missing: int) -> tuple[str, ...]:
  reasons = []
  if missing:
    reasons.append(f'{missing} trials of the study are missing')
  at_edge = [r.name for r in window if r.edge]
  if at_edge:
    reasons.append(f'the best learning rate is not bracketed at {", ".join(at_edge)}')
  return tuple(reasons)


def _leave_one_out(
  window: Sequence[Rung], ladder: Sequence[Rung], rows: RowError | None, delta: float
) -> dict[str, Call]:
  """The call without each rung in turn.

  The window is not extended downwards, which would ask another question.
  """
  rests = {left.name: [r for r in window if r is not left] for left in window}
  return {
    name: classify(slope_over(rest, ladder, rows).interval, delta)
    for name, rest in rests.items()
    if len({r.flops for r in rest}) > 1
  }


def _law(ladder: Sequence[Rung], rng: np.random.Generator, rows: RowError | None) -> dict:
  """The fields of a Verdict that the fitted law gives."""
  found = {
    'law': None,
    'aicc': {},
    'irreducible': None,
    'irreducible_interval': None,
    'exponent': None,
    'exponent_interval': None,
  }
  if not ladder:
    return found

  sizes = [r.flops for r in ladder]
  points = fit.gather_points(sizes, [r.metrics['test_logloss'] for r in ladder])
  laws = fit.fit_laws(points)
  law = fit.choose_law(laws, points)
  if law is None:
    return found

  found['law'] = law
  found['aicc'] = {name: fit.aicc(candidate, points) for name, candidate in laws.items()}
  levels, exponents = _bootstrap(rng, ladder, law, points, rows)
  if fit.has_asymptote(law):
    found['irreducible'] = float(law.asymptote)
    found['irreducible_interval'] = levels
  if law.identified:
    found['exponent'] = float(law.alpha)
    found['exponent_interval'] = exponents
  return found


def _bootstrap(
  rng: np.random.Generator,
  ladder: Sequence[Rung],
  law: fit.Law,
  points: fit.Points,
  rows: RowError | None,
) -> tuple[Interval, Interval]:
  """Intervals of the asymptote and the exponent of the law, each None where not identified."""
  seeds, y_PxS = paired(ladder, 'test_logloss')
  if len(seeds) < 2:
    return None, None
  means = fit.resample_means(rng, y_PxS, REPLICATES)
  if rows:
    means = means + fit.draw_normal(rng, rows.of_means(ladder), REPLICATES)
  refits = fit.fit_law(law.name, points.x_P, means, points.weight_P)
  levels = _quantiles(refits.asymptote, fit.has_asymptote(refits))
  return levels, _quantiles(refits.alpha, refits.identified)


def _quantiles(values: np.ndarray, known: np.ndarray) -> Interval:
  """The middle 95 % of the replicates, where 95 % of them identify the number."""
  if known.mean() < 0.95:
    return None
  low, high = np.quantile(values, (0.025, 0.975))
  return float(low), float(high)
