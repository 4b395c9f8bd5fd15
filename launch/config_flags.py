"""A flag for every setting of a run, made from rec_sparse/config.py and the files of the models."""

from collections.abc import Iterable, Sequence
import dataclasses
import itertools
from typing import Any

from absl import flags

from rec_sparse import config as config_lib
from rec_sparse import models
from rec_sparse import settings

Groups = dict[str, list[str]]  # title -> names of flags, for --help
OF_PROGRAM = ('data_fingerprint', 'init_from')  # settings that the program makes itself


def define(own: flags.FlagValues) -> Groups:
  """Defines the flags of all settings, those of the known models included."""
  starts = {first: title for title, first in config_lib.GROUPS.items()}
  groups: Groups = {}
  names: list[str] = []
  for field in dataclasses.fields(config_lib.Config):
    if field.name in starts:
      names = groups.setdefault(starts[field.name], [])
    if 'about' in field.metadata and field.name not in OF_PROGRAM:
      names.append(_define(own, field))
  for model in models.NAMES:
    groups |= define_options(own, model)
  return groups


def define_options(own: flags.FlagValues, model: str) -> Groups:
  """Defines the flags of a model's own options; models may share names."""
  names = [_define(own, field) for field in settings.options_of(model)]
  return {f'Options of {model}': names} if names else {}


def define_outside(own: flags.FlagValues, arguments: Sequence[str]) -> Groups:
  """Defines the options of the model that `arguments` name, where it lies outside the package."""
  named = ''
  for text, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=''):
    flag, equals, value = text.lstrip('-').partition('=')
    if flag == 'model' and text.startswith('-'):
      named = value if equals else following
  return define_options(own, named) if named and named not in models.NAMES else {}


def given(own: flags.FlagValues, model: str, set_: Iterable[str]) -> dict[str, Any]:
  """The typed settings that the command line names, by flags of their own or by --set.

  Raises ValueError naming the flag that is wrong for `model`, or given twice.
  """
  present = [name for name in _settings(own) if own[name].present]
  by_flag = _parse(model, [f'{name}={own[name].value}' for name in present], '--')
  by_set = _parse(model, set_, '--set ')
  for name in by_set:
    if name in OF_PROGRAM:
      raise ValueError(f'--set {name}={by_set[name]}: the program itself sets it')
    if name in by_flag:
      raise ValueError(f'--set {name}={by_set[name]}: --{name}={by_flag[name]} is given too')
  return by_flag | by_set


def _settings(own: flags.FlagValues) -> list[str]:
  """The flags that `define` and its like made, but for the model's name."""
  return [name for name in own if isinstance(own[name], _Setting) and name != 'model']


def _parse(model: str, texts: Iterable[str], prefix: str) -> dict[str, Any]:
  try:
    return settings.parse(model, texts)
  except ValueError as e:
    raise ValueError(f'{prefix}{e}') from None


class _Setting(flags.Flag):
  """A flag of a setting; its text is read when the model is known."""


def _define(own: flags.FlagValues, field: dataclasses.Field) -> str:
  """Defines the flag of a setting, if it is not there -> its name."""
  if field.name not in own:
    flag = _Setting(
      parser=flags.ArgumentParser(),
      serializer=flags.ArgumentSerializer(),
      name=field.name,
      default=_text(field.default),
      help_string=f'{config_lib.about(field).why} [{settings.expected(field)}]',
    )
    flags.DEFINE_flag(flag, own)
  return field.name


def _text(default: Any) -> str:
  """A default as the command line would have it."""
  if isinstance(default, tuple):
    return ','.join(map(str, default))
  return str(default).lower() if isinstance(default, bool) else str(default)
