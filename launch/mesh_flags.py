"""The flags by which a program is told of its devices."""

from collections.abc import Sequence

from absl import flags

from launch import flag_definers


def define_lookup(own: flags.FlagValues) -> flags.FlagHolder:
  """The flag --lookup."""
  return flag_definers.into(own).enum(
    'lookup',
    None,
    ['reduce_scatter', 'all_to_all'],
    'How table rows travel between devices; default: all_to_all on TPUs, else reduce_scatter.',
  )


def define_layout(own: flags.FlagValues) -> flags.FlagHolder:
  """The flag --layout."""
  return flag_definers.into(own).enum(
    'layout',
    None,
    ['rows', 'packed'],
    'How table rows lie in memory: each by itself, or several in one of 128 lanes; default: packed '
    'on TPUs, else rows.',
  )


def sizes(mesh: Sequence[str], devices: int) -> tuple[int, int]:
  """(data, model) that --mesh names, which has its parts as text; none: all devices over data.

  Raises ValueError when it is no mesh.
  """
  texts = mesh or [str(devices)]
  if len(texts) > 2 or not all(text.isdecimal() and int(text) for text in texts):
    raise ValueError(f'--mesh={",".join(texts)}: expected data or data,model, such as 4,2')
  data, model = map(int, (*texts, 1)[:2])
  return data, model
