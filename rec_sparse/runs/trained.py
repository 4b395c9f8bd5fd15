"""The network of a run, restored on the first device beside a data set that it fits."""

import pathlib
from typing import NamedTuple

from rec_sparse import checkpoint
from rec_sparse import config as config_lib
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse.runs import identity
from rec_sparse.runs import run_directory


class Trained(NamedTuple):
  """A run at one of its checkpoints."""

  program: train.Program
  state: train.TrainState  # without what its optimizer keeps
  step: int
  schema: schema_lib.FeatureSchema
  data: pathlib.Path  # the data set of the schema


def restore(directory: pathlib.Path, which: str, data: pathlib.Path | None) -> Trained:
  """The run at its checkpoint 'best', 'last' or a step, with `data` (None: its own).

  Raises ValueError when there is no such run or checkpoint, when its own data are not where they
  were, or when `data` are encoded otherwise.
  """
  config, own = run_directory.read(directory)
  schema = _own(config, own) if data is None else schema_lib.load_schema(data)
  data = data or own
  program = train.program(config, schema)
  with checkpoint.manager(directory, read_only=True) as manager:
    step = checkpoint.choose(manager, which)
    identity.check(checkpoint.read_metadata(manager, step), schema, data, own)
    state = checkpoint.restore_model(manager, step, program, train.abstract_state(program, schema))
  return Trained(program, state, step, schema, data)


def _own(config: config_lib.Config, own: pathlib.Path) -> schema_lib.FeatureSchema:
  """The schema of the data that the run was trained on."""
  if not (own / 'schema.json').is_file():
    raise ValueError(
      f'{own}: the data set that the run was trained on is not there; name its new '
      'place with --data'
    )
  schema = schema_lib.load_schema(own)
  if schema.fingerprint != config.data_fingerprint:
    raise ValueError(
      f'{own}: is another data set than the one that the run was trained on; '
      'name it with --data to use it all the same'
    )
  return schema
