"""Names and values, as text, TOML or JSON have them -> a typed config, with its model's options.

Stands above the models, so that the options of a model live in the model's file.
"""

from collections.abc import Callable, Iterable, Mapping
import copy
import dataclasses
import difflib
import json
import math
import typing
from typing import Any, Literal

from rec_sparse import models
from rec_sparse import typed
from rec_sparse.config import About
from rec_sparse.config import about
from rec_sparse.config import Config
from rec_sparse.config import flat

Settings = Mapping[str, dataclasses.Field]
KINDS = {bool: 'true or false', int: 'an integer', float: 'a finite number', str: 'text'}
PARTS = {int: 'integers', float: 'finite numbers', str: 'texts'}
KNOBS = ('width', 'depth', 'views')  # settings of scale, which a model may not have


def make(model: str, overrides: Mapping[str, Any] | None = None) -> Config:
  """The config of `model` with `overrides` (values already typed) by name, its options included.

  A form is resolved here: the config holds each setting that it stands for.
  Raises ValueError naming the field: unknown names list the nearest ones, values of another type
  or out of range say what is expected.
  """
  architecture = models.find(model)
  known = settable(model)
  typed_ = {}
  for name, value in (overrides or {}).items():
    typed_[name] = _typed(_known(known, name, model), value)

  given = architecture.forms.get(typed_.get('form'), {}) | typed_
  own = {field.name for field in dataclasses.fields(architecture.options)}
  options = architecture.options(**{k: v for k, v in given.items() if k in own})
  shared = {name: value for name, value in given.items() if name not in own}
  for knob in KNOBS:
    if knob not in architecture.knobs:  # else configs of one network would differ in it
      shared[knob] = 1

  config = Config(model=model, options=options, **shared)
  _check_decay(config)
  _check_sparsity(config)
  architecture.check(config)
  return config


def settable(model: str) -> Settings:
  """Name -> dataclass field of all that may be set for `model`: its options come last.

  Raises ValueError naming an option of the model that no text can set.
  """
  shared = [field for field in dataclasses.fields(Config) if 'about' in field.metadata]
  own = options_of(model)
  return {field.name: field for field in (*shared, *own) if field.name != 'model'}


def options_of(model: str) -> list[dataclasses.Field]:
  """The fields of a model's own options, each with its type itself where the file has its name.

  Raises ValueError naming one that is no `config.setting`, or of a type that no text stands for.
  """
  options = models.find(model).options
  types = typing.get_type_hints(options)
  fields = []
  for field in dataclasses.fields(options):
    field = copy.copy(field)
    field.type = types[field.name]
    _check_option(model, field)
    fields.append(field)
  return fields


def _check_option(model: str, field: dataclasses.Field) -> None:
  where = f'model {model!r}: option {field.name}'
  if 'about' not in field.metadata:
    raise ValueError(f'{where}: expected a rec_sparse.config.setting')
  if about(field).differs != 'no':
    raise ValueError(f'{where}: trials of one program cannot differ in options of a model')
  kind = field.type
  parts = set(typing.get_args(kind)) - {...}
  if typing.get_origin(kind) is tuple:
    is_known = len(parts) == 1 and parts <= PARTS.keys()
  else:
    is_known = typing.get_origin(kind) is Literal or kind in KINDS
  if not is_known:
    raise ValueError(
      f'{where}: type {kind} cannot be set by text; expected bool, int, float, str, a Literal, or '
      'tuple[int, ...], of float or str too'
    )


def parse(model: str, texts: Iterable[str]) -> dict[str, Any]:
  """['dropout=0.1', 'view_widths=128,64'] -> typed overrides.

  Raises ValueError naming the setting.
  """
  known = settable(model)
  parsed = {}
  for setting in texts:
    name, equals, text = setting.partition('=')
    if not equals:
      raise ValueError(f'{setting!r}: expected name=value')
    parsed[name] = _of_text(_known(known, name, model), text)
  return parsed


def _check_decay(config: Config) -> None:
  """Raises ValueError where a step would shrink all rows of the table to nothing."""
  share = config.learning_rate * config.table_learning_rate_ratio * config.table_weight_decay
  if config.table_decay_rows == 'all' and share >= 1:
    raise ValueError(
      f'table_weight_decay={config.table_weight_decay}: times the learning rate of the table it is '
      f'{share:g}, expected below 1'
    )


