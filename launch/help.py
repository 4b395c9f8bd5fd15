"""What --help prints: every flag of a program with its default and why, by groups."""

from collections.abc import Mapping, Sequence
import textwrap

from absl import flags

WIDTH = 100  # columns
LEFT = 34  # of them for a flag and its default
_REPEATABLE = ';\n    repeat this option'  # absl adds it to flags that may be given several times


def text(about: str, own: flags.FlagValues, groups: Mapping[str, Sequence[str]]) -> str:
  """`about`, then the flags that no group has, then each group under its title."""
  grouped = {name for names in groups.values() for name in names}
  rest = sorted(name for name in own if name not in grouped)
  parts = [about.strip()]
  for title, names in ({'Flags': rest} | dict(groups)).items():
    lines = [_flag(own[name]) for name in names]
    parts.append('\n'.join([f'{title}:', *lines]))
  return '\n\n'.join(parts)


def _flag(flag: flags.Flag) -> str:
  """One flag; the help stands beside it, or below where it is long."""
  default = '' if flag.default in (None, [], '') else _default(flag)
  left = f'  --{flag.name}' + (f'={default}' if default else '')
  said = str(flag.help).partition(_REPEATABLE)[0]
  right = textwrap.wrap(said, WIDTH - LEFT)
  if len(left) >= LEFT:
    return '\n'.join([left, *(' ' * LEFT + line for line in right)])
  lines = [left.ljust(LEFT) + right[0], *(' ' * LEFT + line for line in right[1:])]
  return '\n'.join(lines)


def _default(flag: flags.Flag) -> str:
  if isinstance(flag.default, list):
    return ','.join(map(str, flag.default))
  return str(flag.default).lower() if isinstance(flag.default, bool) else str(flag.default)
