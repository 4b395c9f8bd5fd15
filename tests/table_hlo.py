"""Reads compiled programs: which operations make something as large as a table, or talk between
devices.
"""

import math
import re

_RESULT = re.compile(r'= (?P<type>\(.*?\)|\S+) (?P<op>[a-z][\w-]*)\(')
_SHAPE = re.compile(r'\w+\[([\d,]+)\]')
_NO_NEW_BUFFER = {  # a fusion's own operations are in the text too
  'parameter',
  'get-tuple-element',
  'tuple',
  'while',
  'conditional',
  'call',
  'bitcast',
  'fusion',
  'scatter',
}
_COLLECTIVES = ('all-gather', 'all-reduce', 'all-to-all', 'reduce-scatter', 'collective-')


def elements(result_type: str) -> int:
  """Of the largest array in an HLO type."""
  return max(
    (math.prod(map(int, dims.split(','))) for dims in _SHAPE.findall(result_type)), default=1
  )


def operations(text: str) -> list[tuple[str, int, str]]:
  """(operation, elements of its result, line)."""
  found = ((_RESULT.search(line), line.strip()) for line in text.splitlines())
  return [(m['op'], elements(m['type']), line) for m, line in found if m]


def table_sized(text: str, table_elements: int) -> list[str]:
  """Operations whose result is as large as the table and that are not its update in place."""
  return [
    line
    for op, size, line in operations(text)
    if size >= table_elements and op not in _NO_NEW_BUFFER
  ]


def collectives(text: str) -> list[tuple[str, int]]:
  """(operation, elements of its result) of everything that crosses devices."""
  return [(op, size) for op, size, _ in operations(text) if op.startswith(_COLLECTIVES)]
