"""What defines the flags of one program: absl's own functions, which no other program sees; and
what reads numbers from a flag.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

from absl import flags


class Definers(NamedTuple):
  """As flags.DEFINE_string and its like, without `flag_values`."""

  string: Callable[..., flags.FlagHolder]
  enum: Callable[..., flags.FlagHolder]
  boolean: Callable[..., flags.FlagHolder]
  integer: Callable[..., flags.FlagHolder]
  float: Callable[..., flags.FlagHolder]
  list: Callable[..., flags.FlagHolder]
  multi_string: Callable[..., flags.FlagHolder]


def into(own: flags.FlagValues) -> Definers:
  """Definers of the flags of `own`."""

  def of(define: Callable[..., flags.FlagHolder]) -> Callable[..., flags.FlagHolder]:
    return functools.partial(define, flag_values=own)

  return Definers(
    string=of(flags.DEFINE_string),
    enum=of(flags.DEFINE_enum),
    boolean=of(flags.DEFINE_boolean),
    integer=of(flags.DEFINE_integer),
    float=of(flags.DEFINE_float),
    list=of(flags.DEFINE_list),
    multi_string=of(flags.DEFINE_multi_string),
  )


def numbers(flag: flags.FlagHolder, kind: type) -> list:
  """The numbers of a list flag; raises ValueError when there is none, or another text."""
  try:
    found = [kind(text) for text in flag.value]
  except ValueError:
    found = []
  if not found:
    raise ValueError(f'--{flag.name}={",".join(flag.value)}: expected numbers separated by commas')
  return found
