"""What every model file ends in: one value that says how the model is built and what it costs."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from rec_sparse import flops
from rec_sparse.config import Config
from rec_sparse.config import NoOptions
from rec_sparse.schema import FeatureSchema

Rows = Mapping[str, jax.Array]  # purpose -> rows_BxFxD of that width


@dataclasses.dataclass(frozen=True)
class Inputs:
  """What a model is told of the data."""

  fields: int  # F: rows of the table that an example reads
  dim: int  # D: length of an embedding
  tasks: int  # T: labels of an example

  @property
  def size(self) -> int:
    """N = F * D: numbers of an example's embeddings."""
    return self.fields * self.dim


def inputs(config: Config, schema: FeatureSchema) -> Inputs:
  """What the model of `config` is told of data of `schema`."""
  return Inputs(len(schema.fields), config.embedding_dim, len(schema.tasks))


def _no_constants(config: Config, inputs: Inputs, seed: int) -> dict[str, Any]:
  """Of a model that draws none."""
  del config, inputs, seed
  return {}


def _embedding(config: Config) -> dict[str, int]:
  """Of a model that reads embeddings alone."""
  return {'embedding': config.embedding_dim}


def _sound(config: Config) -> None:
  """Of a model whose options may have any values within their own bounds."""
  del config


class Architecture(NamedTuple):
  """A model: `module` is called with `Rows`, weight_B and `train=`, and gives logits_BxT."""

  module: Callable[[Config, Inputs], nn.Module]
  cost: Callable[[Config, Inputs], flops.Cost]  # analytic, without the table
  options: type = NoOptions  # frozen dataclass of its own settings
  # Filters and the like, drawn from a seed: the module's collection `constants`.
  constants: Callable[[Config, Inputs, int], dict[str, Any]] = _no_constants
  columns: Callable[[Config], dict[str, int]] = _embedding  # purpose -> width of a table row
  knobs: tuple[str, ...] = ('width', 'depth')  # of scale; `views` makes a model multi-view
  check: Callable[[Config], None] = (
    _sound  # raises ValueError naming settings that do not go together
  )
  forms: Mapping[
    str, Mapping[str, Any]
  ] = {}  # value of the option `form` -> settings it stands for
