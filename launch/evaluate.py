"""Evaluates a checkpoint of a run, on one device whatever it was trained on; the last line is one
JSON object.

python -m launch.evaluate --run=runs/frappe_mlp --split=test
"""

import json
import pathlib

from absl import flags

from launch import flag_definers
from launch import main as main_lib
from rec_sparse import schema as schema_lib

FLAGS = flags.FlagValues()
define = flag_definers.into(FLAGS)
RUN = define.string('run', None, 'Run directory, made by launch.train.', required=True)
DATA = define.string('data', None, "Dataset directory; default: the run's own.")
SPLIT = define.enum('split', 'test', list(schema_lib.SPLITS), 'Split to evaluate.')
CHECKPOINT = define.string('checkpoint', 'best', 'best, last, or a step.')


def main() -> int:
  """Writes eval-<split>.json and prints it."""
  # Here, so that --help and wrong flags answer before jax is loaded.
  from rec_sparse import record
  from rec_sparse.runs import evaluation
  from rec_sparse.runs import trained as trained_lib

  directory = pathlib.Path(RUN.value)
  data = pathlib.Path(DATA.value) if DATA.value else None
  trained = trained_lib.restore(directory, CHECKPOINT.value, data)
  found = evaluation.evaluate_run(directory, trained, SPLIT.value)
  record.write_json(directory / f'eval-{SPLIT.value}.json', found)
  if (
    SPLIT.value == 'test'
    and CHECKPOINT.value == 'best'
    and trained.schema.fingerprint == trained.program.config.data_fingerprint
  ):
    evaluation.record_test(directory, found)
  main_lib.say(evaluation.undefined(trained.schema, SPLIT.value))
  print(json.dumps(found, allow_nan=False))
  return 0


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS)


if __name__ == '__main__':
  run()
