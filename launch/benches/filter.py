"""The SSR-S layer, forward and backward, against a dense one and against its own product.

The dense layer has the same width.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from launch.benches import timing
from launch.benches.figure import Figure
from launch.benches.figure import ratio
from rec_sparse.models import layers
from rec_sparse.models import norms
from rec_sparse.sparsity import static_filter


class Sizes(NamedTuple):
  inputs: int  # N
  views: int  # V
  kept: int  # K: dimensions that a view keeps and puts out
  batch: int  # B
  turns: int  # of one dispatch
  rounds: int


FULL = Sizes(2048, 16, 128, 4096, 8, 7)
TINY = Sizes(16, 2, 4, 8, 2, 2)


def measure(sizes: Sizes) -> Iterator[Figure]:
  """All figures of --what=filter.

  A layer's time holds its forward and the gradients to its input and weights.
  """
  views = sizes.views
  kept = sizes.kept
  drawn = static_filter.draw(0, 0, inputs=sizes.inputs, views=views, kept=kept)
  drawn = jax.tree.map(jnp.asarray, drawn)
  keys = jax.random.split(jax.random.key(0), 3)
  x_NxB = jax.random.normal(keys[0], (sizes.inputs, sizes.batch))
  kernel_VxKxH = jax.random.normal(keys[1], (views, kept, kept)) / kept**0.5
  kernel_NxH = jax.random.normal(keys[2], (sizes.inputs, views * kept)) / sizes.inputs**0.5
  h_VxKxB = static_filter.keep(drawn, x_NxB)

  fuse = layers.Fuse(kept, residual=False)
  fuse_params = fuse.init(jax.random.key(0), h_VxKxB[..., :1])
  act = _Activate()
  act_params = act.init(jax.random.key(0), h_VxKxB[..., :1])

  def product(kernel_VxKxH, h_VxKxB):
    return jnp.einsum('vkb,vkh->vhb', h_VxKxB, kernel_VxKxH)

  def ssr_s(kernel_VxKxH, x_NxB):
    return product(kernel_VxKxH, static_filter.keep(drawn, x_NxB))

  def dense(kernel_NxH, x_NxB):
    return jnp.einsum('nb,nh->hb', x_NxB, kernel_NxH).reshape(views, kept, -1)

  def ssr_s_fuse(params, x_NxB):
    return fuse.apply(params, static_filter.keep(drawn, x_NxB))

  def dense_fuse(params, x_NxB):
    kernel_NxH, act_params = params
    return act.apply(act_params, dense(kernel_NxH, x_NxB))

  cases = {
    'ssr_s': (ssr_s, kernel_VxKxH, x_NxB),
    'dense': (dense, kernel_NxH, x_NxB),
    'product': (product, kernel_VxKxH, h_VxKxB),
    'ssr_s_fuse': (ssr_s_fuse, fuse_params, x_NxB),
    'dense_fuse': (dense_fuse, (kernel_NxH, act_params), x_NxB),
  }
  calls = {name: _both_ways(sizes, *case) for name, case in cases.items()}
  seconds = timing.interleave(calls, sizes.rounds)

  yield ratio('filter_speedup', seconds['dense'], seconds['ssr_s'], 'dense layer / SSR-S layer')
  yield ratio(
    'filter_over_product', seconds['ssr_s'], seconds['product'], 'SSR-S layer / its product alone'
  )
  yield ratio(
    'filter_speedup_with_fuse',
    seconds['dense_fuse'],
    seconds['ssr_s_fuse'],
    'the same, both with bias, GELU and normalization',
  )
  for name in cases:
    milliseconds = 1e3 * timing.median(seconds, name) / sizes.turns
    yield Figure(f'filter_{name}_ms', milliseconds, 'ms', 'forward and backward')


class _Activate(nn.Module):
  """What Fuse does after its product, for a dense layer."""

  @nn.compact
  def __call__(self, z_VxHxB: jax.Array) -> jax.Array:
    bias_VxH = self.param('bias', nn.initializers.zeros, z_VxHxB.shape[:2])
    return norms.LayerNorm(name='norm')(nn.gelu(z_VxHxB + bias_VxH[..., None]))


def _both_ways(sizes: Sizes, layer: Callable, params: jax.Array, x: jax.Array) -> timing.Call:
  bar_VxHxB = jax.random.normal(jax.random.key(1), (sizes.views, sizes.kept, sizes.batch))

  def both(params, x, bar_VxHxB):
    out_VxHxB, back = jax.vjp(layer, params, x)
    return out_VxHxB, back(bar_VxHxB)

  return timing.repeated(both, sizes.turns, params, x, bar_VxHxB)[0]
