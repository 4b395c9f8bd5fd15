"""One file per architecture, each a linen Module over looked-up rows; MODELS maps name ->
architecture.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn

from rec_sparse import config as config_lib
from rec_sparse import flops
from rec_sparse.models import dcn_v2
from rec_sparse.models import dense_mlp
from rec_sparse.models import ssr_d
from rec_sparse.models import ssr_s


class Architecture(NamedTuple):
  """How a named model is built, what it keeps constant, and what it costs."""

  # (config, tasks) -> rows_BxFxD, weight_B -> logits_BxT
  module: Callable[[config_lib.Config, int], nn.Module]
  cost: Callable[[config_lib.Config, int, int], flops.Cost]  # (config, inputs F * D, tasks)
  # (config, inputs, seed) -> constants
  filters: Callable[[config_lib.Config, int, int], dict[str, Any]]


MODELS = {
  'dense_mlp': Architecture(dense_mlp.DenseMLP, dense_mlp.cost, lambda *_: {}),
  'dcn_v2': Architecture(dcn_v2.DCNV2, dcn_v2.cost, lambda *_: {}),
  'ssr_s': Architecture(ssr_s.SSRS, ssr_s.cost, ssr_s.filters),
  'ssr_d': Architecture(ssr_d.SSRD, ssr_d.cost, lambda *_: {}),
}
