"""Evaluates a checkpoint of a run, on one device whatever it was trained on; the last line is one
JSON object.

python -m launch.evaluate --run=runs/frappe_mlp --split=test
"""

import functools
import json
import pathlib

from absl import flags

from launch import main as main_lib
from rec_sparse import schema as schema_lib
from rec_sparse.runs import run_directory

FLAGS = flags.FlagValues()
_string, _enum = (
  functools.partial(define, flag_values=FLAGS)
  for define in (flags.DEFINE_string, flags.DEFINE_enum)
)
RUN = _string('run', None, 'Run directory, made by launch.train.', required=True)
DATA = _string('data', None, "Dataset directory; default: the run's own.")
SPLIT = _enum('split', 'test', list(schema_lib.SPLITS), 'Split to evaluate.')
CHECKPOINT = _string('checkpoint', 'best', 'best, last, or a step.')


def main() -> int:
  """Writes eval-<split>.json and prints it."""
  from rec_sparse import record

  # Here, so that --help and wrong flags answer before the rest is loaded.
  from rec_sparse.runs import evaluation

  directory = pathlib.Path(RUN.value)
  config, own = run_directory.read(directory)
  if not DATA.value and not (own / 'schema.json').is_file():
    raise ValueError(
      f'{own}: the data set that the run was trained on is not there; name its new '
      'place with --data'
    )
  schema = schema_lib.load_schema(DATA.value or own)
  if not DATA.value and schema.fingerprint != config.data_fingerprint:
    raise ValueError(
      f'{own}: is another data set than the one that the run was trained on; '
      'name it with --data to evaluate on it all the same'
    )
  found = evaluation.evaluate_run(
    directory, config, schema, pathlib.Path(DATA.value or own), SPLIT.value, CHECKPOINT.value
  )
  record.write_json(directory / f'eval-{SPLIT.value}.json', found)
  if (
    SPLIT.value == 'test'
    and CHECKPOINT.value == 'best'
    and schema.fingerprint == config.data_fingerprint
  ):
    evaluation.record_test(directory, found)
  main_lib.say(evaluation.undefined(schema, SPLIT.value))
  print(json.dumps(found, allow_nan=False))
  return 0


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS)


if __name__ == '__main__':
  run()
