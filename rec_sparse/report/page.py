"""The fragments of report.html.

Every text from a file is escaped, and nothing is fetched from anywhere.
"""

from collections.abc import Callable, Mapping, Sequence
import html
import math
import re

import numpy as np

from rec_sparse.report import wording
from rec_sparse.report.chart import COLOURS
from rec_sparse.report.chart import INK
from rec_sparse.report.chart import PAPER
from rec_sparse.report.forest import draw_forest
from rec_sparse.report.reproduce import commands
from rec_sparse.report.reproduce import shared_config
from rec_sparse.report.tables import axes_of
from rec_sparse.report.tables import columns_of
from rec_sparse.scaling.compare import Comparison
from rec_sparse.scaling.compare import Gap
from rec_sparse.scaling.records import in_short
from rec_sparse.scaling.records import Results
from rec_sparse.scaling.records import Rung
from rec_sparse.scaling.records import scale_of
from rec_sparse.scaling.verdict import Interval
from rec_sparse.scaling.verdict import Verdict

DASH = '\N{EN DASH}'


def fragments(
  results: Results,
  rungs: Mapping[str, Sequence[Rung]],
  verdicts: Mapping[str, Verdict],
  comparisons: Sequence[Comparison],
  svg: str,
  delta: float,
) -> dict[str, str]:
  """What report.html holds a place for, by name."""
  notes = wording.caveats(results, rungs, verdicts) or ['None that this program knows of.']
  return {
    'progress': html.escape(wording.progress(results)),
    'facts': _facts(results),
    'cards': ''.join(_card(i, arm, v) for i, (arm, v) in enumerate(verdicts.items())),
    'reading': html.escape(wording.reading(rungs, verdicts, comparisons)),
    'caveats': ''.join(f'<li>{html.escape(note)}</li>' for note in notes),
    'chart': embed_svg(svg),
    'forest': draw_forest(verdicts),
    'delta': f'{delta:g}',
    'verdicts': _verdict_table(verdicts),
    'laws': _law_table(results, verdicts),
    'reconciled': ' '.join(html.escape(text) for text in wording.reconciled(rungs, verdicts)),
    'comparisons': _comparison_table(comparisons),
    'points': _gap_table(comparisons),
    'rungs': _rung_table(rungs, verdicts),
    'unfinished': _unfinished_table(results),
    'commands': html.escape(commands(results, delta)),
    'config': _shared_config(results),
    'columns': _table(['column', 'meaning'], list(columns_of(rungs).items()), 2),
  }


def embed_svg(svg: str) -> str:
  """A matplotlib SVG as part of a page.

  It loses prolog, metadata and namespaces, and takes the page's own ink and paper.
  """
  svg = re.sub(r'<metadata>.*?</metadata>', '', svg[svg.index('<svg') :], flags=re.DOTALL)
  svg = re.sub(r' xmlns(:\w+)?="[^"]*"', '', svg)
  svg = re.sub(
    r'<svg width="[^"]*" height="[^"]*"',
    '<svg role="img" aria-label="Saturation chart"',
    svg,
    count=1,
  )
  return svg.replace(INK, 'var(--ink)').replace(PAPER, 'var(--paper)')


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
  """A table whose first `left` columns are words and the others numbers; cells are escaped."""

  def cell(tag: str, i: int, text: str) -> str:
    kind = ''
    if i >= left:
      kind = ' class=n'
    elif len(text) > 40:
      kind = ' class=long'
    return f'<{tag}{kind}>{html.escape(text)}</{tag}>'

  def line(tag: str, texts: Sequence[str]) -> str:
    cells = [cell(tag, i, text) for i, text in enumerate(texts)]
    return f'<tr>{"".join(cells)}</tr>'

  body = ''.join(line('td', row) for row in rows)
  return (
    f'<div class="scroll"><table><thead>{line("th", head)}</thead><tbody>{body}</tbody></table>'
    '</div>'
  )


def _facts(results: Results) -> str:
  facts = {
    'data': results.about.data,
    'fingerprint': results.about.data_fingerprint[:12],
    'passes': str(results.epochs),
    'seeds': str(len(results.study.seeds)),
    'learning rates': ', '.join(f'{r:g}' for r in results.study.learning_rates),
  }
  if results.about.realised_logloss is not None:
    facts["the teacher's log loss on these test rows"] = f'{results.about.realised_logloss:.5f}'
  if results.about.teacher:
    facts['expected of the teacher'] = f'{results.about.teacher.logloss:.5f}'
    facts['teacher AUC'] = f'{results.about.teacher.auc:.5f}'
  rate = results.about.test_base_rate
  if rate and 0 < rate < 1:
    entropy = -rate * math.log(rate) - (1 - rate) * math.log1p(-rate)
    facts['log loss of the base rate alone'] = f'{entropy:.5f}'
  devices = sorted({t.device for t in results.trials if t.device})
  if devices:
    facts['device'] = '; '.join(devices)
  return ''.join(
    f'<div><dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd></div>'
    for name, text in facts.items()
  )


