"""The report in plain sentences: a reading of the verdicts, and all caveats of the study."""

import collections
from collections.abc import Mapping, Sequence
import math

from rec_sparse.report.reproduce import turned
from rec_sparse.scaling.compare import Comparison
from rec_sparse.scaling.records import Results
from rec_sparse.scaling.records import Rung
from rec_sparse.scaling.verdict import DELTA
from rec_sparse.scaling.verdict import Interval
from rec_sparse.scaling.verdict import Verdict

FEW_SEEDS = 5
FEW_RUNGS = 6  # that the method asks for
SHORT_LADDER = 1.5  # decades of FLOPs that it asks for
AXIS_NAMES = {
  'flops': 'equal forward FLOPs per example',
  'nonzero': 'equal non-zero dense parameters',
}


def reading(
  rungs: Mapping[str, Sequence[Rung]],
  verdicts: Mapping[str, Verdict],
  comparisons: Sequence[Comparison],
) -> str:
  """One paragraph: what each arm does at its top, and who leads the reference at equal cost."""
  reference = next((arm for arm in rungs if rungs[arm]), None)
  against = {}
  for comparison in comparisons:
    if comparison.first == reference and comparison.overall:
      against.setdefault(comparison.second, []).append(comparison)
  sure = [_arm_sentence(arm, v) for arm, v in verdicts.items() if v.call != 'undetermined']
  return ' '.join([*sure, *_open_sentences(verdicts), *map(_pair_sentence, against.values())])


def progress(results: Results) -> str:
  """How much of the grid has come back."""
  status_of = {t.run_id: t.status for t in results.trials}
  counts = collections.Counter(status_of.values())
  recorded = f'{results.recorded} of {results.expected} trials recorded'
  parts = [f'{recorded}: {counts["finished"]} finished']
  for status in ('diverged', 'failed'):
    if counts[status]:
      parts.append(f'{counts[status]} {status}')
  return ', '.join(parts)


def caveats(
  results: Results, rungs: Mapping[str, Sequence[Rung]], verdicts: Mapping[str, Verdict]
) -> list[str]:
  """What a reader must know before believing the verdicts, gravest first.

  Equal words on several arms are one.
  """
  by_text = {}
  for arm, own in rungs.items():
    for text in _arm_caveats(results, own, verdicts[arm]):
      by_text.setdefault(text, []).append(arm)
  by_arm = [f'{", ".join(arms)}: {text}' for text, arms in by_text.items()]
  return _missing(results) + by_arm + _design(results, rungs) + _chosen_delta(verdicts)


def _chosen_delta(verdicts: Mapping[str, Verdict]) -> list[str]:
  delta = next((v.delta for v in verdicts.values()), DELTA)
  if delta == DELTA:
    return []
  return [
    f'delta is {delta:g}, not the registered {DELTA:g}: was it chosen before the results were seen?'
  ]


def rows_text(v: Verdict) -> str:
  """The test rows that would settle a verdict, and with how many seeds; '' if unknown.

  The seeds are left out where they are the present ones.
  """
  return f'{v.rows_needed:,}{_with_seeds(v)}' if v.rows_needed else ''


def _with_seeds(v: Verdict) -> str:
  """How many seeds the needed rows go with, where these are not the present ones."""
  if v.rows_needed_seeds == v.slope.seeds:
    return ''
  return f' with {v.rows_needed_seeds} seeds'


def needed_text(v: Verdict) -> str:
  """What would settle an undetermined verdict, in a few words; '' if nothing is known to."""
  if v.call != 'undetermined' or v.slope.interval is None:
    return ''
  seeds = f'about {v.seeds_needed} seeds would settle it'
  rows = f'about {v.rows_needed or 0:,} test rows'
  if v.seeds_needed and v.rows_needed:  # then the rows go with the present seeds
    return f'{seeds}, or {rows}'
  if v.seeds_needed:
    return seeds
  if v.rows_needed:
    return f'no number of seeds would settle it on these rows; {rows}{_with_seeds(v)} would'
  if v.slope.rows_error is None:
    return 'no number of seeds would settle it'
  return 'no number of seeds or test rows would settle it'


