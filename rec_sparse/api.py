"""The Python API: what a notebook needs to train a model, look at it, and predict with it.

`import rec_sparse as rs` has all of it. Everything here is a few calls of `train` and `runs`, which
is where to go on for whatever it does not do.
"""

from collections.abc import Callable, Mapping, Sequence
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl
import tqdm.auto

from data_pipelines import blocks
from data_pipelines import columns as columns_lib
from data_pipelines import order
from data_pipelines import raw
from data_pipelines import spec as spec_lib
from rec_sparse import checkpoint
from rec_sparse import config as config_lib
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.runs import evaluation
from rec_sparse.runs import feeds
from rec_sparse.runs import identity
from rec_sparse.runs import run_directory
from rec_sparse.runs import trained as trained_lib
from rec_sparse.serving import scorer as scorer_lib
from rec_sparse.serving.loader import network as network_lib


class Data(NamedTuple):
  """A prepared data set."""

  directory: pathlib.Path  # made by launch.prepare
  schema: schema_lib.FeatureSchema


class Setup(NamedTuple):
  """A config joined with data: everything static of a run, on the first device."""

  config: config_lib.Config
  data: Data
  program: train.Program
  advance: Callable[[train.TrainState, int], tuple[train.TrainState, train.StepSums]]  # steps


def open_data(directory: pathlib.Path | str) -> Data:
  """Opens a dataset directory; raises ValueError naming the file when it is none."""
  return Data(pathlib.Path(directory), schema_lib.load_schema(directory))


def configure(model: str, data: Data, **overrides: Any) -> config_lib.Config:
  """The config of `model` on `data`, with any of its settings by name.

  Raises ValueError naming the setting that is unknown, of another type or out of range.
  """
  return settings.make(model, overrides | {'data_fingerprint': data.schema.fingerprint})


def setup(config: config_lib.Config, data: Data) -> Setup:
  """Joins a config with its data, whose training split goes to the memory of the first device.

  Raises ValueError when the data are damaged, or have fewer rows than a batch.
  """
  program = train.program(config, data.schema)
  split = blocks.open_split(data.directory, data.schema, 'train')
  order.steps_per_epoch(split.rows, config.batch_size)
  feed = feeds.resident_feed(program, feeds.on_devices(program, split))
  return Setup(config, data, program, feed.advance)


def init(setup: Setup) -> train.TrainState:
  """The state at step 0, from the seed of the config."""
  return train.init(setup.program, setup.data.schema)


def steps_per_epoch(setup: Setup) -> int:
  """Batches of the training split; the last one may be partial."""
  return order.steps_per_epoch(setup.data.schema.splits['train'].rows, setup.config.batch_size)


def advance(setup: Setup, state: train.TrainState, steps: int) -> train.TrainState:
  """Trains for `steps` steps, with a progress bar that shows the training loss.

  The state that is given is used up. The batches are those that `launch.train` takes: which come
  next is said by the step of the state. Raises ValueError when the loss is no longer finite.
  """
  with tqdm.auto.tqdm(total=steps, unit='step', desc=setup.config.model) as bar:
    while bar.n < steps:
      count = min(feeds.DISPATCH, steps - bar.n)
      state, sums = setup.advance(state, count)
      loss = float(sums.loss) / count
      if not np.isfinite(loss):
        raise ValueError(f'the training loss became {loss} by step {int(state.step)}')
      bar.set_postfix(loss=f'{loss:.4f}')
      bar.update(count)
  return state


def evaluate(setup: Setup, state: train.TrainState, split: str = 'valid') -> dict[str, Any]:
  """Metrics of a state on a split: log loss in nats, exact AUC, and what else docs/methods.md
  defines.

  Raises ValueError when logits are not finite.
  """
  opened = blocks.open_split(setup.data.directory, setup.data.schema, split)
  found = evaluation.evaluator(setup.program, opened)(state)
  if found is None:
    raise ValueError(f'logits of the {split} split are NaN or infinite')
  return found


def predict(setup: Setup, state: train.TrainState, split: str = 'test') -> np.ndarray:
  """probability_ExT: float32, a row for each example of the split, in its order."""
  opened = blocks.open_split(setup.data.directory, setup.data.schema, split)
  _, logits_ExT = feeds.open_evaluate(setup.program, opened)(state)
  return np.asarray(jax.nn.sigmoid(logits_ExT))


def predict_rows(
  setup: Setup, state: train.TrainState, rows: pl.DataFrame | Mapping[str, Sequence[Any]]
) -> np.ndarray:
  """probability_BxT of raw rows by column, as the log had them; labels are not looked at.

  Raises ValueError naming the column that is missing, or row and column of a wrong number.
  """
  trained = trained_lib.Trained(
    setup.program, state, int(state.step), setup.data.schema, setup.data.directory
  )
  scorer = scorer_lib.of_run(trained)
  frame = pl.DataFrame(rows)
  features = spec_lib.of_features(scorer.spec)
  spec_lib.check_columns(features, tuple(frame.columns), 'rows')
  columns = columns_lib.clean(raw.Chunk(frame, 'rows', 0, 'row'), features)
  encoded = scorer.encode(columns)
  scores = network_lib.in_batches(scorer.score, encoded.ids_BxF, encoded.value_BxA)
  return scores.probability_BxT


def restore(
  directory: pathlib.Path | str, data: Data | None = None, checkpoint_name: str = 'best'
) -> tuple[Setup, train.TrainState]:
  """A run of `launch.train` at its checkpoint 'best', 'last' or a step, ready to go on.

  `data` says where the data set lies now, if it moved. Raises ValueError when there is no such run
  or checkpoint, or when the data are encoded otherwise than those of the run.
  """
  directory = pathlib.Path(directory)
  found, own = run_directory.read(directory)
  data = data or open_data(own)
  made = setup(found, data)
  like = train.abstract_state(made.program, data.schema)
  with checkpoint.manager(directory, read_only=True) as manager:
    step = checkpoint.choose(manager, checkpoint_name)
    identity.check(checkpoint.read_metadata(manager, step), data.schema, data.directory, own)
    state, _, _ = checkpoint.restore(manager, step, made.program, like)
  return made, state
