"""A picture of the slopes: one interval per arm against the band of gains too small to matter."""

from collections.abc import Callable, Mapping
import html

from rec_sparse.report.chart import COLOURS
from rec_sparse.scaling.verdict import Verdict

# pixels
WIDTH = 860
LEFT = 150
RIGHT = 30
TOP = 34
STEP = 34


def draw_forest(verdicts: Mapping[str, Verdict]) -> str:
  """Inline SVG of the local slopes and their intervals; '' if no arm has a slope.

  -delta and 0 are marked. Text and lines take the page's own colours (`currentColor`), so the
  picture follows its light and dark dress.
  """
  known = {arm: v for arm, v in verdicts.items() if v.slope.value is not None}
  if not known:
    return ''
  delta = max(v.delta for v in known.values())
  ends = [-2 * delta, delta]
  for v in known.values():
    ends += v.slope.interval or [v.slope.value]
  low = min(ends)
  high = max(ends)

  def place(value: float) -> float:
    return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

  height = TOP + STEP * len(verdicts) + 8
  zero = place(0)
  edge = place(-delta)  # of the band of gains too small to matter
  parts = [
    f'<svg class="forest" viewBox="0 0 {WIDTH} {height}" role="img" '
    'aria-label="Slope of each arm and its interval">',
    f'<rect x="{edge:.1f}" y="{TOP - 6}" width="{max(zero - edge, 1):.1f}" '
    f'height="{height - TOP}" class="band"/>',
    f'<line x1="{zero:.1f}" x2="{zero:.1f}" y1="{TOP - 6}" y2="{height - 6}" class="zero"/>',
    f'<text x="{min(edge, zero - 8) - 8:.1f}" y="16" text-anchor="end">'
    '\N{LEFTWARDS ARROW} improves with size</text>',
    f'<text x="{zero:.1f}" y="16" text-anchor="middle">0</text>',
  ]
  for i, (arm, v) in enumerate(verdicts.items()):
    parts.append(_row(i, arm, v, TOP + STEP * i + STEP / 2, place))
  return ''.join([*parts, '</svg>'])


def _row(i: int, arm: str, v: Verdict, y: float, place: Callable[[float], float]) -> str:
  colour = COLOURS[i % len(COLOURS)]
  name = f'<text x="0" y="{y + 5:.1f}">{html.escape(arm)}</text>'
  if v.slope.value is None:
    why = html.escape(v.reason)
    return f'{name}<text x="{LEFT}" y="{y + 5:.1f}" class="none">no slope: {why}</text>'

  bar = ''
  if v.slope.interval:
    low, high = v.slope.interval
    bar = (
      f'<line x1="{place(low):.1f}" x2="{place(high):.1f}" y1="{y:.1f}" y2="{y:.1f}" '
      f'stroke="{colour}" stroke-width="5" stroke-linecap="round" opacity="0.55"/>'
    )
  dot = f'<circle cx="{place(v.slope.value):.1f}" cy="{y:.1f}" r="6" fill="{colour}"/>'
  return name + bar + dot
