"""Does an arm saturate or keep scaling? An equivalence test on the local slope, decided before the data (design, 5.4).

The slope is dL/dln(x), L the test log loss and x the forward FLOPs per example, over the top of the ladder. With a
smallest gain that matters, delta, set in advance:

  saturated     the 95 % interval of the slope includes 0 or lies above it, and its lower end is above -delta
  scaling       the interval lies wholly below -delta
  undetermined  anything else: noise cannot pass as a plateau
"""

from collections.abc import Sequence
import dataclasses
import math
import statistics
from typing import Literal

import numpy as np

from rec_sparse.scaling import fit
from rec_sparse.scaling.records import Rung, paired
from rec_sparse.scaling.student import Contrast, half_width, paired_contrast, slope_weights, student_quantile

DELTA = 1e-4  # smallest gain that matters, nats per e-fold of FLOPs, registered before any study was run
TOP_RUNGS = 3  # sizes that the local slope looks at, at least
TOP_SPAN = 1.0  # e-folds of FLOPs that they span, at least
REPLICATES = 1000  # bootstrap refits of the law
POWER = 0.8  # chance of a settled verdict that `seeds_needed` asks for
MOST_SEEDS = 1000  # beyond this, more seeds are no answer

Call = Literal['saturated', 'scaling', 'undetermined']
Interval = tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class Slope:
  """The local slope at the top of one arm's ladder."""

  rungs: tuple[str, ...]  # names of the rungs it looks at, by ascending FLOPs
  value: float | None  # nats per e-fold of FLOPs; None with fewer than 3 sizes
  interval: Interval  # 95 %, over seeds; None with one seed
  spread: float | None  # standard deviation of the slope of a single seed
  seeds: int  # seeds that every one of these rungs finished


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
  delta: float  # smallest gain that matters, nats per e-fold
  slope: Slope  # what the call rests on
  seeds_needed: int | None  # seeds for an 80 % chance to settle it; the present number if settled; None if unknowable
  law: fit.Law | None  # of test log loss against FLOPs, chosen by AICc; None with too few sizes
  aicc: dict[str, float]  # by law
  irreducible: float | None  # what the law tends to; None if it has no such term or is not identified
  irreducible_interval: Interval  # 95 %, bootstrap over seeds
  exponent: float | None  # of the law; None if not identified
  exponent_interval: Interval  # 95 %, bootstrap over seeds
  holdout: Holdout | None  # None with too few sizes
  without_rung: dict[str, Call]  # the call from the slope's other rungs, if one of them were dropped
  rate_at_edge: tuple[str, ...]  # rungs whose learning rate is not bracketed: such a rung may be under-tuned


def judge(rungs: Sequence[Rung], delta: float = DELTA, seed: int = 0) -> Verdict:
  """The verdict on one arm from its rungs, by ascending FLOPs; never raises for want of rungs or seeds.

  Every shape (width, depth, views) is a point of its own at its own forward FLOPs. A lower envelope over shapes would
  hide what is asked: it picks the luckiest shape at each size, it can only go down, so a rung that got worse with size
  would vanish from it, and an arm swept over more shapes would look better for that alone. A shape that wastes its
  FLOPs therefore counts against its arm; `without_rung` shows if the call hangs on it. `seed` feeds the bootstrap.
  """
  slope = local_slope(rungs)
  call = classify(slope.interval, delta)
  points = fit.gather_points([r.flops for r in rungs], [r.metrics['test_logloss'] for r in rungs]) if rungs else None
  laws = fit.fit_laws(points) if points else {}
  law = fit.choose_law(laws, points)
  bent = law is not None and bool(law.identified)
  level = law is not None and bool(fit.has_asymptote(law))
  level_interval, alpha_interval = _bootstrap(np.random.default_rng(seed), rungs, law, points) if law else (None, None)
  return Verdict(
      call=call, reason=_reason(slope, call, delta), delta=delta, slope=slope,
      seeds_needed=slope.seeds if call != 'undetermined' else seeds_needed(slope, delta), law=law,
      aicc={name: fit.aicc(candidate, points) for name, candidate in laws.items()},
      irreducible=float(law.asymptote) if level else None, irreducible_interval=level_interval if level else None,
      exponent=float(law.alpha) if bent else None, exponent_interval=alpha_interval if bent else None,
      holdout=hold_out(rungs),
      without_rung=_leave_one_out(top_of_ladder(rungs), delta),
      rate_at_edge=tuple(r.name for r in rungs if r.edge))


def top_of_ladder(rungs: Sequence[Rung]) -> Sequence[Rung]:
  """The last rungs by FLOPs: at least 3 sizes and one e-fold; none if there are not 3 sizes.

  With several depths two rungs may be all but equal in FLOPs, and a slope over next to no distance is noise.
  """
  for start in range(len(rungs) - TOP_RUNGS, -1, -1):
    x = np.log([r.flops for r in rungs[start:]])
    if len(np.unique(x)) >= TOP_RUNGS and (x[-1] - x[0] >= TOP_SPAN or start == 0):
      return rungs[start:]
  return ()


