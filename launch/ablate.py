"""Runs an ablation study from its file: trains what is missing, compares arms on the same test rows
and seeds.

python -m launch.ablate --study=table4 --data=data/ml1m --out=studies/ml1m_ablations
"""

import functools
import pathlib

from absl import flags

from launch import main as main_lib

STUDIES = pathlib.Path(__file__).parent / 'ablations'

FLAGS = flags.FlagValues()
_string = functools.partial(flags.DEFINE_string, flag_values=FLAGS)
STUDY = flags.DEFINE_list(
  'study',
  None,
  'Names in launch/ablations, or paths of files like them; several: one by one.',
  required=True,
  flag_values=FLAGS,
)
DATA = _string('data', None, 'Dataset directory, made by launch.prepare.', required=True)
OUT = _string(
  'out',
  None,
  'Directory of trials; studies on the same data may share it, and with it their common arms.',
  required=True,
)


def main() -> int:
  """Writes <study>.json, <study>.md and <study>.png for each study and prints the tables;
  75 when a signal came.
  """
  # Here, so that --help and wrong flags answer before jax is loaded.
  from rec_sparse import schema as schema_lib
  from rec_sparse.runs import ablation as ablation_lib
  from rec_sparse.scaling import ablation

  if not STUDY.value:
    raise ValueError('--study=: expected at least one study')
  studies = [ablation.read_ablation(_file(name)) for name in STUDY.value]
  data, out = pathlib.Path(DATA.value), pathlib.Path(OUT.value)
  schema = schema_lib.load_schema(data, needs=schema_lib.SPLITS)
  planned = [ablation.configs(study, schema) for study in studies]
  for study, configs in zip(studies, planned, strict=True):
    written = ablation_lib.run_ablation(data, schema, out, study, configs)
    if written is None:
      return main_lib.interrupted(out)
    for path in written:
      print(f'wrote {path}')
  return 0


def _file(name: str) -> pathlib.Path:
  path = pathlib.Path(name) if name.endswith('.toml') else STUDIES / f'{name}.toml'
  if not path.is_file():
    known = ', '.join(sorted(p.stem for p in STUDIES.glob('*.toml')))
    raise ValueError(f'--study={name}: no such file, and none of the studies {known}')
  return path


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS)


if __name__ == '__main__':
  run()
