"""Reads a study directory and writes what its studies say, finished or not.

Of arms with a ladder: report.html, saturation.svg, saturation.png, curves.csv, verdicts.json. Of
arms of one size, once all of their trials are there: <study>.md, <study>.png and <study>.json.

python -m launch.report --study=studies/teacher
"""

import math

from absl import flags

from launch import flag_definers
from launch import main as main_lib
from rec_sparse.report import comparison
from rec_sparse.report import files
from rec_sparse.report import tables
from rec_sparse.report import wording
from rec_sparse.scaling import records
from rec_sparse.scaling import row_error
from rec_sparse.scaling import verdict

FLAGS = flags.FlagValues()
define = flag_definers.into(FLAGS)
STUDY = define.string(
  'study',
  None,
  'Study directory, made by launch.sweep; finished or not.',
  required=True,
)
DELTA = define.float(
  'delta',
  verdict.DELTA,
  'Smallest gain that matters: nats of test log loss per e-fold of forward FLOPs.',
)


def main() -> None:
  """Writes and prints tables and verdicts; the path of report.html, if there is one, comes last."""
  if not 0 < DELTA.value < math.inf:
    raise ValueError(f'--delta={DELTA.value}: expected a number above 0')
  studies = records.read_results(STUDY.value)
  for results in studies:
    if results.study.singles:
      _compare_arms(records.only(results, results.study.singles))
  for results in studies:
    if results.study.ladders:
      _judge_arms(records.only(results, results.study.ladders))


def _compare_arms(results: records.Results) -> None:
  """Writes table and picture of arms of one size."""
  if results.missing:
    print(
      f'{results.study.name}: {results.missing} of {results.expected} trials are missing, so there '
      'is no table; the same launch.sweep command does what is missing'
    )
    return
  written = comparison.make_table(results)
  files.replace_files(results.directory, written)
  print(written[f'{results.study.name}.md'].decode())
  for name in written:
    print(f'wrote {results.directory / name}')


def _judge_arms(results: records.Results) -> None:
  """Writes the report on arms with ladders."""
  rungs = records.rungs_by_arm(results)
  rows = row_error.read_row_error(results, [rung for own in rungs.values() for rung in own])
  verdicts = {
    arm: verdict.judge(own, DELTA.value, rows=rows, missing=results.missing)
    for arm, own in rungs.items()
  }
  report = files.make_report(results, rungs, verdicts, rows, DELTA.value)
  files.replace_files(results.directory, report)
  print(wording.progress(results))
  print(tables.verdict_table(verdicts))
  print(results.directory / 'report.html')


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS)


if __name__ == '__main__':
  run()
