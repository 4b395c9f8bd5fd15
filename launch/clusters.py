"""Searches clusters of examples, and which entries of their embeddings each cluster needs (iHAS).

python -m launch.clusters --data=data/frappe --width=64 --epochs=5 --budgets=0.5,0.25 --out=plans/f
python -m launch.prepare --plan=plans/f/plan_0.5.npz --data=data/frappe --out=data/routed
python -m launch.train --model=routed_mlp --data=data/routed --width=64 --out=runs/routed

The network that is searched is an MLP behind gates, gated_mlp. The test split is not read, but to
say of which cluster its rows are, by their ids.
"""

import pathlib

from absl import flags

from launch import config_flags
from launch import flag_definers
from launch import main as main_lib
from rec_sparse import schema as schema_lib
from rec_sparse import settings

FLAGS = flags.FlagValues()
define = flag_definers.into(FLAGS)
DATA = define.string('data', None, 'Dataset directory, made by launch.prepare.', required=True)
OUT = define.string('out', None, 'Where a plan of each budget and clusters.json go.', required=True)
BUDGETS = define.list(
  'budgets',
  ['0.5', '0.25', '0.1'],
  "Shares of an example's entries to keep, in the mean over training rows; a plan for each.",
)
CLUSTERS = define.integer(
  'clusters', 4, 'Clusters of k-means; 1: one mask for all.', lower_bound=1, upper_bound=256
)
MASKS = define.enum(
  'masks',
  'ihas',
  ['ihas', 'random', 'all'],
  'ihas: the entries whose gates are open most in a cluster. Its controls: as many of each cluster '
  'at random; all entries, so that routing alone is left.',
)
GROUPS = config_flags.define(FLAGS)


def main() -> int:
  """Writes the files and prints what each budget keeps, plan by plan."""
  # Here, so that --help and wrong flags answer before jax is loaded.
  from rec_sparse import plan as plan_lib
  from rec_sparse import record
  from rec_sparse.runs import cluster_search
  from rec_sparse.search import clusters_report

  data = pathlib.Path(DATA.value)
  model = cluster_search.MODEL
  if FLAGS['model'].present and FLAGS['model'].value != model:
    raise ValueError(f'--model={FLAGS["model"].value}: what is searched is always {model}')
  fingerprint = schema_lib.load_schema(data).fingerprint
  given = config_flags.given(FLAGS, model, ()) | {'data_fingerprint': fingerprint}
  job = cluster_search.Job(data, settings.make(model, given), CLUSTERS.value)
  budgets = flag_definers.numbers(BUDGETS, float)
  found = cluster_search.search(job)
  plans = {f'{b:g}': cluster_search.plan(job, found, b, MASKS.value) for b in budgets}

  out = pathlib.Path(OUT.value)
  out.mkdir(parents=True, exist_ok=True)
  for name, plan in plans.items():
    plan_lib.save(plan, out / f'plan_{name}.npz')
    print(f'{out / f"plan_{name}.npz"}\n{clusters_report.table(plan)}')
  said = {name: clusters_report.to_json(plan) for name, plan in plans.items()}
  record.write_json(out / 'clusters.json', said)
  print(out / 'clusters.json')
  return 0


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS, GROUPS)


if __name__ == '__main__':
  run()
