"""What every model file ends in: one value that says how the model is built and what it costs."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from rec_sparse import flops
from rec_sparse.config import Config
from rec_sparse.config import NoOptions
from rec_sparse.schema import FeatureSchema

# Purpose -> rows_BxFxD of that width, float32; those of numeric fields are times their values
# already. Neither normalized nor dropped. Of data with clusters also CLUSTER: cluster_B, int32.
Rows = Mapping[str, jax.Array]
CLUSTER = 'cluster'


@dataclasses.dataclass(frozen=True)
class Inputs:
  """What a model is told of the data."""

  fields: int  # F: rows of the table that an example reads
  dim: int  # D: length of an embedding
  tasks: int  # T: labels of an example
  clusters: tuple[str, ...] = ()  # FeatureSchema.clusters: masks, and the first field routes

  @property
  def size(self) -> int:
    """N = F * D: numbers of an example's embeddings."""
    return self.fields * self.dim


def inputs(config: Config, schema: FeatureSchema) -> Inputs:
  """What the model of `config` is told of data of `schema`."""
  return Inputs(len(schema.fields), config.embedding_dim, len(schema.tasks), schema.clusters)


def _no_constants(config: Config, inputs: Inputs, seed: int) -> dict[str, Any]:
  """Of a model that draws none."""
  del config, inputs, seed
  return {}


def _embedding(config: Config, inputs: Inputs) -> dict[str, int]:
  """Of a model that reads embeddings alone."""
  del inputs
  return {'embedding': config.embedding_dim}


def _sound(config: Config) -> None:
  """Of a model whose options may have any values within their own bounds."""
  del config


def _every_input(config: Config, moving: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Of a model all of whose kernels act with all of their rows."""
  del config, moving
  return {}


# Collection -> arrays: `params`, those that training moves, `constants`.
Variables = Mapping[str, Any]


class Served(NamedTuple):
  """A network as it is deployed."""

  module: nn.Module  # called like any other, with train=False
  variables: Variables  # what it is applied to


def _no_terms(config: Config) -> tuple[str, ...]:
  """Of a model whose loss has nothing added that is of interest by itself."""
  del config
  return ()


class Architecture(NamedTuple):
  """How a model is built and what it costs.

  `module(config, inputs)` is called as `module(rows, weight_B=None, *, train)` and gives logits_BxT
  in float32. Initialization and evaluation pass no weight_B and train=False: every parameter is
  made there too. It may draw noise of the stream 'dropout', read `constants`, move the collections
  'batch_stats' and 'masks', and in training sow scalars into 'losses': float32, with their
  coefficients; a mean over examples takes `where=weight_B > 0`; labels are not at hand. What it
  sows into 'logits', further logits_BxT, is trained on the objective's loss as the logits that it
  gives are. The logged training loss contains all of them, a validation none.

  In training, settings that `config` marks with `differs` are arrays: ask `config.is_off`, and drop
  by `layers.Dropout`, whose noise no padding changes.
  """

  module: Callable[[Config, Inputs], nn.Module]
  # Analytic, without the table; of the network that is deployed.
  cost: Callable[[Config, Inputs], flops.Cost]
  options: type = NoOptions  # frozen dataclass of its own settings
  # Filters and the like, drawn from a seed: arrays of the same shapes for every seed, which the
  # module reads by get_variable('constants', name); raises ValueError where data do not fit.
  constants: Callable[[Config, Inputs, int], dict[str, Any]] = _no_constants
  # Purpose -> width in a row of the table; 'embedding' of embedding_dim is among them.
  columns: Callable[[Config, Inputs], dict[str, int]] = _embedding
  knobs: tuple[str, ...] = ('width', 'depth')  # of scale; `views` makes a model multi-view
  # Raises ValueError naming settings that do not go together, or that the model does not read.
  check: Callable[[Config], None] = _sound
  forms: Mapping[
    str, Mapping[str, Any]
  ] = {}  # value of the option `form` -> settings it stands for
  # (config, inputs, trained variables) -> the network that is deployed, where it is another one
  # than the one that is trained, with the logits that an evaluation of that gives. On the host.
  merge: Callable[[Config, Inputs, Variables], Served] | None = None
  # (config, collections that training moves) -> module -> mask_VxN: the inputs that its kernel,
  # (V, N, H), acts on, as many in each view; of kernels that act on all of them nothing is said.
  kept_inputs: Callable[[Config, Mapping[str, Any]], dict[str, np.ndarray]] = _every_input

  # What the trained network costs, where `merge` makes another one of it.
  trained_cost: Callable[[Config, Inputs], flops.Cost] | None = None
  # Names of what it sows into 'losses' and 'logits' that are logged each by itself.
  terms: Callable[[Config], tuple[str, ...]] = _no_terms

  def cost_of_training(self, config: Config, inputs: Inputs) -> flops.Cost:
    """Of the forward pass of the network that is trained."""
    return (self.trained_cost or self.cost)(config, inputs)

  def served(self, config: Config, inputs: Inputs, variables: Variables) -> Served:
    """The network that is deployed: merged where a model says how, else the trained one as it is.

    `variables` are the trained ones, without the marks of parameters: `train.variables(state)`.
    """
    if self.merge:
      return self.merge(config, inputs, variables)
    return Served(self.module(config, inputs), variables)
