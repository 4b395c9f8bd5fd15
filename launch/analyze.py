"""Looks inside a trained network: JSON and a picture per analysis, on one device whatever the run
was trained on.

python -m launch.analyze --run=runs/frappe_ssr_d --what=all
"""

import functools
import pathlib

from absl import flags

from launch import main as main_lib

WHAT = ('implicit_sparsity', 'ics', 'views', 'embeddings')

FLAGS = flags.FlagValues()
_string, _enum = (
  functools.partial(define, flag_values=FLAGS)
  for define in (flags.DEFINE_string, flags.DEFINE_enum)
)
RUN = _string('run', None, 'Run directory, made by launch.train.', required=True)
WHICH = _enum('what', 'all', [*WHAT, 'all'], 'Analysis; all: every one that the run allows.')
CHECKPOINT = _string('checkpoint', 'best', 'best, last, or a step.')
DATA = _string('data', None, "Dataset directory, read by ics alone; default: the run's own.")
OUT = _string(
  'out', None, 'Where <what>.json and <what>.png go; default: analysis/ in the run directory.'
)


def main() -> int:
  """Writes the files of each analysis and prints their names."""
  from rec_sparse import config as config_lib
  from rec_sparse import record

  # Here, so that --help and wrong flags answer before jax is loaded.
  from rec_sparse.runs import analysis
  from rec_sparse.runs import restored

  directory = pathlib.Path(RUN.value)
  out = pathlib.Path(OUT.value) if OUT.value else directory / 'analysis'
  with restored.open_run(
    directory, CHECKPOINT.value, DATA.value and pathlib.Path(DATA.value)
  ) as run:
    about = {'run_id': config_lib.run_id(run.config), 'model': run.config.model, 'step': run.step}
    for what in WHAT if WHICH.value == 'all' else (WHICH.value,):
      try:
        found = analysis.ANALYSES[what](run)
      except restored.Unavailable as e:
        if WHICH.value != 'all':
          raise
        print(f'skipped {e}')
        continue
      out.mkdir(parents=True, exist_ok=True)
      record.write_json(out / f'{what}.json', about | found.numbers)
      written = [out / f'{what}.json']
      for name, figure in found.pictures.items():
        written.append(out / f'{what}{name}.png')
        figure.savefig(written[-1])
      print(f'wrote {", ".join(map(str, written))}')
  return 0


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS)


if __name__ == '__main__':
  run()
