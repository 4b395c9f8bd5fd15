"""What scores raw rows: a run with the encoder of its data, or an artifact by its own loader."""

from collections.abc import Callable
import functools
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from data_pipelines import columns as columns_lib
from data_pipelines import encoder as encoder_lib
from data_pipelines import spec as spec_lib
from rec_sparse import config as config_lib
from rec_sparse import train
from rec_sparse.runs import trained as trained_lib
from rec_sparse.serving.loader import network as network_lib


class Scorer(NamedTuple):
  """Two functions, and what must be known of the rows and of the outputs."""

  spec: spec_lib.Spec  # settled: which columns a row has
  made_from: str  # the source of the data set that it was trained on
  tasks: tuple[str, ...]
  fields: tuple[str, ...]
  encode: Callable[[columns_lib.Columns], network_lib.Encoded]
  score: network_lib.Call
  about: dict[str, Any]  # which network this is


def of_run(trained: trained_lib.Trained) -> Scorer:
  """Of a restored run; raises ValueError when its data were made of no raw logs."""
  run = trained.program
  schema = trained.schema
  encoder = encoder_lib.load(trained.data)
  ids_of = encoder_lib.ids_of(encoder)
  offset_F = np.array(schema.offsets, np.int32)

  def encode(columns: columns_lib.Columns) -> network_lib.Encoded:
    found = encoder_lib.encode(encoder, ids_of, columns)
    return network_lib.Encoded(found.ids_BxF + offset_F, found.value_BxA, found.unknown_BxF)

  @jax.jit
  def score(
    state: train.TrainState, ids_BxF: jax.Array, value_BxA: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    batch = {'ids_BxF': ids_BxF, 'value_BxA': value_BxA}
    logits_BxT = train.forward(run, run.module, train.variables(state), state.table, batch)
    return logits_BxT, jax.nn.sigmoid(logits_BxT)

  return Scorer(
    encoder.spec,
    schema.source['kind'],
    schema.tasks,
    tuple(field.name for field in schema.fields),
    encode,
    functools.partial(score, train.without_optimizer(trained.state)),
    {'run_id': config_lib.run_id(run.config), 'step': trained.step},
  )


def of_artifact(directory: pathlib.Path) -> Scorer:
  """Of what `export` wrote; raises ValueError when it is damaged or of another format."""
  network = network_lib.load(directory)
  source = network.about['source']
  path = str(directory / 'artifact.json')
  if not network.encoders:
    raise ValueError(f'{path}: was not made of raw logs, its vocabularies encode none')

  def encode(columns: columns_lib.Columns) -> network_lib.Encoded:
    texts = {name: series.to_list() for name, series in columns.text.items()}
    numbers = {name: series.to_numpy() for name, series in columns.number.items()}  # null is NaN
    return network.encode(texts | numbers)

  return Scorer(
    spec_lib.of_source(source, path),
    source['kind'],
    tuple(network.tasks),
    tuple(network.fields),
    encode,
    network.call,
    {name: network.about[name] for name in ('run_id', 'step', 'hash')},
  )
