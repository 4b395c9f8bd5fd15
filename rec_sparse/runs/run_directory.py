"""Reads what launch.train wrote first into a run directory."""

import pathlib

from rec_sparse import config as config_lib
from rec_sparse import schema as schema_lib
from rec_sparse import settings


def read(directory: pathlib.Path, flag: str = 'run') -> tuple[config_lib.Config, pathlib.Path]:
  """(config, the data set that it was trained on).

  Raises ValueError naming the flag when there is no run or no checkpoint in it, or the file and the
  field when one of its files is damaged.
  """
  path = directory / 'config.json'
  if not path.is_file():
    raise ValueError(
      f'--{flag}={directory}: holds no config.json; is this a run directory made by launch.train?'
    )
  raw = schema_lib.read_json(path)
  try:
    config = settings.from_raw(raw)
  except ValueError as e:
    raise ValueError(f'{path}: {e}') from None
  data = directory / 'data.json'
  place = schema_lib.read_json(data).get('data')
  if not isinstance(place, str):
    raise ValueError(f'{data}: data is {place!r}, expected the path of a dataset directory')
  if not checkpoints(directory):
    raise ValueError(f'--{flag}={directory}: holds no checkpoint: {_why_none(directory)}')
  return config, pathlib.Path(place)


def checkpoints(directory: pathlib.Path) -> list[int]:
  """The steps whose checkpoints are kept, rising."""
  paths = (directory / 'checkpoints').glob('*')
  return sorted(int(path.name) for path in paths if path.name.isdecimal())


def _why_none(directory: pathlib.Path) -> str:
  path = directory / 'summary.json'
  error = schema_lib.read_json(path).get('error') if path.is_file() else None
  return (
    f'the run diverged before its first ({error})' if error else 'launch.train has saved none yet'
  )
