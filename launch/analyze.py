"""Looks inside a trained network: JSON and a picture per analysis, on one device whatever the run
was trained on.

python -m launch.analyze --run=runs/frappe_ssr_d --what=all
python -m launch.analyze --run=runs/seed_0,runs/seed_1,runs/seed_2 --what=density --out=density
"""

import pathlib

from absl import flags

from launch import flag_definers
from launch import main as main_lib

WHAT = ('implicit_sparsity', 'ics', 'views', 'embeddings', 'units')
DENSITY = 'density'

FLAGS = flags.FlagValues()
define = flag_definers.into(FLAGS)
RUN = define.list(
  'run',
  None,
  'Run directory, made by launch.train; several, separated by commas, for density over runs that '
  'differ in seed alone.',
  required=True,
)
WHICH = define.enum(
  'what',
  'all',
  [*WHAT, DENSITY, 'all'],
  'Analysis; all: every one that the run allows and that trains nothing, so without density.',
)
CHECKPOINT = define.string('checkpoint', 'best', 'best, last, or a step.')
DATA = define.string(
  'data', None, "Dataset directory, read by ics, units and density; default: the run's own."
)
OUT = define.string(
  'out', None, 'Where <what>.json and <what>.png go; default: analysis/ in the run directory.'
)
RETRAIN_STEPS = define.integer(
  'retrain_steps',
  None,
  'Of density: steps that a pruned network is trained for; 0: none. Default: as many as an epoch.',
  lower_bound=0,
)
SMALL = define.boolean(
  'small', True, 'Of density: whether small networks of equal size are trained.'
)


def main() -> int:
  """Writes the files of each analysis and prints their names."""
  # Here, so that --help and wrong flags answer before jax is loaded.
  from rec_sparse.runs import density_numbers
  from rec_sparse.runs import restored

  directories = [pathlib.Path(path) for path in RUN.value]
  several = len(directories) > 1
  if several and (WHICH.value != DENSITY or not OUT.value):
    raise ValueError(
      '--run: several runs need --what=density, and --out for what they say together'
    )
  if several:
    density_numbers.check_seeds(directories)
  data = pathlib.Path(DATA.value) if DATA.value else None
  for directory in directories:
    out = pathlib.Path(OUT.value) if OUT.value and not several else directory / 'analysis'
    with restored.open_run(directory, CHECKPOINT.value, data) as run:
      if WHICH.value == DENSITY:
        _density(run, out)
      else:
        _analyses(run, out)
  if several:
    _over_seeds([directory / 'analysis' for directory in directories], pathlib.Path(OUT.value))
  return 0


def _analyses(run, out: pathlib.Path) -> None:
  from rec_sparse.runs import analysis
  from rec_sparse.runs import restored

  for what in WHAT if WHICH.value == 'all' else (WHICH.value,):
    try:
      found = analysis.ANALYSES[what](run)
    except restored.Unavailable as e:
      if WHICH.value != 'all':
        raise
      print(f'skipped {e}')
      continue
    _write(out, what, _about(run) | found.numbers, found.pictures)


def _density(run, out: pathlib.Path) -> None:
  """Measures a run, unless that was done already."""
  from rec_sparse.analysis import redundancy_pictures
  from rec_sparse.runs import density
  from rec_sparse.runs import density_numbers

  asked = density.Asked(RETRAIN_STEPS.value, SMALL.value)
  about = _about(run) | {'asked': asked._asdict(), 'data': str(run.data)}
  if density_numbers.is_there(out, about):
    print(f'{out / "density.json"} is there')
    return
  curves = density.measure(run, asked, print)
  out.mkdir(parents=True, exist_ok=True)
  density_numbers.save_logits(out, curves)
  found = about | density_numbers.summary([curves])
  _write(out, DENSITY, found, {'': redundancy_pictures.density(found)})


def _over_seeds(places: list[pathlib.Path], out: pathlib.Path) -> None:
  from rec_sparse.analysis import redundancy_pictures
  from rec_sparse.runs import density_numbers

  found = density_numbers.over_seeds(places)
  _write(out, DENSITY, found, {'': redundancy_pictures.density(found)})


def _about(run) -> dict:
  from rec_sparse import config as config_lib

  return {'run_id': config_lib.run_id(run.config), 'model': run.config.model, 'step': run.step}


def _write(out: pathlib.Path, what: str, numbers: dict, pictures: dict) -> None:
  from rec_sparse import record

  out.mkdir(parents=True, exist_ok=True)
  written = [out / f'{what}.json']
  record.write_json(written[0], numbers)
  for name, figure in pictures.items():
    written.append(out / f'{what}{name}.png')
    figure.savefig(written[-1])
  print(f'wrote {", ".join(map(str, written))}')


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS)


if __name__ == '__main__':
  run()
