"""Values of JSON and TOML as frozen dataclasses, by pydantic; what does not fit is one sentence."""

import dataclasses
import functools
import json
import typing
from typing import Any, TypeVar

import pydantic

Kind = TypeVar('Kind')
Path = tuple[str | int, ...]  # names of entries and places in lists, from the outside inwards


def convert(kind: type[Kind], raw: Any) -> Kind:
  """`raw`, as JSON or TOML has it, as a `kind`: a dataclass, or the type of an entry of one.

  Nothing is coerced, but an integer will do for a float and a list for a tuple.
  Raises ValueError naming the first entry that is missing, unknown or of another type, with what
  was expected and what is there.
  """
  try:
    value = _adapter(kind).validate_json(json.dumps(raw, default=str), strict=True)
  except pydantic.ValidationError as e:
    raise ValueError(_sentence(raw, e)) from None
  unknown = _unknown(raw, value, ())
  if unknown:
    raise ValueError(f'{_in_words(unknown)}: unknown entry')
  return value


def parse(kind: type[Kind], text: str) -> Kind:
  """`text`, as a flag has it, as a `kind`; the parts of a tuple are separated by commas.

  Raises ValueError when it is none.
  """
  given: Any = text
  if typing.get_origin(kind) is tuple:
    given = [part for part in text.split(',') if part]
  return _adapter(kind).validate_python(given)  # pydantic's ValidationError is a ValueError


@functools.cache
def _adapter(kind: type[Kind]) -> pydantic.TypeAdapter[Kind]:
  return pydantic.TypeAdapter(kind)


def _sentence(raw: Any, e: pydantic.ValidationError) -> str:
  """The deepest place that does not fit; of a union, what its members expect."""
  errors = e.errors(include_url=False)
  first = max(errors, key=lambda error: len(_place(raw, error['loc'])))
  where = _place(raw, first['loc'])
  if first['type'] == 'missing':
    return f'{_in_words((*where, first["loc"][-1]))}: missing'

  alike = [error['msg'] for error in errors if _place(raw, error['loc']) == where]
  expected = ' or '.join(dict.fromkeys(said.removeprefix('Input should be ') for said in alike))
  return f'{_in_words(where)}: expected {expected}, got {first["input"]!r:.60}'.removeprefix(': ')


def _place(raw: Any, location: Path) -> Path:
  """A location without the names that pydantic gives to members of unions."""
  place: Path = ()
  for part in location:
    if isinstance(raw, dict) and part in raw or isinstance(raw, list) and isinstance(part, int):
      place = (*place, part)
      raw = raw[part]
  return place


def _unknown(raw: Any, value: Any, path: Path) -> Path:
  """The path of the first entry of `raw` that the dataclasses of `value` lack; () if there is none.

  pydantic passes over them, unless each dataclass says otherwise.
  """
  if dataclasses.is_dataclass(value):
    known = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    for name in raw:
      if name not in known:
        return (*path, name)
  elif isinstance(value, dict):
    known = value
  elif isinstance(value, tuple | list):
    known = dict(enumerate(value))
  else:
    return ()
  for name, part in known.items():
    if isinstance(raw, list) or name in raw:
      found = _unknown(raw[name], part, (*path, name))
      if found:
        return found
  return ()


def _in_words(path: Path) -> str:
  """('fields', 0, 'name') -> fields[0].name."""
  parts = [f'[{part}]' if isinstance(part, int) else f'.{part}' for part in path]
  return ''.join(parts).removeprefix('.')
