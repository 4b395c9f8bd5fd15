"""A grid of trials: every arm gets the same depths, learning rates, seeds and batches (design,
section 5).
"""

import dataclasses
import itertools
from typing import Any

from rec_sparse import config as config_lib
from rec_sparse import settings as settings_lib


@dataclasses.dataclass(frozen=True)
class Grid:
  """The axes of a sweep."""

  arms: tuple[str, ...]  # model names
  widths: dict[str, tuple[int, ...]]  # of each arm: equal widths cost arms unequal FLOPs
  depths: tuple[int, ...]
  views: tuple[int, ...]  # read by multi-view arms only
  learning_rates: tuple[float, ...]
  seeds: tuple[int, ...]


def trials(grid: Grid, common: dict[str, Any], settings: list[str]) -> list[config_lib.Config]:
  """All configs of the grid, each once; the trials of one shape stand together.

  `common` overrides go to every arm; a `name=value` setting goes to the arms that have the field.
  Raises ValueError for an empty axis, a value out of range, or a setting that no arm knows.
  """
  for axis, values in dataclasses.asdict(grid).items():
    if not values or axis == 'widths' and not all(values.values()):
      raise ValueError(f'--{axis}: expected at least one value')
  own = {arm: common | _settings(grid.arms, arm, settings) for arm in grid.arms}
  configs = [
    settings_lib.make(
      arm, own[arm] | {'width': w, 'depth': d, 'views': v, 'learning_rate': lr, 'seed': s}
    )
    for arm in grid.arms
    for w, d, v, lr, s in itertools.product(
      grid.widths[arm], grid.depths, grid.views, grid.learning_rates, grid.seeds
    )
  ]
  return list(dict.fromkeys(configs))


def parse_widths(arms: tuple[str, ...], items: list[str]) -> dict[str, tuple[int, ...]]:
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
  return {arm: tuple(widths) for arm, widths in found.items()}


def groups(configs: list[config_lib.Config]) -> list[list[config_lib.Config]]:
  """Configs that differ in seed and learning rate alone: each group can run as one vectorised
  program.
  """
  found: dict[config_lib.Config, list[config_lib.Config]] = {}
  for config in configs:
    found.setdefault(shape(config), []).append(config)
  return list(found.values())


def shape(config: config_lib.Config) -> config_lib.Config:
  """The same for all configs of a group."""
  return dataclasses.replace(config, seed=0, learning_rate=1.0)


def _settings(arms: tuple[str, ...], arm: str, settings: list[str]) -> dict[str, Any]:
  """The settings that `arm` has a field for; one that no arm has is an error of the first arm."""
  names = settings_lib.settable
  mine = [
    s
    for s in settings
    if s.partition('=')[0] in names(arm)
    or not any(s.partition('=')[0] in names(other) for other in arms)
  ]
  return settings_lib.parse(arm, mine)
