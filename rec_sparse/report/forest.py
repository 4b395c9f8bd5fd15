"""A picture of the slopes: one interval per arm against the band of gains too small to matter."""

from collections.abc import Callable, Mapping
import html

from rec_sparse.report.chart import COLOURS
from rec_sparse.scaling.verdict import Verdict

WIDTH, LEFT, RIGHT, TOP, STEP = 860, 150, 30, 34, 34  # pixels


def draw_forest(verdicts: Mapping[str, Verdict]) -> str:
  """Inline SVG of the local slopes and their intervals, with -delta and 0 marked; '' if no arm has
  a slope.

  Text and lines take the page's own colours (`currentColor`), so the picture follows its light and
  dark dress.
  """
  known = {arm: v for arm, v in verdicts.items() if v.slope.value is not None}
  if not known:
    return ''
  delta = max(v.delta for v in known.values())
  ends = [end for v in known.values() for end in (v.slope.interval or (v.slope.value,) * 2)] + [
    -2 * delta,
    delta,
  ]
  low, high = min(ends), max(ends)

  def place(value: float) -> float:
    return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

  height = TOP + STEP * len(verdicts) + 8
  rows = [
    _row(i, arm, v, TOP + STEP * i + STEP / 2, place) for i, (arm, v) in enumerate(verdicts.items())
  ]
  return ''.join(
    [
      f'<svg class="forest" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Slope of each arm and its interval">',
      f'<rect x="{place(-delta):.1f}" y="{TOP - 6}" width="{max(place(0) - place(-delta), 1):.1f}" '
      f'height="{height - TOP}" class="band"/>',
      f'<line x1="{place(0):.1f}" x2="{place(0):.1f}" y1="{TOP - 6}" y2="{height - 6}" class="zero"/>',
      f'<text x="{min(place(-delta), place(0) - 8) - 8:.1f}" y="16" text-anchor="end">'
      '\N{LEFTWARDS ARROW} improves with size</text>',
      f'<text x="{place(0):.1f}" y="16" text-anchor="middle">0</text>',
      *rows,
      '</svg>',
    ]
  )


def _row(i: int, arm: str, v: Verdict, y: float, place: Callable[[float], float]) -> str:
  colour = COLOURS[i % len(COLOURS)]
  name = f'<text x="0" y="{y + 5:.1f}">{html.escape(arm)}</text>'
  if v.slope.value is None:
    return (
      name
      + f'<text x="{LEFT}" y="{y + 5:.1f}" class="none">no slope: {html.escape(v.reason)}</text>'
    )
  bar = ''
  if v.slope.interval:
    left, right = (place(end) for end in v.slope.interval)
    bar = (
      f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-width="5" '
      'stroke-linecap="round" opacity="0.55"/>'
    )
  return (
    name + bar + f'<circle cx="{place(v.slope.value):.1f}" cy="{y:.1f}" r="6" fill="{colour}"/>'
  )
