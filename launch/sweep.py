"""Trains a study, one JSON per finished trial; running it again does only what is missing.

python -m launch.sweep --data=data/teacher --out=studies/teacher --study=teacher
python -m launch.sweep --data=data/ml1m --out=studies/ml1m --arms=dense_mlp,ssr_s --widths=16,32
python -m launch.sweep --data=data/ml1m --out=studies/ml1m --study=views --plan_only

A study file says more than the flags: rec_sparse/scaling/study_file.py tells what it holds.
"""

import contextlib
import pathlib

from launch import main as main_lib
from launch import sweep_flags
from launch.sweep_flags import FLAGS
from rec_sparse import schema as schema_lib


def main() -> int:
  """Runs the missing trials -> 75 when a signal came, 1 when the memory did not hold some
  or every one failed, or 0; with --plan_only runs none -> 3 when some would not fit.

  A trial that failed is a result as long as others did not.
  """
  # Here, so that --help and wrong flags answer before the rest is loaded.
  from launch import progress
  from rec_sparse import record
  from rec_sparse.runs import evaluation
  from rec_sparse.runs import preview
  from rec_sparse.runs import sweep
  from rec_sparse.scaling import grid

  studies = sweep_flags.studies()
  data = pathlib.Path(sweep_flags.DATA.value)
  out = pathlib.Path(sweep_flags.OUT.value)
  schema = schema_lib.load_schema(data, needs=schema_lib.SPLITS)
  named = dict.fromkeys(arm.data for study in studies for arm in study.arms if arm.data)
  others = {name: schema_lib.load_schema(name, needs=schema_lib.SPLITS) for name in named}
  planned = [(study, grid.trials(study, schema, others)) for study in studies]
  datasets = [sweep.Data(data, schema)]
  datasets += [sweep.Data(pathlib.Path(name), own) for name, own in others.items()]
  if sweep_flags.PLAN_ONLY.value:
    arms = sweep.arms_of(planned)
    found = []
    for shape in preview.of_study(datasets, sweep.missing_of(out, arms)):
      print(f'{arms[shape.config]}: {preview.line(shape)}', flush=True)
      found.append(shape)
    print(preview.total(found))
    return 0 if all(shape.fits for shape in found) else 3
  by_flags = sweep_flags.STUDY.value is None
  with contextlib.closing(progress.SweepOnTerminal()) as terminal:
    left = sweep.run_studies(
      datasets[0],
      out,
      planned,
      sweep_flags.command(),
      grows=by_flags,
      observer=terminal,
      others=datasets[1:],
    )

  configs = list(sweep.arms_of(planned))
  paths = [sweep.trial_path(out, c) for c in configs]
  recorded = [record.read_json(path) for path in paths if path.exists()]
  failed = [found for found in recorded if found['status'] == 'failed']
  missing = len(configs) - len(recorded)
  print(
    f'{len(recorded) - len(failed)} of {len(configs)} trials done in {out}, '
    f'{len(failed)} failed' + (f', {missing} missing' if missing else '')
  )
  main_lib.say(evaluation.undefined(schema, 'valid', 'test'))
  if failed:
    print(
      f'failed: {failed[0]["run_id"]}: {failed[0]["error"]}; '
      f'delete {out}/trials/{failed[0]["run_id"]}.json to try it again'
      + (f', and so for {len(failed) - 1} others' if failed[1:] else '')
    )
  if left.interrupted:
    return main_lib.interrupted(out)
  if left.too_large:
    raise ValueError(sweep.why_too_large(left))
  return int(len(failed) == len(configs))


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS)


if __name__ == '__main__':
  run()
