"""Test loss against what is kept of a table: a network trained anew on what each order keeps.

python -m launch.kept --data=data/frappe --study=kept --orders=afe,mi,frequency,random \\
  --ks=2,4,6,8 --out=studies/frappe_kept
python -m launch.kept --data=data/frappe --study=dims --level=dim --orders=uniform,dnis \
  --ks=0.5,0.25 --out=studies/frappe_dims

The study file has one arm, the network. The same command does only what is missing.
"""

import contextlib
import json
import pathlib

from absl import flags

from launch import flag_definers
from launch import main as main_lib
from launch import sweep_flags
from rec_sparse import schema as schema_lib
from rec_sparse.scaling import study as study_lib
from rec_sparse.scaling import study_file
from rec_sparse.schema import SPLITS

FLAGS = flags.FlagValues()
define = flag_definers.into(FLAGS)
DATA = define.string('data', None, 'Dataset directory, made by launch.prepare.', required=True)
OUT = define.string(
  'out', None, 'Study directory, with the data sets and curves beside.', required=True
)
STUDY = define.string(
  'study', 'kept', 'Name in launch/studies or path of the TOML file of the network.'
)
ORDERS = define.list(
  'orders',
  ['afe', 'mi', 'frequency', 'random'],
  'As --by of launch.select, or of launch.dims; random:1 has seed 1. With --level=dim also '
  'uniform: all values have as many dimensions. With --level=cluster ihas, one_mask, random_masks, '
  'all_kept and uniform.',
)
KS = define.list(
  'ks', [], 'Fields or values to keep, or with --level=dim shares of the entries of embeddings.'
)
LEVEL = define.enum(
  'level',
  'field',
  ['field', 'value', 'dim', 'cluster'],
  'What is kept: whole fields, table rows, dimensions of embeddings, or of an example those that '
  'the network of its cluster reads.',
)
BUCKETS = define.integer(
  'buckets', 1024, 'As of launch.select.', lower_bound=2, upper_bound=1 << 16
)
SEED = define.integer(
  'seed', 0, 'Of permutations, and of the orders random and gates.', lower_bound=0
)


def main() -> int:
  """Trains what is missing, then writes kept.csv and kept.png."""
  # Here, so that --help and wrong flags answer before the rest is loaded.
  from launch import progress
  from rec_sparse.runs import kept
  from rec_sparse.runs import sweep
  from rec_sparse.scaling import grid

  out = pathlib.Path(OUT.value)
  data = sweep.Data(pathlib.Path(DATA.value), schema_lib.load_schema(DATA.value, SPLITS))
  network = study_file.read_study_file(sweep_flags.file_of(STUDY.value))
  points = _points(data.directory, network, out.with_name(f'{out.name}_data'))
  study = kept.study(network, points)
  schemas = {point.data: schema_lib.load_schema(point.data) for point in points if point.data}
  with contextlib.closing(progress.SweepOnTerminal()) as terminal:
    left = sweep.run_studies(
      data,
      out,
      [(study, grid.trials(study, data.schema, schemas))],
      sweep_flags.command('launch.kept', FLAGS),
      grows=False,
      observer=terminal,
      others=[sweep.Data(pathlib.Path(name), schema) for name, schema in schemas.items()],
    )
  if left.interrupted:
    return main_lib.interrupted(out)
  if left.too_large:
    raise ValueError(sweep.why_too_large(left))
  _write(out, points)
  return 0


def _points(data: pathlib.Path, network: study_lib.Study, out: pathlib.Path) -> list:
  """What each order keeps at each k."""
  from rec_sparse.runs import cluster_points
  from rec_sparse.runs import dim_points
  from rec_sparse.runs import kept
  from rec_sparse.runs import select

  if LEVEL.value == 'cluster':
    return cluster_points.points(data, network, ORDERS.value, _ks(float), out)
  if LEVEL.value == 'dim':
    return dim_points.points(data, network, ORDERS.value, _ks(float), out)
  job = select.Job(data, level=LEVEL.value, buckets=BUCKETS.value, seed=SEED.value)
  return kept.points(job, ORDERS.value, _ks(int), out)


def _write(out: pathlib.Path, points: list) -> None:
  """Writes the table and the picture, and prints the table."""
  from rec_sparse import record
  from rec_sparse.report import comparison
  from rec_sparse.runs import kept
  from rec_sparse.scaling import records
  from rec_sparse.search import pictures

  (results,) = records.read_results(out)
  name = results.study.name
  arms = json.loads(comparison.make_table(results)[f'{name}.json'])['arms']
  rows = kept.rows(points, arms)
  record.write_text(out / 'kept.csv', kept.to_csv(rows))
  against = {'value': 'table_rows', 'dim': 'embedding_params', 'cluster': 'share'}
  pictures.kept(rows, against.get(LEVEL.value, 'k'), results.study.title).savefig(
    out / 'kept.png', dpi=150
  )
  print(kept.to_csv(rows))
  print(out / 'kept.csv')


def _ks(kind: type) -> list:
  """The numbers of --ks; raises ValueError when there are none."""
  try:
    ks = [kind(k) for k in KS.value]
  except ValueError:
    ks = []
  if not ks or min(ks) <= 0:
    raise ValueError(f'--ks={",".join(KS.value)}: expected numbers above 0, separated by commas')
  return ks


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS)


if __name__ == '__main__':
  run()