def local_slope(rungs: Sequence[Rung]) -> Slope:
  """The slope over the top of the ladder; no value if there are not 3 sizes."""
  top = top_of_ladder(rungs)
  return slope_over(top) if top else Slope((), None, None, None, 0)


def slope_over(rungs: Sequence[Rung]) -> Slope:
  """Least-squares slope of test log loss on ln FLOPs over rungs of two sizes or more, with its Student interval.

  Seeds are paired across rungs (same data order); only seeds that every rung finished count, if there are any.
  """
  names = tuple(r.name for r in rungs)
  weights = slope_weights(np.log([r.flops for r in rungs]))
  seeds, y_RxS = paired(rungs, 'test_logloss')
  if not seeds:
    means = np.array([r.metrics['test_logloss'].mean() for r in rungs])
    return Slope(names, float(means @ weights), None, None, 0)
  contrast = paired_contrast(weights, y_RxS)
  interval = contrast_interval(contrast, len(seeds))
  return Slope(names, float(contrast.value), interval, float(contrast.spread) if interval else None, len(seeds))


def contrast_interval(contrast: Contrast, seeds: int) -> Interval:
  """The 95 % interval of one contrast; None where the seeds do not tell."""
  half = float(half_width(contrast.spread, contrast.freedom, seeds))
  return None if math.isnan(half) else (float(contrast.value) - half, float(contrast.value) + half)


def classify(interval: Interval, delta: float) -> Call:
  """The equivalence test; zero is met up to rounding error."""
  if interval is None:
    return 'undetermined'
  low, high = interval
  if high < -delta:
    return 'scaling'
  return 'saturated' if low > -delta and high >= -1e-6 * delta else 'undetermined'


def seeds_needed(slope: Slope, delta: float) -> int | None:
  """Fewest seeds, more than now, that settle the verdict with a chance of 80 %, were slope and spread the truth.

  None if that cannot be known (no spread), or if 1,000 seeds would not do: a slope between -delta and 0 is neither.
  """
  if slope.interval is None:
    return None
  normal = statistics.NormalDist()
  for seeds in range(slope.seeds + 1, MOST_SEEDS + 1):
    error = slope.spread / math.sqrt(seeds)
    half = student_quantile(0.975, (len(slope.rungs) - 1) * (seeds - 1)) * error
    if error == 0:
      return None
    scaling = normal.cdf((-delta - half - slope.value) / error)
    saturated = 1 - normal.cdf((max(half - delta, -half) - slope.value) / error)
    if scaling + saturated >= POWER:
      return seeds
  return None


def hold_out(rungs: Sequence[Rung]) -> Holdout | None:
  """Fits the rungs below the largest and predicts it; None if they are too few for any law."""
  smaller = [r for r in rungs if r.flops < rungs[-1].flops]  # empty for no rungs
  if len({r.flops for r in smaller}) < fit.enough_sizes(fit.LAWS[0]):
    return None
  points = fit.gather_points([r.flops for r in smaller], [r.metrics['test_logloss'] for r in smaller])
  law = fit.choose_law(fit.fit_laws(points), points)
  last = rungs[-1]
  return Holdout(last.name, law.name, float(law(last.flops)), float(last.metrics['test_logloss'].mean()))


def _bootstrap(rng: np.random.Generator, rungs: Sequence[Rung], law: fit.Law,
               points: fit.Points) -> tuple[Interval, Interval]:
  """Intervals of the asymptote and the exponent of the chosen law; None where the seeds do not identify them."""
  seeds, y_RxS = paired(rungs, 'test_logloss')
  if len(seeds) < 2:
    return None, None
  refits = fit.fit_law(law.name, points.x_R, fit.resample_means(rng, y_RxS, REPLICATES), points.weight_R)
  return tuple(tuple(map(float, np.quantile(values, (0.025, 0.975)))) if known.mean() >= 0.95 else None
               for values, known in ((refits.asymptote, fit.has_asymptote(refits)), (refits.alpha, refits.identified)))


def _leave_one_out(top: Sequence[Rung], delta: float) -> dict[str, Call]:
  """The call without each rung in turn; the ladder is not extended downwards, which would ask another question."""
  rests = {left.name: [r for r in top if r is not left] for left in top}
  return {name: classify(slope_over(rest).interval, delta) for name, rest in rests.items()
          if len({r.flops for r in rest}) > 1}


def _reason(slope: Slope, call: Call, delta: float) -> str:
  if slope.value is None:
    return f'fewer than {TOP_RUNGS} sizes have finished trials'
  if slope.interval is None:
    return f'{slope.seeds} seed finished every one of the largest rungs, and a spread takes two'
  low, high = slope.interval
  if call == 'scaling':
    return 'the whole interval of the slope is below \N{MINUS SIGN}delta'
  if call == 'saturated':
    return 'the slope is above 0: larger is worse' if low > 0 else 'the interval holds 0 and excludes a gain of delta'
  if low > -delta:
    return 'a gain that is not zero, yet smaller than delta: more seeds do not change that'
  return 'the interval holds gains above and below delta: too wide to tell'
