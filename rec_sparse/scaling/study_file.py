"""A study as a TOML file: arms that differ in size, or in one thing, trained alike.

title = 'Which arm saturates, and what each part of SSR-D is worth'
source = 'arXiv 2604.08011'          # optional: what is reproduced
seeds = 5                            # seeds 0 to 4 of every arm, or a list of them
learning_rates = [3e-3, 1e-2]        # the same grid for every size of every arm

[common]                             # config fields of every arm that has them
batch_size = 2048

[arms.dense]                         # an arm with a ladder: a curve of the chart, with a verdict
model = 'dense_mlp'
scale.width = [16, 64, 256]          # any config field; the first is the one that a curve follows
scale.depth = [1, 2]                 # several: every combination is a size of the arm

[arms.ssr_d]                         # an arm of one size: a row of the table
model = 'ssr_d'                      # the first of them is the reference of the others
width = 16                           # any config field

[arms.relu]
model = 'ssr_d'                      # arms may share a model
width = 16
gate = 'relu'
against = 'ssr_d'                    # optional: another reference than the first such arm
equal = 'dense_params_nonzero'       # optional: the width gives this count of the reference
says = 'ReLU in place of ICS'        # optional: what differs, for tables and pictures
published = -0.22                    # optional: the paper's difference in AUC, in points (1e-2)
published_auc = 0.9833               # optional: AUC on test rows that a benchmark prints
data = 'data/clicks_chosen'          # optional: other data than --data, with the same test rows

`launch.sweep` trains it, `launch.report` writes chart and table.
"""

import dataclasses
import math
import pathlib
import tomllib
from typing import Any

from rec_sparse import settings
from rec_sparse import typed
from rec_sparse.scaling.study import Arm
from rec_sparse.scaling.study import Study

# entries of an arm that are no config fields
OF_ARM = ('model', 'scale', 'says', 'against', 'equal', 'published', 'published_auc', 'data')
# those that are about the row of a table
OF_ROW = ('against', 'equal', 'published', 'published_auc')
# config fields that the study sets itself
OF_STUDY = ('seed', 'learning_rate', 'data_fingerprint', 'init_from', 'feed')


@dataclasses.dataclass(frozen=True)
class _File:
  """What the file holds, before its arms are looked at."""

  seeds: Any  # a count or a list
  learning_rates: tuple[float, ...]
  arms: dict[str, dict[str, Any]]
  title: str = ''
  source: str = ''
  common: dict[str, Any] = dataclasses.field(default_factory=dict)


def read_study_file(path: pathlib.Path) -> Study:
  """Reads a study file.

  Raises ValueError naming the file, the arm and the entry where something is wrong.
  """
  try:
    raw = tomllib.loads(path.read_text(encoding='utf-8'))
  except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
    raise ValueError(f'{path}: not TOML ({e})') from None
  try:
    return from_raw(path.stem, raw)
  except ValueError as e:
    raise ValueError(f'{path}: {e}') from None


def from_raw(name: str, raw: dict[str, Any]) -> Study:
  """The study of a TOML value; raises ValueError naming the arm and the entry that is wrong."""
  file = typed.convert(_File, raw)
  if not file.arms:
    raise ValueError('arms: expected at least one')
  if not file.learning_rates or not all(0 < rate < math.inf for rate in file.learning_rates):
    raise ValueError('learning_rates: expected numbers above 0')
  arms = tuple(_arm(own, file) for own in file.arms)
  _check_common(file.common, arms)
  return Study(
    name,
    file.title or name,
    file.source,
    _seeds(file.seeds),
    tuple(dict.fromkeys(file.learning_rates)),
    arms,
  )


def _seeds(given: Any) -> tuple[int, ...]:
  """Those listed, or as many as counted."""
  seeds = tuple(range(given)) if type(given) is int else given
  try:
    seeds = typed.convert(tuple[int, ...], seeds)
  except ValueError:
    seeds = ()
  if not seeds or min(seeds) < 0:
    raise ValueError(f'seeds: expected a count above 0, or a list of seeds, got {given!r}')
  return tuple(dict.fromkeys(seeds))


def _arm(name: str, file: _File) -> Arm:
  own = file.arms[name]
  try:
    about = {key: value for key, value in own.items() if key in OF_ARM}
    arm = typed.convert(Arm, {'name': name, 'overrides': {}} | about)
    known = settings.settable(arm.model)
    common = {key: value for key, value in file.common.items() if key in known}
    given = {key: value for key, value in own.items() if key not in OF_ARM}
    _check_settings(given, arm)
    overrides = {key: value for key, value in (common | given).items() if key not in arm.scale}
    arm = dataclasses.replace(
      arm,
      overrides={key: _value(arm.model, key, value) for key, value in overrides.items()},
      scale={key: _values(arm.model, key, values) for key, values in arm.scale.items()},
    )
    return _with_reference(arm, file.arms)
  except ValueError as e:
    raise ValueError(f'arm {name!r}: {e}') from None


def _with_reference(arm: Arm, arms: dict[str, dict[str, Any]]) -> Arm:
  """The arm with the one that it is compared with: as given, or the first of one size."""
  if arm.scale:
    wrong = [key for key in OF_ROW if getattr(arm, key) not in ('', None)]
    if wrong:
      raise ValueError(f'{wrong[0]}: is for an arm of one size, and this one has a scale')
    return arm
  singles = [name for name, own in arms.items() if not own.get('scale')]
  against = arm.against or singles[0]
  if against not in singles:
    raise ValueError(f'against={against!r}: there is no such arm of one size')
  if arm.equal and arms[against].get('equal'):
    raise ValueError(f'equal={arm.equal!r}: expected against an arm of given width')
  return dataclasses.replace(arm, against=against)


def _check_settings(given: dict[str, Any], arm: Arm) -> None:
  for key in (*given, *arm.scale):
    if key in OF_STUDY:
      raise ValueError(f'{key}: set by the study for all arms alike')
    if key in given and key in arm.scale:
      raise ValueError(f'{key}: stands in its scale too')


def _check_common(common: dict[str, Any], arms: tuple[Arm, ...]) -> None:
  """Raises ValueError for a common entry that no arm has a field for."""
  for key in common:
    if key in OF_STUDY:
      raise ValueError(f'common: {key}: set by the study for all arms alike')
    if not any(key in settings.settable(arm.model) for arm in arms):
      try:
        _value(arms[0].model, key, common[key])
      except ValueError as e:
        raise ValueError(f'common: {e}') from None


def _values(model: str, name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
  """The values of an axis, each once."""
  if not values:
    raise ValueError(f'scale.{name}: expected at least one value')
  return tuple(dict.fromkeys(_value(model, name, value) for value in values))


def _value(model: str, name: str, value: Any) -> Any:
  """A TOML value as `--set` would have it: the same checks for both."""
  text = ','.join(map(str, value)) if isinstance(value, list | tuple) else str(value)
  return settings.parse(model, [f'{name}={text}'])[name]
