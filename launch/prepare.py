"""Makes a dataset directory from raw logs, from the synthetic teacher, or of another by a plan.

python -m launch.prepare --source=libfm --train=train.libfm.gz --out=data/frappe
python -m launch.prepare --source=synthetic --rows=1000000 --out=data/teacher_1m
python -m launch.prepare --source=csv --test=monday.csv --vocab_from=data/clicks --out=data/monday
python -m launch.prepare --plan=plans/ml1m/plan.npz --data=data/ml1m --out=data/ml1m_chosen
"""

import dataclasses
import pathlib

from data_pipelines import compact
from data_pipelines import prepare
from data_pipelines import raw
from data_pipelines import spec as spec_lib
from data_pipelines import summary
from data_pipelines import synthetic
from data_pipelines import teacher
from launch import main as main_lib
from launch import prepare_flags as given
from rec_sparse import schema as schema_lib


def main() -> int:
  """Prepares, then prints the fields, the splits and, last, the path of the dataset directory."""
  out = pathlib.Path(given.OUT.value)
  if given.PLAN.value or given.DATA.value:
    schema, made = _planned(out)
  elif not given.SOURCE.value:
    raise ValueError('--source: missing; it says what to read, or --plan and --data do')
  else:
    schema, made = (_synthetic if given.SOURCE.value == 'synthetic' else _logs)(out)
  print(summary.table(schema))
  print(out if made else f'{out}: this data set is already there, nothing to do')
  return 0


def _logs(out: pathlib.Path) -> tuple[schema_lib.FeatureSchema, bool]:
  _refuse(given.OF_SYNTHETIC, f'--source={given.SOURCE.value}')
  vocab_from = given.VOCAB_FROM.value and pathlib.Path(given.VOCAB_FROM.value)
  if vocab_from:
    _refuse(given.OF_ENCODER, f'--vocab_from={vocab_from}, which decides it')
  spec_lib.check_mode(given.NUMERIC.value, f'--numeric={given.NUMERIC.value}')
  files = {
    split: raw.expand(flag.value, split) for split, flag in given.FILES.items() if flag.value
  }
  if 'train' not in files and not (vocab_from and files):
    raise ValueError('--train: missing' + (', and so are --valid and --test' if vocab_from else ''))
  spec = spec_lib.read(given.SPEC.value, given.NUMERIC.value)
  spec = dataclasses.replace(spec, group=given.GROUP.value or spec.group)
  return prepare.prepare(
    prepare.Job(
      source=given.SOURCE.value,
      files=files,
      spec=spec,
      numeric=given.NUMERIC.value,
      buckets=given.BUCKETS.value,
      min_count=given.MIN_COUNT.value,
      split_seed=given.SPLIT_SEED.value,
      vocab_from=vocab_from,
    ),
    out,
  )


def _synthetic(out: pathlib.Path) -> tuple[schema_lib.FeatureSchema, bool]:
  _refuse(given.OF_LOGS, f'--source={given.SOURCE.value}')
  recipe = teacher.Recipe(**{field: flag.value for field, flag in given.RECIPE.items()})
  return synthetic.prepare(synthetic.Job(recipe, given.ROWS.value, given.SPLIT_SEED.value), out)


def _planned(out: pathlib.Path) -> tuple[schema_lib.FeatureSchema, bool]:
  _refuse(('source', *given.OF_LOGS, *given.OF_SYNTHETIC, 'split_seed'), '--plan')
  for flag in (given.PLAN, given.DATA):
    if not flag.value:
      raise ValueError(f'--{flag.name}: missing; --plan and --data go together')
  return compact.prepare(pathlib.Path(given.PLAN.value), pathlib.Path(given.DATA.value), out)


def _refuse(names: tuple[str, ...], to: str) -> None:
  for name in names:
    if given.FLAGS[name].present:
      raise ValueError(f'--{name}: does not apply to {to}')


def run() -> None:
  """Console entry."""
  main_lib.run(main, given.FLAGS, given.GROUPS)


if __name__ == '__main__':
  run()
