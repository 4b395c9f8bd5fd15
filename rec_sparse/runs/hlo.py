"""Reads the text of compiled programs: what talks between devices, and how much of it."""

import math
import re
from typing import NamedTuple

_RESULT = re.compile(r'= (?P<type>\(.*?\)|\S+) (?P<op>[a-z][\w-]*)\(')
_SHAPE = re.compile(r'(?P<dtype>[a-z]\w*)\[(?P<dims>[\d,]*)\]')
_BITS = re.compile(r'\d+')
COLLECTIVES = ('all-gather', 'all-reduce', 'all-to-all', 'reduce-scatter', 'collective-')


class Operation(NamedTuple):
  """An operation of a program."""

  name: str  # such as all-gather
  elements: int  # of the largest array of its result
  size: int  # bytes of its whole result
  line: str


def operations(text: str) -> list[Operation]:
  """Every operation of a program, those inside of fusions too."""
  found = []
  for line in text.splitlines():
    match = _RESULT.search(line)
    if match:
      shapes = _SHAPE.findall(match['type'])
      elements = [math.prod(int(dim) for dim in dims.split(',') if dim) for _, dims in shapes]
      sizes = [_bytes(dtype) * count for (dtype, _), count in zip(shapes, elements, strict=True)]
      found.append(Operation(match['op'], max(elements, default=1), sum(sizes), line.strip()))
  return found


def collectives(text: str) -> list[Operation]:
  """Everything that crosses devices; of what is started and awaited apart, the start."""
  return [
    operation
    for operation in operations(text)
    if operation.name.startswith(COLLECTIVES) and not operation.name.endswith('-done')
  ]


def fusions(text: str) -> int:
  """Fusions of a program: kernels of a GPU, but for those of libraries."""
  return sum(operation.name == 'fusion' for operation in operations(text))


def _bytes(dtype: str) -> int:
  """Of a number: f32 -> 4, pred -> 1."""
  bits = _BITS.search(dtype)
  return max(int(bits[0]) // 8, 1) if bits else 1