def reconciled(rungs: Mapping[str, Sequence[Rung]], verdicts: Mapping[str, Verdict]) -> list[str]:
  """A sentence for each arm whose law and slope seem to say different things."""
  sentences = []
  for arm, v in verdicts.items():
    if v.law is None or not v.slope.rungs:
      continue
    top = next(r.flops for r in rungs[arm] if r.name == v.slope.rungs[-1])
    falls = signed(v.law.slope(top))
    if v.call == 'scaling' and v.irreducible is not None:
      sentences.append(
        f'{arm} keeps scaling on this ladder although its law has a floor: '
        f'at the largest size the law still falls by {falls} nats per e-fold, '
        'and will flatten beyond.'
      )
    if v.call == 'saturated' and v.law.name == 'power':
      sentences.append(
        f'{arm} is saturated although its law has no floor: '
        f'at the largest size that law falls by {falls} nats per e-fold, '
        f'against a delta of {v.delta:g}.'
      )
  return sentences


def interval_text(interval: Interval) -> str:
  """An interval in brackets, or why there is none."""
  if interval is None:
    return 'no interval: too few seeds'
  low, high = interval
  return f'[{signed(low)}, {signed(high)}]'


def signed(value: float) -> str:
  """A difference of log losses with its sign, to a tenth of the usual delta."""
  return f'{value:+.5f}'.replace('-', '\N{MINUS SIGN}')


def _arm_sentence(arm: str, v: Verdict) -> str:
  slope = v.slope
  if v.call == 'scaling':
    return (
      f'{arm} keeps scaling: each e-fold of forward FLOPs still buys {-slope.value:.5f} nats of '
      'test log loss.'
    )
  if v.call == 'saturated' and slope.interval[0] > 0:
    return (
      f'{arm} is saturated, and gets worse with size: each e-fold of forward FLOPs costs '
      f'{slope.value:.5f} nats.'
    )
  return f'{arm} is saturated: a gain of {v.delta:g} nats per e-fold of forward FLOPs is excluded.'


def _open_sentences(verdicts: Mapping[str, Verdict]) -> list[str]:
  """Arms that are undetermined for one and the same reason share a sentence."""
  by_reason = {}
  for arm, v in verdicts.items():
    if v.call == 'undetermined':
      by_reason.setdefault(v.reason, []).append(arm)
  sentences = []
  for reason, arms in by_reason.items():
    are = 'is' if len(arms) == 1 else 'are'
    sentence = f'{_listed(arms)} {are} undetermined: {reason}.'
    for arm in arms:
      needed = needed_text(verdicts[arm])
      if needed:
        sentence += f' For {arm}, {needed}.'
    sentences.append(sentence)
  return sentences


def _listed(words: Sequence[str]) -> str:
  *others, last = words
  if not others:
    return last
  return f'{", ".join(others)} and {last}'


def _pair_sentence(comparisons: Sequence[Comparison]) -> str:
  first = comparisons[0].first
  second = comparisons[0].second
  parts = [f'{_gap_words(c)} at {AXIS_NAMES[c.axis]}{_little_shared(c)}' for c in comparisons]
  said = ', and '.join(parts)
  return f'Against {first}, on average over the sizes that both reach, {second} is {said}.'


def _gap_words(c: Comparison) -> str:
  gap = c.overall
  if gap.interval is None:
    return f'{signed(gap.value)} nats away (one seed, so no interval)'
  if gap.interval[0] <= 0 <= gap.interval[1]:
    return 'not told apart'
  return f'{"better" if gap.value < 0 else "worse"} by {abs(gap.value):.5f} nats'


def _little_shared(c: Comparison) -> str:
  if c.overall.high < math.e * c.overall.low:
    return ' (less than one e-fold of sizes is shared)'
  return ''


def _missing(results: Results) -> list[str]:
  notes = []
  if results.missing:
    notes.append(
      f'The study is unfinished: {results.recorded} of {results.expected} trials have a '
      'record. Every verdict is provisional; the same launch.sweep command does what is missing.'
    )
  for split in ('valid', 'test'):
    if any(math.isnan(t.metrics.get(f'{split}_auc', 0.0)) for t in results.trials):
      notes.append(f'All labels of the {split} split are of one class, so its AUC is undefined.')
  bad = len({t.run_id for t in results.trials if t.status != 'finished'})
  if bad:
    notes.append(
      f'{bad} of {results.recorded} recorded trials did not finish; they are listed below with '
      'their errors.'
    )
  if results.strangers:
    notes.append(
      f'{len(results.strangers)} records in trials/ belong to no study of the directory and are '
      'left out.'
    )
  return notes


