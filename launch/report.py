"""Reads a study and writes what it says: report.html, saturation.svg, saturation.png, curves.csv,
verdicts.json.

python -m launch.report --study=studies/teacher
"""

import math

from absl import flags

from launch import main as main_lib
from rec_sparse.report import files
from rec_sparse.report import tables
from rec_sparse.report import wording
from rec_sparse.scaling import records
from rec_sparse.scaling import row_error
from rec_sparse.scaling import verdict

FLAGS = flags.FlagValues()
STUDY = flags.DEFINE_string(
  'study',
  None,
  'Study directory, made by launch.sweep; finished or not.',
  required=True,
  flag_values=FLAGS,
)
DELTA = flags.DEFINE_float(
  'delta',
  verdict.DELTA,
  'Smallest gain that matters: nats of test log loss per e-fold of forward FLOPs.',
  flag_values=FLAGS,
)


def main() -> None:
  """Writes the report, prints the verdicts, and the path of report.html as the last line."""
  if not 0 < DELTA.value < math.inf:
    raise ValueError(f'--delta={DELTA.value}: expected a number above 0')
  study = records.read_study(STUDY.value)
  rungs = records.rungs_by_arm(study)
  rows = row_error.read_row_error(study, [rung for own in rungs.values() for rung in own])
  missing = len(study.expected) - len(study.trials)
  verdicts = {
    arm: verdict.judge(own, DELTA.value, rows=rows, missing=missing) for arm, own in rungs.items()
  }
  files.replace_files(study.directory, files.make_report(study, rungs, verdicts, rows, DELTA.value))
  print(wording.progress(study))
  print(tables.verdict_table(verdicts))
  print(study.directory / 'report.html')


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS)


if __name__ == '__main__':
  run()
