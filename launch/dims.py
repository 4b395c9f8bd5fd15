"""Searches how many dimensions the embeddings of rare and frequent values are worth; writes plans.

python -m launch.dims --data=data/ml1m --width=64 --epochs=4 --budgets=0.5,0.25 --out=plans/ml1m
python -m launch.prepare --plan=plans/ml1m/plan_0.25.npz --data=data/ml1m --out=data/ml1m_quarter

A network trained on the new data set has the dimensions of the plan; the others are always zero.
The test split is not read.
"""

import pathlib
import sys

from absl import flags

from launch import config_flags
from launch import flag_definers
from launch import main as main_lib
from rec_sparse import schema as schema_lib
from rec_sparse import settings

FLAGS = flags.FlagValues()
define = flag_definers.into(FLAGS)
DATA = define.string('data', None, 'Dataset directory, made by launch.prepare.', required=True)
OUT = define.string(
  'out', None, 'Where a plan of each budget, dims.json and dims.png go.', required=True
)
BUDGETS = define.list(
  'budgets', ['0.5', '0.25', '0.1'], 'Shares of the entries of embeddings to keep; a plan for each.'
)
BY = define.enum(
  'by',
  'dnis',
  ['dnis', 'magnitude', 'frequency', 'random'],
  'dnis: a selection learned from validation rows, after a warm start of --epochs. Its controls: '
  'magnitude: the size of embeddings alone, trained as long; frequency: widths by a power of the '
  'frequency of values; random.',
)
SEARCH_EPOCHS = define.integer(
  'search_epochs', 2, 'Epochs in which the selection moves.', lower_bound=1
)
BINS = define.list(
  'bins',
  ['0.1', '0.2', '0.2', '0.2', '0.3'],
  "Shares of a field's values, from frequent to rare, that have the same dimensions.",
)
GROUPS = config_flags.define(FLAGS)


def main() -> int:
  """Writes the files, prints what each budget keeps and, last, the path of the picture."""
  # Here, so that --help and wrong flags answer before jax is loaded.
  from rec_sparse import plan as plan_lib
  from rec_sparse import record
  from rec_sparse.runs import dim_search
  from rec_sparse.search import dims_report
  from rec_sparse.search import pictures

  data = pathlib.Path(DATA.value)
  model = FLAGS['model'].value
  fingerprint = schema_lib.load_schema(data).fingerprint
  given = config_flags.given(FLAGS, model, ())
  job = dim_search.Job(
    data=data,
    config=settings.make(model, given | {'data_fingerprint': fingerprint}),
    by=BY.value,
    search_epochs=SEARCH_EPOCHS.value,
    shares=tuple(flag_definers.numbers(BINS, float)),
  )
  budgets = flag_definers.numbers(BUDGETS, float)
  found = dim_search.search(job)
  plans = {f'{budget:g}': dim_search.plan(job, found, budget) for budget in budgets}

  out = pathlib.Path(OUT.value)
  out.mkdir(parents=True, exist_ok=True)
  for name, plan in plans.items():
    plan_lib.save(plan, out / f'plan_{name}.npz')
  record.write_json(out / 'dims.json', {name: dims_report.to_json(p) for name, p in plans.items()})
  kept = {f'{name} of the entries': plan.arrays['kept_ZxD'] for name, plan in plans.items()}
  names = [field.name for field in found.schema.fields]
  pictures.kept_dims(kept, found.bins.field_Z, names).savefig(out / 'dims.png', dpi=150)
  for name, plan in plans.items():
    print(f'{out / f"plan_{name}.npz"}\n{dims_report.table(plan)}')
  print(out / 'dims.png')
  return 0


def run() -> None:
  """Console entry."""
  groups = GROUPS | config_flags.define_outside(FLAGS, sys.argv[1:])
  main_lib.run(main, FLAGS, groups)


if __name__ == '__main__':
  run()
