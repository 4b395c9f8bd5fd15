"""Trains a grid of trials, one JSON per finished trial; running it again does only what is missing.

python -m launch.sweep --data=data/teacher --out=studies/teacher --arms=dense_mlp,ssr_s --widths=16,32
"""

import functools
import pathlib
import shlex

from absl import flags

from launch import main as main_lib
from rec_sparse import config as config_lib
from rec_sparse import models
from rec_sparse import schema as schema_lib
from rec_sparse.scaling import grid as grid_lib

FLAGS = flags.FlagValues()
_string, _enum, _integer, _list, _multi_string = (
  functools.partial(define, flag_values=FLAGS)
  for define in (
    flags.DEFINE_string,
    flags.DEFINE_enum,
    flags.DEFINE_integer,
    flags.DEFINE_list,
    flags.DEFINE_multi_string,
  )
)
_DEFAULTS = config_lib.Config()

DATA = _string('data', None, 'Dataset directory, made by launch.prepare.', required=True)
OUT = _string('out', None, 'Study directory.', required=True)
ARMS = _list('arms', ['dense_mlp', 'ssr_s', 'ssr_d'], f'Model names, of {", ".join(models.NAMES)}.')
WIDTHS = _list(
  'widths',
  ['16', '32', '64', '128'],
  'Units per layer, per view in multi-view models: 16,32 or, arm by arm, dense_mlp:64,128,ssr_s:16,32.',
)
DEPTHS = _list('depths', [str(_DEFAULTS.depth)], 'Layers.')
VIEWS = _list(
  'views', [str(_DEFAULTS.views)], 'Parallel views per layer; 1 for arms without views.'
)
RATES = _list(
  'learning_rates', ['3e-4', '1e-3', '3e-3'], 'The same grid for every arm at every rung.'
)
SEEDS = _list('seeds', ['0', '1', '2'], 'Seeds: 0,1,2 or a count such as 5 (0 to 4).')
EPOCHS = _integer('epochs', _DEFAULTS.epochs, 'Passes over the training split.', lower_bound=1)
BATCH = _integer('batch_size', _DEFAULTS.batch_size, 'Examples per step.')
DIM = _integer('embedding_dim', _DEFAULTS.embedding_dim, 'Length of a table row.')
PATIENCE = _integer(
  'patience', _DEFAULTS.patience, 'Validations without a better one; 0: never stop early.'
)
SETTINGS = _multi_string(
  'set', [], 'name=value of any other config field, for the arms that have it.'
)
OWN_FLAG = {
  'width': WIDTHS,
  'depth': DEPTHS,
  'views': VIEWS,
  'learning_rate': RATES,
  'seed': SEEDS,
  'epochs': EPOCHS,
  'batch_size': BATCH,
  'embedding_dim': DIM,
  'patience': PATIENCE,
  'data_fingerprint': DATA,
}
EXECUTOR = _enum('executor', 'local', ['local'], 'Where trials run: this process, on its devices.')


def main() -> int:
  """Runs the missing trials -> 75 when a signal came, 1 when the memory did not hold some
  or every one failed, or 0.

  A trial that failed is a result as long as others did not.
  """
  from rec_sparse import record

  # Here, so that --help and wrong flags answer before jax is loaded.
  from rec_sparse.runs import evaluation
  from rec_sparse.runs import study

  arms = tuple(dict.fromkeys(ARMS.value))
  grid = grid_lib.Grid(
    arms,
    grid_lib.parse_widths(arms, WIDTHS.value),
    _numbers(DEPTHS, int),
    _numbers(VIEWS, int),
    _numbers(RATES, float),
    _seeds(),
  )
  data = pathlib.Path(DATA.value)
  out = pathlib.Path(OUT.value)
  schema = schema_lib.load_schema(data, needs=schema_lib.SPLITS)
  common = {
    'epochs': EPOCHS.value,
    'batch_size': BATCH.value,
    'embedding_dim': DIM.value,
    'patience': PATIENCE.value,
    'data_fingerprint': schema.fingerprint,
  }
  configs = grid_lib.trials(grid, common, _settings())
  left = study.run_study(data, schema, out, grid, configs, _command())
  paths = [study.trial_path(out, c) for c in configs]
  recorded = [record.read_json(path) for path in paths if path.exists()]
  failed = [found for found in recorded if found['status'] == 'failed']
  missing = len(configs) - len(recorded)
  print(
    f'{len(recorded) - len(failed)} of {len(configs)} trials done in {out}, '
    f'{len(failed)} failed' + (f', {missing} missing' if missing else '')
  )
  evaluation.say_undefined(schema, 'valid', 'test')
  if failed:
    print(
      f'failed: {failed[0]["run_id"]}: {failed[0]["error"]}; '
      f'delete {out}/trials/{failed[0]["run_id"]}.json to try it again'
      + (f', and so for {len(failed) - 1} others' if failed[1:] else '')
    )
  if left.interrupted:
    return main_lib.interrupted(out)
  if left.too_large:
    raise ValueError(study.why_too_large(left))
  return int(len(failed) == len(configs))


def _command() -> str:
  """This sweep as a shell line, so that a report can say how to make it again."""
  given = [
    text
    for name in sorted(FLAGS)
    if FLAGS[name].present
    for text in FLAGS[name].serialize().splitlines()
  ]
  return shlex.join(['python', '-m', 'launch.sweep', *given])


def _settings() -> list[str]:
  """--set; raises ValueError naming a setting that the sweep would override."""
  for setting in SETTINGS.value:
    name = setting.partition('=')[0]
    if name in OWN_FLAG:
      raise ValueError(f'--set {setting}: use --{OWN_FLAG[name].name}')
    if name == 'feed' and setting != 'feed=resident':
      raise ValueError(f'--set {setting}: the trials of a sweep are resident')
  return SETTINGS.value


def _seeds() -> tuple[int, ...]:
  """The seeds that --seeds lists or counts; raises ValueError when there would be none, or a
  negative one.
  """
  given, text = _numbers(SEEDS, int), ','.join(SEEDS.value)
  if any(seed < 0 for seed in given):
    raise ValueError(f'--seeds={text}: expected seeds not below 0, or a count')
  if len(SEEDS.value) > 1 or not given:
    return given
  if not given[0]:
    raise ValueError(f'--seeds={text}: one number is a count of seeds, at least 1')
  return tuple(range(given[0]))


def _numbers(flag: flags.FlagHolder, kind: type) -> tuple:
  """The numbers of a flag, each once."""
  try:
    return tuple(dict.fromkeys(kind(text) for text in flag.value))
  except ValueError:
    raise ValueError(
      f'--{flag.name}={",".join(flag.value)}: expected numbers separated by commas'
    ) from None


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS)


if __name__ == '__main__':
  run()
