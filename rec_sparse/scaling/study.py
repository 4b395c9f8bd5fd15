"""What a study asks, and the file that keeps it in a study directory (`study.json`)."""

import dataclasses
import pathlib
from typing import Any, Literal

from rec_sparse import config as config_lib
from rec_sparse import schema as schema_lib
from rec_sparse import typed

FORMAT_VERSION = 2
Count = Literal['', 'dense_params_nonzero', 'flops_per_example']


@dataclasses.dataclass(frozen=True)
class Arm:
  """One curve of a chart (an arm with a ladder), or one row of a table (an arm of one size)."""

  name: str  # in records, tables and pictures
  model: str  # name of its architecture
  overrides: dict[str, Any]  # config fields that the study sets, those of all arms included
  # config field -> its values; every combination is a rung of the ladder; {}: one size
  scale: dict[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
  says: str = ''  # what differs from the reference, in words
  against: str = ''  # arm of one size that it is compared with; its own name for a reference
  equal: Count = ''  # the width gives the reference's count; '': the width is as given
  published: float | None = None  # difference in AUC that a paper prints, in points (1e-2)
  published_auc: float | None = None  # AUC on test rows that a benchmark prints
  data: str = ''  # dataset directory with the same test rows as the study's; '': the study's

  @property
  def is_reference(self) -> bool:
    """Whether it is compared with nothing but itself."""
    return self.against == self.name


@dataclasses.dataclass(frozen=True)
class Study:
  """Arms that are trained alike: every size at every learning rate, from every seed."""

  name: str  # names its files
  title: str  # of its picture
  source: str  # what is reproduced, or ''
  seeds: tuple[int, ...]
  learning_rates: tuple[float, ...]
  arms: tuple[Arm, ...]  # in the order of tables and charts

  @property
  def ladders(self) -> tuple[Arm, ...]:
    """Arms of several sizes: the chart and the verdicts are about them."""
    return tuple(arm for arm in self.arms if arm.scale)

  @property
  def singles(self) -> tuple[Arm, ...]:
    """Arms of one size: the table is about them."""
    return tuple(arm for arm in self.arms if not arm.scale)


@dataclasses.dataclass(frozen=True)
class Planned:
  """A study, and what became of it on one data set."""

  study: Study
  recipes: dict[str, dict[str, Any]]  # arm -> config fields that all of its trials share
  trials: dict[str, tuple[str, ...]]  # arm -> run ids; arms and studies may share some


@dataclasses.dataclass(frozen=True)
class Directory:
  """`study.json`: the studies on one data set that share the trials of a directory."""

  format_version: int
  data: str  # dataset directory
  data_fingerprint: str  # SHA-256 of that data set
  teacher: schema_lib.Teacher | None  # expected; synthetic data only
  realised_logloss: float | None  # of the teacher's own probabilities on the test rows, if known
  test_base_rate: float | None  # share of positive labels in the test split, of one task
  commands: tuple[str, ...]  # shell lines that made it
  studies: tuple[Planned, ...]  # names differ; at most one has ladders


def read_directory(path: pathlib.Path) -> Directory:
  """Reads `study.json`; raises ValueError naming the file when it is missing or something else."""
  if not path.is_file():
    raise ValueError(f'{path}: not found; is --study a study directory made by launch.sweep?')
  raw = schema_lib.read_json(path)
  version = raw.get('format_version')
  if version not in (None, FORMAT_VERSION):
    raise ValueError(
      f'{path}: format_version is {version!r}, this program reads {FORMAT_VERSION}; '
      'the release that wrote it reports it, and launch.sweep trains it again in another directory'
    )
  try:
    return typed.convert(Directory, raw)
  except ValueError as e:
    raise ValueError(f'{path}: not a study that launch.sweep wrote ({e})') from None


def grow(old: Planned, new: Planned) -> Planned:
  """Both: arms, sizes, rates and seeds of either.

  Raises ValueError naming the fields when an arm of both has two recipes.
  """
  for name in old.recipes.keys() & new.recipes.keys():
    differ = config_lib.differing(old.recipes[name], new.recipes[name])
    if differ:
      raise ValueError(f'its trials of {name} differ in {", ".join(differ)}')
  arms = {arm.name: arm for arm in old.study.arms}
  for arm in new.study.arms:
    known = arms.get(arm.name, arm)
    scale = {axis: _either(known.scale.get(axis, ()), values) for axis, values in arm.scale.items()}
    arms[arm.name] = dataclasses.replace(arm, scale=scale)
  study = dataclasses.replace(
    new.study,
    seeds=_either(old.study.seeds, new.study.seeds),
    learning_rates=_either(old.study.learning_rates, new.study.learning_rates),
    arms=tuple(arms.values()),
  )
  trials = {
    name: tuple(dict.fromkeys(old.trials.get(name, ()) + new.trials.get(name, ()))) for name in arms
  }
  return Planned(study, old.recipes | new.recipes, trials)


def _either(old: tuple, new: tuple) -> tuple:
  return tuple(sorted({*old, *new}))