def _card(i: int, arm: str, v: Verdict) -> str:
  slope = 'no slope'
  interval = v.reason
  if v.slope.value is not None:
    slope = f'{wording.signed(v.slope.value)} nats per e-fold'
    interval = wording.interval_text(v.slope.interval)

  lines = [f'<h3>{html.escape(arm)}</h3>', f'<p class="call">{v.call}</p>']
  for because in v.provisional:
    lines.append(f'<p class="soft">provisional: {html.escape(because)}</p>')
  lines.append(f'<p>{html.escape(slope)}</p>')
  lines.append(f'<p class="soft">{html.escape(interval)}</p>')
  needed = wording.needed_text(v)
  if needed:
    lines.append(f'<p>{html.escape(needed)}</p>')

  dress = 'provisional' if v.provisional else v.call
  colour = COLOURS[i % len(COLOURS)]
  return f'<div class="card {dress}" style="--arm:{colour}">{"".join(lines)}</div>'


def _verdict_table(verdicts: Mapping[str, Verdict]) -> str:
  head = [
    'arm',
    'verdict',
    'because',
    'slope',
    '95 % interval',
    'of the last segment alone',
    'seeds',
    'seeds to settle',
    'test rows to settle',
    'another delta',
    'sizes',
  ]
  rows = []
  for arm, v in verdicts.items():
    settled = v.call != 'undetermined'
    rows.append(
      [
        arm,
        f'{v.call}, provisional' if v.provisional else v.call,
        '; '.join([v.reason, *v.provisional]),
        _or_dash(v.slope.value, wording.signed),
        _range(v.slope.interval, '+.5f'),
        _range(v.last.interval, '+.5f'),
        str(v.slope.seeds),
        'settled' if settled else _or_dash(v.seeds_needed, str),
        'settled' if settled else wording.rows_text(v) or DASH,
        _other_delta(v.slope.interval),
        ', '.join(v.slope.rungs) or DASH,
      ]
    )
  return _table(head, rows, 3)


def _other_delta(interval: Interval) -> str:
  """For which delta the interval would have meant something definite."""
  if interval is None:
    return DASH
  low, high = interval
  saturated = f'saturated above {max(-low, 0):.5f}'
  if high >= 0:
    return saturated
  return f'scaling below {-high:.5f}, {saturated}'


def _law_table(results: Results, verdicts: Mapping[str, Verdict]) -> str:
  head = [
    'arm',
    'law preferred by AICc',
    'AICc ahead of the next',
    'exponent',
    'irreducible log loss',
    'above the teacher on these rows',
    'above its expectation',
    'error of predicting the largest size',
  ]
  rows = []
  expected = results.about.teacher.logloss if results.about.teacher else None
  for arm, v in verdicts.items():
    ahead = DASH
    ranks = sorted(v.aicc.values())
    if len(ranks) > 1 and math.isfinite(ranks[1]):
      ahead = f'{ranks[1] - ranks[0]:.1f}'
    error = DASH
    if v.holdout is not None:
      error = f'{wording.signed(v.holdout.predicted - v.holdout.observed)} at {v.holdout.rung}'
    rows.append(
      [
        arm,
        v.law.name if v.law else 'too few sizes',
        ahead,
        _estimate(v.exponent, v.exponent_interval, '.3f'),
        _estimate(v.irreducible, v.irreducible_interval, '.5f'),
        _excess(v.irreducible, results.about.realised_logloss),
        _excess(v.irreducible, expected),
        error,
      ]
    )
  return _table(head, rows, 2)


def _excess(irreducible: float | None, bound: float | None) -> str:
  if irreducible is None or bound is None:
    return DASH
  return wording.signed(irreducible - bound)


def _comparison_table(comparisons: Sequence[Comparison]) -> str:
  head = [
    'held equal',
    'difference of',
    'reading',
    'shared sizes',
    'mean over them',
    'at the largest of them',
  ]
  rows = []
  for c in sorted(comparisons, key=lambda c: c.axis):
    if c.overall is None:
      rows.append([*_names(c), 'no size, or no seed, in common', DASH, DASH, DASH])
      continue
    rows.append(
      [
        *_names(c),
        _better(c, c.overall),
        f'{_count(c.overall.low)} to {_count(c.overall.high)}',
        _gap_text(c.overall),
        _gap_text(c.points[-1]),
      ]
    )
  if not rows:
    return '<p>There are not two arms with finished trials to compare.</p>'
  return _table(head, rows, 3)


def _names(c: Comparison) -> list[str]:
  """What is held equal, and which arm is taken from which."""
  axis = wording.AXIS_NAMES[c.axis].removeprefix('equal ')
  return [axis, f'{c.second} \N{MINUS SIGN} {c.first}']


