"""Hidden layers for deployment: a batch normalization by averages goes into the kernel before it.

An evaluation computes `W gain` and `bias gain + shift` anew at each call (`layers.Linear`).
"""

from collections.abc import Callable
import dataclasses

import flax.linen as nn

from rec_sparse.config import Config
from rec_sparse.models import norms
from rec_sparse.models.architecture import Inputs
from rec_sparse.models.architecture import Served
from rec_sparse.models.architecture import Variables


def serve(
  module: Callable[[Config, Inputs], nn.Module],
  config: Config,
  inputs: Inputs,
  variables: Variables,
) -> Served:
  """The network of `module`, whose modules layer_i are those of `layers.hidden`."""
  if config.hidden_norm != 'batch':
    return Served(module(config, inputs), variables)

  params = dict(variables['params'])
  averages = dict(variables['batch_stats'])
  for i in range(config.depth):
    name = f'layer_{i}'
    params[name] = _folded(params[name], averages.pop(name)['norm'])
  plain = dataclasses.replace(config, hidden_norm='none')
  return Served(
    module(plain, inputs), dict(variables) | {'params': params, 'batch_stats': averages}
  )


def _folded(layer: Variables, averages: Variables) -> Variables:
  norm = layer['norm']
  gain_H, shift_H = norms.unit_affine(
    norm['scale'], norm['bias'], averages['mean'], averages['var']
  )
  return {
    'kernel': layer['kernel'] * gain_H[None],
    'bias': layer['bias'] * gain_H + shift_H,
  }
