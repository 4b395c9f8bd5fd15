"""Reads what launch.train wrote first into a run directory."""

import json
import pathlib

from rec_sparse import config as config_lib


def read(directory: pathlib.Path) -> tuple[config_lib.Config, pathlib.Path]:
  """(config, the data set that it was trained on); raises ValueError naming --run when there is no run."""
  path = directory / 'config.json'
  if not path.is_file():
    raise ValueError(f'--run={directory}: holds no config.json; is this a run directory made by launch.train?')
  return config_lib.from_json(path.read_text()), pathlib.Path(json.loads((directory / 'data.json').read_text())['data'])
