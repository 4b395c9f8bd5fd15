"""Reads a study and writes what it says: report.html, saturation.svg, saturation.png, curves.csv,
verdicts.json.

python -m launch.report --study=studies/teacher
"""

from collections.abc import Mapping
import math
import os
import pathlib
import string

from absl import flags

from launch import main as main_lib
from rec_sparse.scaling import chart
from rec_sparse.scaling import compare
from rec_sparse.scaling import page
from rec_sparse.scaling import records
from rec_sparse.scaling import row_error
from rec_sparse.scaling import tables
from rec_sparse.scaling import verdict
from rec_sparse.scaling import wording

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
  replace_files(study.directory, make_report(study, rungs, verdicts, rows, DELTA.value))
  print(wording.progress(study))
  print(verdict_table(verdicts))
  print(study.directory / 'report.html')


def make_report(
  study: records.Study,
  rungs: Mapping[str, tuple[records.Rung, ...]],
  verdicts: Mapping[str, verdict.Verdict],
  rows: row_error.RowError | None,
  delta: float,
) -> dict[str, bytes]:
  """The files of the report by name; report.html is the last."""
  figure = chart.draw_chart(rungs, verdicts, bounds(study))
  svg = chart.figure_svg(figure)
  template = string.Template(
    pathlib.Path(__file__).with_name('report.html').read_text(encoding='utf-8')
  )
  fragments = page.fragments(study, rungs, verdicts, compare.compare_arms(rungs, rows), svg, delta)
  return {
    'saturation.svg': svg.encode(),
    'saturation.png': chart.figure_png(figure),
    'curves.csv': tables.curves_csv(study, rungs).encode(),
    'verdicts.json': tables.verdicts_json(verdicts).encode(),
    'report.html': template.substitute(fragments).encode(),
  }


def bounds(study: records.Study) -> dict[str, chart.Bound]:
  """What no model passes, by metric: of the teacher, on the very test rows where that is known."""
  if study.teacher is None:
    return {}
  logloss = chart.Bound('irreducible log loss, expected', study.teacher.logloss)
  if study.realised is not None:
    logloss = chart.Bound("the teacher's log loss on these rows", study.realised)
  return {'test_logloss': logloss, 'test_auc': chart.Bound('AUC of the teacher', study.teacher.auc)}


def replace_files(directory: pathlib.Path, files: Mapping[str, bytes]) -> None:
  """Writes all files under temporary names, then renames: a full disk leaves the last report whole.

  Raises ValueError, naming the directory, when it cannot be written.
  """
  temporary = {name: directory / f'.{name}.{os.getpid()}.tmp' for name in files}
  try:
    for name, content in files.items():
      temporary[name].write_bytes(content)
    for name, path in temporary.items():
      os.replace(path, directory / name)
  except OSError as e:
    raise ValueError(f'{directory}: the report cannot be written ({e.strerror})') from None
  finally:
    for path in temporary.values():
      path.unlink(missing_ok=True)


def verdict_table(verdicts: Mapping[str, verdict.Verdict]) -> str:
  """One line per arm for the terminal."""
  rows = [('arm', 'verdict', 'slope (nats per e-fold)', '95 % interval', 'to settle it')]
  for arm, v in verdicts.items():
    slope = '-' if v.slope.value is None else f'{v.slope.value:+.5f}'
    interval = '-' if v.slope.interval is None else '[{:+.5f}, {:+.5f}]'.format(*v.slope.interval)
    call = f'{v.call}, provisional' if v.provisional else v.call
    rows.append((arm, call, slope, interval, wording.needed_text(v) or '-'))
  widths = [max(map(len, column)) for column in zip(*rows)]
  return '\n'.join(
    '  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
  )


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS)


if __name__ == '__main__':
  run()
