"""Chooses the fields, or the values, that tell most of the labels, and writes a plan of them.

python -m launch.select --data=data/ml1m --until=heldout --out=plans/ml1m
python -m launch.prepare --plan=plans/ml1m/plan.npz --data=data/ml1m --out=data/ml1m_chosen
"""

import pathlib

from absl import flags

from launch import flag_definers
from launch import main as main_lib

FLAGS = flags.FlagValues()
define = flag_definers.into(FLAGS)
DATA = define.string('data', None, 'Dataset directory, made by launch.prepare.', required=True)
OUT = define.string('out', None, 'Where plan.npz, trace.json and pictures go.', required=True)
K = define.integer(
  'k',
  None,
  'Fields to keep; with --level=value, values that keep a row; with --by=autofis, pairs, at most.',
  lower_bound=1,
)
UNTIL = define.enum(
  'until',
  None,
  ['information', 'heldout'],
  'In place of --k. information: while J is surely above 0; heldout: while the log loss of '
  'validation rows falls, under a sum of tables of the chosen fields.',
)
BY = define.enum(
  'by',
  'afe',
  ['afe', 'jmi', 'mi', 'frequency', 'random', 'lasso', 'gates', 'autofis'],
  'Order. afe; jmi: the same without setting redundant fields back; and its controls: mi: '
  'information alone; frequency: training rows per value; random; lasso: group LASSO on one-hot '
  'fields; gates: learned field gates, as in AutoField. autofis: not fields but pairs of them, '
  'whose inner products fm and deepfm take.',
)
LEVEL = define.enum(
  'level', 'field', ['field', 'value'], 'What is kept: whole fields, or table rows.'
)
CORRECT = define.enum(
  'correct',
  'permutation',
  ['permutation', 'split', 'none'],
  'How what chance gives is removed from information: permuted labels, or halves of the rows.',
)
BUCKETS = define.integer(
  'buckets',
  1024,
  'Buckets of a field, at most 65536; values of a larger field are hashed, but for the frequent '
  'ones. A table of two fields has a cell for each pair of buckets and label.',
  lower_bound=2,
  upper_bound=1 << 16,
)
PAIR_START = define.boolean(
  'pair_start',
  False,
  'Start from the pair of fields that tells most beyond its parts; a pass over the rows a field.',
)
PAIRS = define.boolean(
  'pairs', False, 'Also draw what fields have in common; a pass over the rows for each.'
)
SEED = define.integer(
  'seed', 0, 'Of permutations, and of the orders random, gates and autofis.', lower_bound=0
)


def main() -> int:
  """Writes the files, prints the choices and, last, the path of the plan."""
  from rec_sparse import plan as plan_lib
  from rec_sparse import record

  # Here, so that --help and wrong flags answer before jax is loaded.
  from rec_sparse.runs import select
  from rec_sparse.search import pictures
  from rec_sparse.search import report

  job = select.Job(
    data=pathlib.Path(DATA.value),
    by=BY.value,
    level=LEVEL.value,
    k=K.value or 0,
    until=UNTIL.value or '',
    correct=CORRECT.value,
    buckets=BUCKETS.value,
    pair_start=PAIR_START.value,
    with_pairs=PAIRS.value,
    seed=SEED.value,
  )
  found = select.select(job)
  names = found.plan.made_by['fields']
  out = pathlib.Path(OUT.value)
  out.mkdir(parents=True, exist_ok=True)
  record.write_json(out / 'trace.json', report.to_json(found.plan, found.steps, found.heldout))
  if found.steps:
    pictures.trace(found.steps, names, found.kept, found.heldout).savefig(out / 'trace.png')
  if PAIRS.value:
    pictures.normalised_information(found.plan.arrays['nmi_FxF'], names).savefig(out / 'pairs.png')
  plan_lib.save(found.plan, out / 'plan.npz')
  print(report.table(found.plan, found.steps, found.heldout))
  print(f'keeps {", ".join(names[field] for field in found.kept)}')
  if 'kept_pairs' in found.plan.arrays:
    print(report.pairs(found.plan))
  print(out / 'plan.npz')
  return 0


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS)


if __name__ == '__main__':
  run()
