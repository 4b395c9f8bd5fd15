"""The flags of launch.sweep, and the study that they make: what a study file would say."""

import pathlib
import shlex
from typing import Any

from absl import flags

from launch import flag_definers
from rec_sparse import config as config_lib
from rec_sparse import models
from rec_sparse.scaling import study_file
from rec_sparse.scaling.study import read_directory
from rec_sparse.scaling.study import Study

STUDIES = pathlib.Path(__file__).parent / 'studies'
BY_FLAGS = 'sweep'  # name of a study that flags make; it grows by further calls

FLAGS = flags.FlagValues()
define = flag_definers.into(FLAGS)
_DEFAULTS = config_lib.Config()

DATA = define.string('data', None, 'Dataset directory, made by launch.prepare.', required=True)
OUT = define.string(
  'out',
  None,
  'Study directory; studies on the same data may share it, and with it their common trials.',
  required=True,
)
STUDY = define.list(
  'study',
  None,
  'Names in launch/studies, or paths of TOML files like them, in place of --arms and the other '
  'flags that say what to train; or a study.json, for the studies of that directory once more.',
)
ARMS = define.list(
  'arms', ['dense_mlp', 'ssr_s', 'ssr_d'], f'Model names, of {", ".join(models.NAMES)}.'
)
WIDTHS = define.list(
  'widths',
  ['16', '32', '64', '128'],
  'Units per layer, per view in multi-view models: 16,32 or, arm by arm, '
  'dense_mlp:64,128,ssr_s:16,32.',
)
DEPTHS = define.list('depths', [str(_DEFAULTS.depth)], 'Layers.')
VIEWS = define.list(
  'views', [str(_DEFAULTS.views)], 'Parallel views per layer; 1 for arms without views.'
)
RATES = define.list(
  'learning_rates', ['3e-4', '1e-3', '3e-3'], 'The same grid for every arm at every rung.'
)
SEEDS = define.list('seeds', ['0', '1', '2'], 'Seeds: 0,1,2 or a count such as 5 (0 to 4).')
EPOCHS = define.integer(
  'epochs', _DEFAULTS.epochs, 'Passes over the training split.', lower_bound=1
)
BATCH = define.integer('batch_size', _DEFAULTS.batch_size, 'Examples per step.')
DIM = define.integer('embedding_dim', _DEFAULTS.embedding_dim, 'Length of a table row.')
PATIENCE = define.integer(
  'patience', _DEFAULTS.patience, 'Validations without a better one; 0: never stop early.'
)
SETTINGS = define.multi_string(
  'set', [], 'name=value of any other setting, for the arms that have it.'
)
EXECUTOR = define.enum(
  'executor',
  'local',
  ['local'],
  'Where trials run: this process, on its devices.',
)
PLAN_ONLY = define.boolean(
  'plan_only',
  False,
  'Train nothing: say sizes, memory and time of every shape, from a few steps of each.',
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
BESIDE_A_FILE = (DATA, OUT, STUDY, EXECUTOR, PLAN_ONLY)


def studies() -> list[Study]:
  """The studies of the files that --study names, or the one that the other flags make.

  Raises ValueError naming the file or flag that is wrong.
  """
  if STUDY.value is None:
    return [_by_flags()]
  if not STUDY.value:
    raise ValueError('--study=: expected at least one study')
  beside = {flag.name for flag in BESIDE_A_FILE}
  for name in FLAGS:
    if FLAGS[name].present and name not in beside:
      raise ValueError(f'--{name}: not with --study, whose file says it')
  found: list[Study] = []
  for name in dict.fromkeys(STUDY.value):
    if name.endswith('.json'):
      found += [planned.study for planned in read_directory(pathlib.Path(name)).studies]
    else:
      found.append(study_file.read_study_file(file_of(name)))
  names = [study.name for study in found]
  if len(set(names)) < len(names):
    raise ValueError(f'--study={",".join(STUDY.value)}: two of the studies have one name')
  return found


def command(program: str = 'launch.sweep', own: flags.FlagValues = FLAGS) -> str:
  """This call as a shell line, so that a report can say how to make it again."""
  given = []
  for name in sorted(own):
    if own[name].present:
      given += own[name].serialize().splitlines()
  return shlex.join(['python', '-m', program, *given])


def parse_widths(arms: tuple[str, ...], items: list[str]) -> dict[str, list[int]]:
  """['8', '16'] gives every arm these widths; ['dense_mlp:64', '128', 'ssr_s:16', '32'] gives each
  arm its own.

  Raises ValueError for what is no number, an arm that is not in the sweep, or an arm left without
  widths.
  """
  found: dict[str, list[int]] = {arm: [] for arm in arms}
  given = ','.join(items)
  current = list(arms)
  for item in items:
    arm, colon, text = item.rpartition(':')
    if colon and arm not in found:
      raise ValueError(f'--widths={given}: {arm!r} is none of the arms {", ".join(arms)}')
    current = [arm] if colon else current
    if not text.strip().isdecimal():
      raise ValueError(f'--widths={given}: expected numbers, or arm:number, separated by commas')
    for name in current:
      found[name].append(int(text))
  for arm, widths in found.items():
    if not widths:
      raise ValueError(f'--widths={given}: {arm} has none')
  return found


def file_of(name: str) -> pathlib.Path:
  """The study file of a name in launch/studies, or a path; raises ValueError if there is none."""
  path = pathlib.Path(name) if name.endswith('.toml') else STUDIES / f'{name}.toml'
  if not path.is_file():
    known = ', '.join(sorted(p.stem for p in STUDIES.glob('*.toml')))
    raise ValueError(f'--study={name}: no such file, and none of the studies {known}')
  return path


def _by_flags() -> Study:
  arms = tuple(dict.fromkeys(ARMS.value))
  if not arms:
    raise ValueError('--arms=: expected at least one')
  widths = parse_widths(arms, WIDTHS.value)
  ladders = {}
  for arm in arms:
    scale = {'width': widths[arm], 'depth': _numbers(DEPTHS, int), 'views': _numbers(VIEWS, int)}
    ladders[arm] = {'model': arm, 'scale': scale}
  common = {
    'epochs': EPOCHS.value,
    'batch_size': BATCH.value,
    'embedding_dim': DIM.value,
    'patience': PATIENCE.value,
  }
  raw = {
    'seeds': _seeds(),
    'learning_rates': _numbers(RATES, float),
    'common': common | _settings(),
    'arms': ladders,
  }
  return study_file.from_raw(BY_FLAGS, raw)


def _settings() -> dict[str, str]:
  """--set, as text; raises ValueError naming a setting that the sweep would override."""
  found: dict[str, Any] = {}
  for setting in SETTINGS.value:
    name, equals, text = setting.partition('=')
    if not equals:
      raise ValueError(f'--set {setting}: expected name=value')
    if name in OWN_FLAG:
      raise ValueError(f'--set {setting}: use --{OWN_FLAG[name].name}')
    if name == 'feed' and text != 'resident':
      raise ValueError(f'--set {setting}: the trials of a sweep are resident')
    if name != 'feed':
      found[name] = text
  return found


def _seeds() -> list[int]:
  """The seeds that --seeds lists or counts; raises ValueError when there would be none, or a
  negative one.
  """
  given = _numbers(SEEDS, int)
  text = ','.join(SEEDS.value)
  if any(seed < 0 for seed in given):
    raise ValueError(f'--seeds={text}: expected seeds not below 0, or a count')
  if len(SEEDS.value) > 1:
    return given
  if not given[0]:
    raise ValueError(f'--seeds={text}: one number is a count of seeds, at least 1')
  return list(range(given[0]))


def _numbers(flag: flags.FlagHolder, kind: type) -> list:
  """The numbers of a flag, each once."""
  return list(dict.fromkeys(flag_definers.numbers(flag, kind)))