def _gap_text(gap: Gap) -> str:
  return f'{wording.signed(gap.value)} ({_range(gap.interval, "+.5f")})'


def _better(c: Comparison, gap: Gap) -> str:
  if gap.interval is None:
    return 'one seed: no interval'
  if gap.interval[0] <= 0 <= gap.interval[1]:
    return 'no difference resolved'
  return f'{c.second if gap.value < 0 else c.first} is better'


def _gap_table(comparisons: Sequence[Comparison]) -> str:
  rows = []
  for c in comparisons:
    for gap in c.points:
      numbers = [_count(gap.low), wording.signed(gap.value), _range(gap.interval, '+.5f')]
      rows.append([*_names(c), *numbers])
  return _table(['held equal', 'difference of', 'size', 'test log loss', '95 % interval'], rows, 2)


METRIC_WORDS = {
  'valid_logloss': 'valid log loss',
  'valid_auc': 'valid AUC',
  'test_logloss': 'test log loss',
  'test_auc': 'test AUC',
  'test_gauc_impressions': 'test GAUC by impressions',
  'test_gauc_users': 'test GAUC by users',
}


def _rung_table(rungs: Mapping[str, Sequence[Rung]], verdicts: Mapping[str, Verdict]) -> str:
  axes = axes_of(rungs)
  every = {name for own in rungs.values() for rung in own for name in rung.metrics}
  metrics = {name: words for name, words in METRIC_WORDS.items() if name in every}
  head = [
    'arm',
    *axes,
    'FLOPs / example',
    'non-zero dense',
    'all dense',
    'non-zero embedding',
    'learning rate',
    'seeds',
    *(f'{words} (sd)' for words in metrics.values()),
    'in the curve',
  ]
  rows = [
    [
      r.arm,
      *(str(r.scale.get(axis, DASH)) for axis in axes),
      _count(r.flops),
      _count(r.nonzero),
      _count(r.dense_params),
      _count(r.embedding_nonzero),
      f'{r.learning_rate:g}' + (f' ({r.edge})' if r.edge else ''),
      str(len(r.seeds)),
      *(_moments(r.metrics[m]) if m in r.metrics else DASH for m in metrics),
      'yes' if r.name in verdicts[r.arm].ladder else '',
    ]
    for own in rungs.values()
    for r in own
  ]
  return _table(head, rows, 1) if rows else '<p>No trial has finished.</p>'


def _unfinished_table(results: Results) -> str:
  bad = [t for t in results.trials if t.status != 'finished']
  arms = {arm.name: arm for arm in results.study.arms}
  rows = [
    [
      t.arm,
      in_short(scale_of(arms[t.arm], t)),
      t.status,
      t.error or 'no reason recorded',
      f'{t.learning_rate:g}',
      str(t.seed),
      t.run_id[:12],
    ]
    for t in bad
  ]
  table = _table(['arm', 'size', 'status', 'error', 'learning rate', 'seed', 'run id'], rows, 4)
  if not rows:
    return ''
  return f'<h2>Trials that did not finish</h2>{table}'


def _shared_config(results: Results) -> str:
  """Fields of the config that every trial shares, and the versions it ran with."""
  versions = {}
  for trial in results.trials:
    for name, version in trial.versions.items():
      versions.setdefault(name, set()).add(str(version))

  rows = [[name, str(value)] for name, value in shared_config(results).items()]
  for name in sorted(versions):
    rows.append([f'version of {name}', ', '.join(sorted(versions[name]))])
  if not rows:
    return '<p>No trial has a record yet.</p>'
  return _table(['setting', 'value'], rows, 2)


def _moments(values: np.ndarray) -> str:
  if np.isnan(values).any():
    return DASH
  if len(values) < 2:
    return f'{values.mean():.5f}'
  return f'{values.mean():.5f} ({values.std(ddof=1):.5f})'


def _count(value: float) -> str:
  """A count, to three figures beyond a million."""
  for unit, name in ((1e12, 'T'), (1e9, 'G'), (1e6, 'M')):
    if value >= unit:
      return f'{value / unit:.3g} {name}'
  return f'{value:,.0f}'.replace(',', '\N{NARROW NO-BREAK SPACE}')


def _range(interval: Interval, form: str) -> str:
  if interval is None:
    return DASH
  return ' to '.join(f'{end:{form}}'.replace('-', '\N{MINUS SIGN}') for end in interval)


def _estimate(value: float | None, interval: Interval, form: str) -> str:
  if value is None:
    return 'not identified'
  return f'{value:{form}}' + (f' ({_range(interval, form)})' if interval else '')


def _or_dash(value: float | None, text: Callable[[float], str]) -> str:
  return DASH if value is None else text(value)