def _check_sparsity(config: Config) -> None:
  """Raises ValueError for a density without a rule, and for a rule whose steps do not follow."""
  if config.sparsity == 'none' and config.density < 1:
    raise ValueError(f'density={config.density:g}: needs a rule of sparsity, such as rigl')
  if config.table_sparsity == 'none' and config.table_density < 1:
    raise ValueError(
      f'table_density={config.table_density:g}: needs a rule of table_sparsity, such as dsl'
    )
  if config.table_sparsity != 'none' and config.clip_norm:
    raise ValueError(
      f'clip_norm={config.clip_norm:g}: with table_sparsity it would be of entries too that do not '
      'move; expected 0'
    )
  falls = config.sparsity in ('gradual', 'rewind') or config.table_sparsity == 'gradual'
  if falls and config.mask_from >= config.mask_until:
    raise ValueError(
      f'mask_from={config.mask_from:g}: expected below mask_until={config.mask_until:g}'
    )
  _check_mask_structure(config)


def _check_mask_structure(config: Config) -> None:
  """Raises ValueError for a structure without masks, and for groups that no whole N fits."""
  structure, group = config.mask_structure, config.mask_group
  if structure != 'none' and config.sparsity == 'none':
    raise ValueError(f'mask_structure={structure}: needs a rule of sparsity, such as rigl')
  if structure != 'n_m':
    return
  if config.density_by != 'uniform':
    raise ValueError('mask_structure=n_m: needs density_by=uniform, all groups keep as many inputs')
  kept = config.density * group
  if not math.isclose(kept, round(kept)) or not round(kept):
    raise ValueError(
      f'density={config.density:g}: times mask_group={group} it is {kept:g} inputs, '
      'expected a whole number with mask_structure=n_m'
    )


def from_json(text: str) -> Config:
  """Inverse of `config.to_json`; raises ValueError naming what is unknown, missing or wrong."""
  return from_raw(json.loads(text))


def from_raw(raw: Any) -> Config:
  """The config of a JSON value, otherwise as `from_json`."""
  if (
    not isinstance(raw, dict)
    or not isinstance(raw.get('model'), str)
    or not isinstance(raw.get('options'), dict)
  ):
    raise ValueError('not a config: expected an object with model and options')
  given = flat(raw)
  model = given.pop('model')
  missing = set(settable(model)) - set(given)
  if missing:
    raise ValueError(f'config lacks {", ".join(sorted(missing))}')
  return make(model, given)


def _known(known: Settings, name: str, model: str) -> dataclasses.Field:
  if name in known:
    return known[name]
  near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
  hint = f'did you mean {" or ".join(near)}?' if near else f'known: {", ".join(known)}'
  raise ValueError(f'{name}: {model} has no such field; {hint}')


def _of_text(field: dataclasses.Field, text: str) -> Any:
  return _read(field, typed.parse, text, text)


def _typed(field: dataclasses.Field, value: Any) -> Any:
  raw = list(value) if isinstance(value, tuple) else value
  return _read(field, typed.convert, raw, repr(value))


def _read(
  field: dataclasses.Field, convert: Callable[[type, Any], Any], given: Any, shown: str
) -> Any:
  """What `convert` makes of a given value, within the bounds of the field."""
  try:
    value = convert(field.type, given)
  except ValueError:
    raise ValueError(f'{field.name}={shown}: expected {expected(field)}') from None
  parts = value if isinstance(value, tuple) else (value,)
  if not all(_is_within(about(field), part) for part in parts):
    shown = ','.join(map(str, parts))
    raise ValueError(f'{field.name}={shown}: expected {expected(field)}')
  return value


def _is_within(bounds: About, value: Any) -> bool:
  if isinstance(value, str | bool):
    return True
  return (
    math.isfinite(value)
    and (bounds.least is None or value >= bounds.least)
    and (bounds.above is None or value > bounds.above)
    and (bounds.most is None or value <= bounds.most)
    and (bounds.below is None or value < bounds.below)
  )


def expected(field: dataclasses.Field) -> str:
  """What a setting takes, in words: 'a number of at least 0 and below 1'."""
  if typing.get_origin(field.type) is Literal:
    return f'one of {", ".join(typing.get_args(field.type))}'
  if typing.get_origin(field.type) is tuple:
    kind = f'{PARTS[typing.get_args(field.type)[0]]} separated by commas'
  else:
    kind = KINDS[field.type]

  bounds = about(field)
  limits = {
    'of at least': bounds.least,
    'above': bounds.above,
    'of at most': bounds.most,
    'below': bounds.below,
  }
  said = [f'{words} {limit}' for words, limit in limits.items() if limit is not None]
  return ' '.join([kind, ' and '.join(said)]).strip()
