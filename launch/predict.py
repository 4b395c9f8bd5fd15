"""Scores raw rows, in order, with a run or an artifact; no label is needed, the last line is JSON.

python -m launch.predict --run=runs/first --input=today.csv --out=probabilities.csv
python -m launch.predict --artifact=served/first --input='today/*.parquet' --out=probabilities.csv
"""

import json
import pathlib

from absl import flags

from data_pipelines import prepare
from data_pipelines import raw
from launch import flag_definers
from launch import main as main_lib

FLAGS = flags.FlagValues()
define = flag_definers.into(FLAGS)
RUN = define.string('run', None, 'Run directory, made by launch.train.')
ARTIFACT = define.string('artifact', None, 'Directory made by launch.export, in place of --run.')
INPUT = define.list(
  'input',
  None,
  'Raw rows with the columns that the data set was made of: paths, directories of parts or globs; '
  'text may be compressed. Labels and other columns are not looked at.',
  required=True,
)
OUT = define.string(
  'out', None, 'CSV file to write, a column for each task; replaces what is there.', required=True
)
SOURCE = define.enum(
  'source',
  None,
  list(prepare.READERS),
  'What the rows are; default: parquet where a file is, else libfm where the data set was made of '
  'that, else csv.',
)
CHECKPOINT = define.string('checkpoint', 'best', 'Of --run: best, last, or a step.')
DATA = define.string(
  'data', None, "Of --run: dataset directory with its encoder; default: the run's own."
)


def main() -> int:
  """Writes the probabilities, then prints rows, rows a second, and shares of unknown values."""
  # Here, so that --help and wrong flags answer before jax is loaded.
  from data_pipelines import unlabelled
  from launch import progress
  from rec_sparse.serving import predict

  files = raw.expand(INPUT.value, 'input')
  out = pathlib.Path(OUT.value)
  predict.check_out(out, files)
  scorer = _scorer()
  rows = unlabelled.read(files, scorer.spec, SOURCE.value, scorer.made_from, 'input')
  with progress.rows('scoring') as told:
    found = predict.predict(scorer, rows, out, told)
  print(json.dumps({'out': str(out)} | scorer.about | found))
  return 0


def _scorer():
  from rec_sparse.runs import trained as trained_lib
  from rec_sparse.serving import scorer

  if bool(RUN.value) == bool(ARTIFACT.value):
    raise ValueError('give either --run or --artifact')
  if RUN.value:
    data = pathlib.Path(DATA.value) if DATA.value else None
    return scorer.of_run(trained_lib.restore(pathlib.Path(RUN.value), CHECKPOINT.value, data))
  for name in ('checkpoint', 'data'):
    if FLAGS[name].present:
      raise ValueError(f'--{name}: does not apply to --artifact')
  return scorer.of_artifact(pathlib.Path(ARTIFACT.value))


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS)


if __name__ == '__main__':
  run()
