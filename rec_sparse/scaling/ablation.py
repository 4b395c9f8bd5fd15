"""An ablation study as a file: a reference arm, and arms that each change one thing -> the configs
to train.

title = 'What each part of SSR-D is worth'
source = 'arXiv 2604.08011, table 4'
seeds = 5                            # seeds 0 to 4 of every arm
learning_rates = [3e-3, 1e-2]        # the same grid for every arm

[common]                             # config fields of every arm that has them
views = 4

[arms.ssr_d]                         # the first arm is the reference
model = 'ssr_d'

[arms.one_view]
model = 'ssr_d'
views = 1                            # any config field
equal = 'dense_params_nonzero'       # optional: this count is to be the reference's
against = 'ssr_d'                    # optional: another reference than the first arm
says = 'one view, as wide'           # optional: what differs, for tables and pictures
published = -0.22                    # optional: the paper's difference in AUC, in points (1e-2)
"""

import dataclasses
import math
import pathlib
import tomllib
from typing import Any

from rec_sparse import config as config_lib
from rec_sparse import models
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train

EQUAL = ('dense_params_nonzero', 'flops_per_example')
LARGEST = 2**14  # no arm is made wider
# config fields that the study sets itself
GRID = (
  'seed',
  'learning_rate',
  'data_fingerprint',
  'feed',
)


@dataclasses.dataclass(frozen=True)
class Arm:
  """One row of the table."""

  name: str  # short name
  model: str  # a name of config.MODEL_OPTIONS
  overrides: dict[str, Any]  # config fields, the study's common ones included
  says: str  # what differs from the reference, in words
  against: str  # the arm it is compared with; its own name for a reference
  equal: str  # one of EQUAL: the width gives the reference's count; '': the width is as given
  published: float | None  # difference in AUC that the paper prints, in points (1e-2)

  @property
  def is_reference(self) -> bool:
    """Whether it is compared with nothing but itself."""
    return self.against == self.name


@dataclasses.dataclass(frozen=True)
class Ablation:
  """A study file, read."""

  name: str  # the file's name without its suffix
  title: str
  source: str  # what is reproduced, or ''
  seeds: tuple[int, ...]
  learning_rates: tuple[float, ...]
  arms: tuple[Arm, ...]  # in the order of the file; the first is a reference


def read_ablation(path: pathlib.Path) -> Ablation:
  """Reads a study file; raises ValueError naming the file, and the arm, where something is wrong."""
  try:
    raw = tomllib.loads(path.read_text(encoding='utf-8'))
  except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
    raise ValueError(f'{path}: not TOML ({e})') from None
  try:
    _no_others(raw, ('title', 'source', 'seeds', 'learning_rates', 'common', 'arms'))
    given, common = raw['arms'], raw.get('common', {})
    reference = next(iter(given))
    arms = tuple(_arm(name, own, common, given, reference) for name, own in given.items())
    for key in common:
      if key in GRID or not any(key in settings.settable(arm.model) for arm in arms):
        raise ValueError(f'common: {key!r} is no field that an arm can set')
    seeds = tuple(range(_positive(raw['seeds'], int)))
    if not raw['learning_rates']:
      raise ValueError('learning_rates: expected at least one')
    return Ablation(
      path.stem,
      raw.get('title', path.stem),
      raw.get('source', ''),
      seeds,
      tuple(_positive(rate, float) for rate in raw['learning_rates']),
      arms,
    )
  except KeyError as e:
    raise ValueError(
      f'{path}: no {e.args[0]!r}; rec_sparse/scaling/ablation.py says what a study file holds'
    ) from None
  except (TypeError, AttributeError, StopIteration) as e:
    raise ValueError(f'{path}: not a study file ({str(e) or "no arms"})') from None
  except ValueError as e:
    raise ValueError(f'{path}: {e}') from None


def configs(
  study: Ablation, schema: schema_lib.FeatureSchema
) -> dict[str, tuple[config_lib.Config, ...]]:
  """Arm -> its trials on data of `schema`; raises ValueError naming the arm whose fields are out of
  range.
  """
  bases = {arm.name: _base(arm, study, schema) for arm in study.arms}
  for arm in study.arms:
    if arm.equal:
      wanted = train.counts(bases[arm.against], schema)[arm.equal]
      bases[arm.name] = _as_large(bases[arm.name], arm, wanted, schema)
  return {
    name: tuple(
      dataclasses.replace(base, learning_rate=rate, seed=seed)
      for rate in study.learning_rates
      for seed in study.seeds
    )
    for name, base in bases.items()
  }


def _base(arm: Arm, study: Ablation, schema: schema_lib.FeatureSchema) -> config_lib.Config:
  try:
    return settings.make(arm.model, arm.overrides | {'data_fingerprint': schema.fingerprint})
  except ValueError as e:
    raise ValueError(f'arm {arm.name!r} of {study.name}: {e}') from None


def _as_large(
  base: config_lib.Config, arm: Arm, wanted: int, schema: schema_lib.FeatureSchema
) -> config_lib.Config:
  """`base` at the width whose count lies nearest to `wanted`."""
  sized = lambda width: dataclasses.replace(base, width=width)
  distance = lambda width: abs(train.counts(sized(width), schema)[arm.equal] - wanted)
  low, high = 1, LARGEST
  while high - low > 1:
    middle = (low + high) // 2
    low, high = (
      (middle, high) if train.counts(sized(middle), schema)[arm.equal] <= wanted else (low, middle)
    )
  return sized(min((low, high), key=distance))


def _arm(
  name: str, own: dict[str, Any], common: dict[str, Any], arms: dict[str, Any], reference: str
) -> Arm:
  about = {key: own[key] for key in ('says', 'against', 'equal', 'published') if key in own}
  model = own.get('model')
  try:
    models.find(model)
    against = about.get('against', reference)
    if against not in arms:
      raise ValueError(f'against={against!r}: there is no such arm')
    if 'equal' in about and (about['equal'] not in EQUAL or 'equal' in arms[against]):
      raise ValueError(
        f'equal={about["equal"]!r}: expected one of {", ".join(EQUAL)}, against an arm of given width'
      )
    if not isinstance(about.get('published', 0.0), int | float):
      raise ValueError(f'published={about["published"]!r}: expected a number')
    if set(own) & set(GRID):
      raise ValueError(
        f'{", ".join(sorted(set(own) & set(GRID)))}: set by the study for all arms alike'
      )
    known = settings.settable(model)
    chosen = {k: v for k, v in common.items() if k in known}
    chosen |= {k: v for k, v in own.items() if k not in about and k != 'model'}
    overrides = settings.parse(model, [f'{k}={_text(v)}' for k, v in chosen.items()])
  except ValueError as e:
    raise ValueError(f'arm {name!r}: {e}') from None
  return Arm(
    name,
    model,
    overrides,
    about.get('says', ''),
    against,
    about.get('equal', ''),
    about.get('published'),
  )


def _text(value: Any) -> str:
  """A TOML value as `--set` would have it: the same checks for both."""
  return ','.join(map(str, value)) if isinstance(value, list) else str(value)


def _no_others(raw: dict[str, Any], known: tuple[str, ...]) -> None:
  for key in raw:
    if key not in known:
      raise ValueError(f'{key!r} is unknown; known: {", ".join(known)}')


def _positive(value: Any, kind: type) -> Any:
  if (
    isinstance(value, bool)
    or not isinstance(value, int | float)
    or not 0 < value < math.inf
    or kind(value) != value
  ):
    raise ValueError(
      f'{value!r}: expected numbers above 0 for seeds (a count) and learning_rates (a list)'
    )
  return kind(value)
