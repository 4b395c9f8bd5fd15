"""The training step of every model against its own dense part, forward and backward.

What is above 1 is lookup, update of the table, dense optimizer and metrics. They are alike for all
models but for the columns of a row, so models whose dense part is small have the largest ratios.
"""

from collections.abc import Iterator
from typing import NamedTuple

from launch.benches import step
from launch.benches import timing
from launch.benches.figure import Figure
from launch.benches.figure import ratio
from rec_sparse import config as config_lib
from rec_sparse import models
from rec_sparse import settings


class Sizes(NamedTuple):
  fields: int
  dim: int
  batch: int  # examples a step
  width: int  # of layers; of a view a quarter
  views: int
  table: int  # rows
  data: int  # resident examples
  steps: int  # of one dispatch
  rounds: int
  models: tuple[str, ...]


FULL = Sizes(39, 16, 2048, 256, 8, 1_000_000, 32_768, 2, 7, models.NAMES)
TINY = Sizes(4, 4, 32, 8, 2, 200, 64, 2, 2, ('deepfm', 'ssr_s'))


def measure(sizes: Sizes) -> Iterator[Figure]:
  """All figures of --what=models: two for each."""
  for model in sizes.models:
    yield from _of_model(sizes, model)


def _of_model(sizes: Sizes, model: str) -> Iterator[Figure]:
  config = _config(sizes, model)
  whole = step.training(config, sizes.fields, sizes.table, sizes.data, 'zipf', sizes.steps)
  alone = step.dense_alone(whole.run, sizes.fields, sizes.steps)
  seconds = timing.interleave({'whole': whole.call, 'dense': alone}, sizes.rounds)
  yield ratio(
    f'{model}_over_dense',
    seconds['whole'],
    seconds['dense'],
    f'step / dense forward and backward; {config_lib.in_short(config)}',
  )
  yield Figure(
    f'{model}_step_ms', 1e3 * timing.median(seconds, 'whole') / sizes.steps, 'ms', 'whole step'
  )


def _config(sizes: Sizes, model: str) -> config_lib.Config:
  shape = {'width': sizes.width}
  if 'views' in models.find(model).knobs:
    shape = {'width': sizes.width // 4, 'views': sizes.views}
  return settings.make(model, shape | {'embedding_dim': sizes.dim, 'batch_size': sizes.batch})
