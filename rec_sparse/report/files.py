"""The files of a report, made in memory and written as one."""

from collections.abc import Mapping
import os
import pathlib
import string

from rec_sparse.report import chart
from rec_sparse.report import page
from rec_sparse.report import tables
from rec_sparse.scaling import compare
from rec_sparse.scaling import records
from rec_sparse.scaling import row_error
from rec_sparse.scaling import verdict


def make_report(
  results: records.Results,
  rungs: Mapping[str, tuple[records.Rung, ...]],
  verdicts: Mapping[str, verdict.Verdict],
  rows: row_error.RowError | None,
  delta: float,
) -> dict[str, bytes]:
  """The files of the report by name; report.html is the last."""
  figure = chart.draw_chart(rungs, verdicts, bounds(results))
  svg = chart.figure_svg(figure)
  template = string.Template(
    pathlib.Path(__file__).with_name('page.html').read_text(encoding='utf-8')
  )
  fragments = page.fragments(
    results, rungs, verdicts, compare.compare_arms(rungs, rows), svg, delta
  )
  return {
    'saturation.svg': svg.encode(),
    'saturation.png': chart.figure_png(figure),
    'curves.csv': tables.curves_csv(results, rungs).encode(),
    'verdicts.json': tables.verdicts_json(verdicts).encode(),
    'report.html': template.substitute(fragments).encode(),
  }


def bounds(results: records.Results) -> dict[str, chart.Bound]:
  """What no model passes, by metric: of the teacher, on the very test rows where that is known."""
  if results.about.teacher is None:
    return {}
  logloss = chart.Bound('irreducible log loss, expected', results.about.teacher.logloss)
  if results.about.realised_logloss is not None:
    logloss = chart.Bound("the teacher's log loss on these rows", results.about.realised_logloss)
  return {
    'test_logloss': logloss,
    'test_auc': chart.Bound('AUC of the teacher', results.about.teacher.auc),
  }


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
