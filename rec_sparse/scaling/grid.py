"""A study on one data set as configs to train: every arm gets the same rates, seeds and batches."""

from collections.abc import Callable, Iterable, Mapping
import itertools
import types
from typing import Any

from rec_sparse import config as config_lib
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.scaling.study import Arm
from rec_sparse.scaling.study import Planned
from rec_sparse.scaling.study import Study

LARGEST = 2**14  # no arm is made wider
Trials = dict[str, tuple[config_lib.Config, ...]]  # arm -> its configs, each once


def trials(
  study: Study,
  schema: schema_lib.FeatureSchema,
  others: Mapping[str, schema_lib.FeatureSchema] = types.MappingProxyType({}),
) -> Trials:
  """The trials of each arm on data of `schema`: every rung at every learning rate, from every seed.

  `others` has the schemas of the arms that name data of their own. Raises ValueError naming the arm
  whose fields are out of range.
  """
  schemas = {arm.name: others[arm.data] if arm.data else schema for arm in study.arms}
  sizes = {arm.name: sizes_of(arm) for arm in study.arms}
  for arm in study.arms:
    if arm.equal:
      reference = next(other for other in study.arms if other.name == arm.against)
      theirs = schemas[reference.name]
      wanted = train.counts(_make(reference, {}, theirs), theirs)[arm.equal]
      sizes[arm.name] = [{'width': _width_of(arm, wanted, schemas[arm.name])}]
  configs = {}
  for arm in study.arms:
    varied = itertools.product(sizes[arm.name], study.learning_rates, study.seeds)
    own = [
      _make(arm, size | {'learning_rate': rate, 'seed': seed}, schemas[arm.name])
      for size, rate, seed in varied
    ]
    configs[arm.name] = tuple(dict.fromkeys(own))
  return configs


def sizes_of(arm: Arm) -> list[dict[str, Any]]:
  """Config fields of each rung: all combinations of its scale; one without fields for one size."""
  combinations = itertools.product(*arm.scale.values())
  return [dict(zip(arm.scale, values, strict=True)) for values in combinations]


def plan(study: Study, configs: Trials) -> Planned:
  """The study with the run ids of its trials, and what those of an arm have in common."""
  recipes = {}
  for arm in study.arms:
    fields = config_lib.flat(config_lib.to_raw(configs[arm.name][0]))
    varied = ('learning_rate', 'seed', *arm.scale)
    recipes[arm.name] = {name: value for name, value in fields.items() if name not in varied}
  run_ids = {name: tuple(map(config_lib.run_id, own)) for name, own in configs.items()}
  return Planned(study, recipes, run_ids)


def groups(configs: Iterable[config_lib.Config]) -> list[list[config_lib.Config]]:
  """Configs of one `config.shape` each: a group can run as one vectorised program."""
  found: dict[config_lib.Config, list[config_lib.Config]] = {}
  for config in configs:
    found.setdefault(config_lib.shape(config), []).append(config)
  return list(found.values())


def _make(arm: Arm, size: dict[str, Any], schema: schema_lib.FeatureSchema) -> config_lib.Config:
  given = arm.overrides | size | {'data_fingerprint': schema.fingerprint}
  try:
    return settings.make(arm.model, given)
  except ValueError as e:
    raise ValueError(f'arm {arm.name!r}: {e}') from None


def _width_of(arm: Arm, wanted: int, schema: schema_lib.FeatureSchema) -> int:
  """The width at which the arm's count lies nearest to `wanted`."""

  def count(width: int) -> int:
    return train.counts(_make(arm, {'width': width}, schema), schema)[arm.equal]

  return width_of_count(count, wanted)


def width_of_count(count: Callable[[int], int], wanted: int) -> int:
  """The width, up to LARGEST, at which a count that rises with it lies nearest to `wanted`."""

  def distance(width: int) -> int:
    return abs(count(width) - wanted)

  low = 1
  high = LARGEST
  while high - low > 1:
    middle = (low + high) // 2
    if count(middle) <= wanted:
      low = middle
    else:
      high = middle
  return min((low, high), key=distance)
