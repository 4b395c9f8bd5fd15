"""Whose a run directory is: its config, and where its data lie, written before anything else."""

import pathlib

from rec_sparse import config as config_lib
from rec_sparse import record


def check(config: config_lib.Config, out: pathlib.Path) -> None:
  """Raises ValueError unless `out` is free or this config's run directory."""
  path = out / 'config.json'
  if not path.exists():
    if out.exists() and any(out.iterdir()):
      raise ValueError(
        f'{out}: is not empty and holds no config.json, so it is not a run directory'
      )
    return
  differ = config_lib.differing(record.read_json(path), config_lib.to_raw(config))
  if differ:
    more = {'epochs', 'patience'} >= set(differ)
    hint = f' (with --init_from={out} it goes on there)' if more else ''
    raise ValueError(
      f'{out}: made with another config ({", ".join(differ)} differ); choose another --out{hint}'
    )


def write(config: config_lib.Config, data: pathlib.Path, out: pathlib.Path) -> None:
  """Makes `out` the run directory of this config."""
  out.mkdir(parents=True, exist_ok=True)
  record.write_json(out / 'data.json', {'data': str(data.resolve())})
  record.write_text(out / 'config.json', config_lib.to_json(config))