def _differing(results: Results) -> list[str]:
  """Fields of the config, beside the knobs, that are not those of the first trial everywhere."""
  names = set()
  for trial in results.trials:
    first = results.trials[0].config
    names |= {name for name, value in trial.config.items() if value != first.get(name)}
  return sorted(names - turned(results))


def _design(results: Results, rungs: Mapping[str, Sequence[Rung]]) -> list[str]:
  notes = []
  differing = _differing(results)
  if differing:
    notes.append(
      f'The trials differ in more than the grid: {", ".join(differing)}. The comparison is not '
      'like for like.'
    )
  if results.epochs > 1:
    notes.append(
      f'{results.epochs} passes over the data: click models overfit from the second pass on, the '
      'larger the more, so a plateau may be overfitting rather than want of capacity.'
    )
  if len(results.study.seeds) < FEW_SEEDS:
    notes.append(
      f'Few seeds ({len(results.study.seeds)}): the intervals are Student intervals, and wide for '
      f'that reason; {FEW_SEEDS} or more are advised.'
    )
  if not results.about.teacher:
    notes.append(
      'The data have no teacher: the irreducible log loss is unknown, and the fitted one cannot be '
      'checked.'
    )
  families = {(r.arm, r.shape) for own in rungs.values() for r in own}
  if len(families) > len({arm for arm, _ in families}):
    notes.append(
      'Several depths, numbers of views or the like: slope and law of an arm follow its '
      'efficient frontier, at each step of FLOPs the shape with the lowest validation log loss; '
      'other shapes are drawn faintly.'
    )
  return notes


def _arm_caveats(results: Results, rungs: Sequence[Rung], v: Verdict) -> list[str]:
  if not rungs:
    return ['no trial finished: nothing can be said.']
  return _of_rungs(results, rungs, v) + _of_verdict(results, v)


def _of_rungs(results: Results, rungs: Sequence[Rung], v: Verdict) -> list[str]:
  """Caveats of how an arm was tuned, and of its ladder."""
  notes = []
  if all(r.edge == 'only' for r in rungs):
    notes.append(
      'a single learning rate was tried; one fixed rate across sizes manufactures a plateau.'
    )
  elif v.rate_at_edge:
    ends = ', '.join(f'{r.name} ({r.edge}, {r.learning_rate:g})' for r in rungs if r.edge)
    notes.append(
      f'the best learning rate is not bracketed at {ends}. Such a rung may be under-tuned, and '
      'that can manufacture a plateau: widen the grid.'
    )
  uneven = [r.name for r in rungs if not r.full_grid]
  if uneven and not results.missing:
    notes.append(
      f'not every learning rate and seed of the study was asked for at {", ".join(uneven)}: the '
      'sizes are tuned with unequal effort.'
    )
  short = [r.name for r in rungs if len(r.seeds) < len(results.study.seeds)]
  if short:
    notes.append(
      f'seeds are missing at {", ".join(short)}; a mean over the seeds that finished may flatter '
      'the rung.'
    )
  if len(rungs) < FEW_RUNGS or math.log10(rungs[-1].flops / rungs[0].flops) < SHORT_LADDER:
    notes.append(
      f'a short ladder (the method asks for {FEW_RUNGS} sizes over {SHORT_LADDER} decades of '
      'FLOPs); even a dense model improves for a decade before it flattens.'
    )
  return notes


def _of_verdict(results: Results, v: Verdict) -> list[str]:
  """Caveats of what was found."""
  notes = []
  others = [
    f'{call} without {name}'
    for name, call in v.without_rung.items()
    if call not in (v.call, 'undetermined')
  ]
  if others and v.call != 'undetermined':
    notes.append(f'the verdict hangs on single rungs: it would be {", ".join(others)}.')
  highest = v.irreducible_interval[1] if v.irreducible_interval else math.inf
  if results.about.realised_logloss is not None and highest < results.about.realised_logloss:
    notes.append(
      'the fitted irreducible log loss lies below that of the teacher on the same '
      'test rows, where no model can be in expectation: the law extrapolates badly.'
    )
  if v.slope.interval and v.slope.rows_error is None:
    notes.append(
      'no logits of the test rows were kept, so its intervals hold the error over seeds '
      'alone and are too narrow; the launch.sweep command, given again, trains these '
      'trials once more and keeps them.'
    )
  return notes
