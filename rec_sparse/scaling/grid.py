"""A grid of trials: every arm gets the same widths, depths, learning rates, seeds and batches (design, section 5)."""

import dataclasses
import itertools
from typing import Any

from rec_sparse import config as config_lib


@dataclasses.dataclass(frozen=True)
class Grid:
  """The axes of a sweep."""

  arms: tuple[str, ...]  # model names
  widths: tuple[int, ...]
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
    if not values:
      raise ValueError(f'--{axis}: expected at least one value')
  own = {arm: common | _settings(grid.arms, arm, settings) for arm in grid.arms}
  configs = [
      config_lib.make(arm, own[arm] | {'width': w, 'depth': d, 'views': v, 'learning_rate': lr, 'seed': s})
      for arm, w, d, v, lr, s in itertools.product(
          grid.arms, grid.widths, grid.depths, grid.views, grid.learning_rates, grid.seeds)]
  return list(dict.fromkeys(configs))


def groups(configs: list[config_lib.Config]) -> list[list[config_lib.Config]]:
  """Configs that differ in seed and learning rate alone: each group can run as one vectorised program."""
  found: dict[config_lib.Config, list[config_lib.Config]] = {}
  for config in configs:
    found.setdefault(dataclasses.replace(config, seed=0, learning_rate=1.0), []).append(config)
  return list(found.values())


def _settings(arms: tuple[str, ...], arm: str, settings: list[str]) -> dict[str, Any]:
  """The settings that `arm` has a field for; one that no arm has is an error of the first arm."""
  names = lambda model: config_lib.settable(model) if model in config_lib.MODEL_OPTIONS else {}
  mine = [s for s in settings if s.partition('=')[0] in names(arm)
          or not any(s.partition('=')[0] in names(other) for other in arms)]
  return config_lib.parse_settings(arm, mine) if arm in config_lib.MODEL_OPTIONS else {}
