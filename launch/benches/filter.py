"""The SSR-S layer, forward and backward: against a dense layer of the same width, and against its
own product.
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
  """All figures of --what=filter. A layer's time holds its forward and the gradients to its input
  and weights.
  """
  views, kept = sizes.views, sizes.kept
  width = views * kept
  drawn = jax.tree.map(
    jnp.asarray, static_filter.draw(0, 0, inputs=sizes.inputs, views=views, kept=kept)
  )
  keys = jax.random.split(jax.random.key(0), 3)
  x_NxB = jax.random.normal(keys[0], (sizes.inputs, sizes.batch))
  kernel_VxKxH = jax.random.normal(keys[1], (views, kept, kept)) / kept**0.5
  kernel_NxH = jax.random.normal(keys[2], (sizes.inputs, width)) / sizes.inputs**0.5
  h_VxKxB = static_filter.keep(drawn, x_NxB)
  fuse, act = layers.Fuse(kept, residual=False), _Activate()
  fuse_params = fuse.init(jax.random.key(0), h_VxKxB[..., :1])
  act_params = act.init(jax.random.key(0), h_VxKxB[..., :1])

  product = lambda kernel_VxKxH, h_VxKxB: jnp.einsum('vkb,vkh->vhb', h_VxKxB, kernel_VxKxH)
  dense = lambda kernel_NxH, x_NxB: jnp.einsum('nb,nh->hb', x_NxB, kernel_NxH).reshape(
    views, kept, -1
  )
  cases = {
    'ssr_s': (
      lambda kernel, x_NxB: product(kernel, static_filter.keep(drawn, x_NxB)),
      kernel_VxKxH,
      x_NxB,
    ),
    'dense': (dense, kernel_NxH, x_NxB),
    'product': (product, kernel_VxKxH, h_VxKxB),
    'ssr_s_fuse': (
      lambda p, x_NxB: fuse.apply(p, static_filter.keep(drawn, x_NxB)),
      fuse_params,
      x_NxB,
    ),
    'dense_fuse': (
      lambda p, x_NxB: act.apply(p[1], dense(p[0], x_NxB)),
      (kernel_NxH, act_params),
      x_NxB,
    ),
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
    yield Figure(
      f'filter_{name}_ms',
      1e3 * timing.median(seconds, name) / sizes.turns,
      'ms',
      'forward and backward',
    )


class _Activate(nn.Module):
  """What Fuse does after its product, for a dense layer."""

  @nn.compact
  def __call__(self, z_VxHxB: jax.Array) -> jax.Array:
    bias_VxH = self.param('bias', nn.initializers.zeros, z_VxHxB.shape[:2])
    return layers.ViewNorm(name='norm')(nn.gelu(z_VxHxB + bias_VxH[..., None]))


def _both_ways(sizes: Sizes, layer: Callable, params: jax.Array, x: jax.Array) -> timing.Call:
  bar_VxHxB = jax.random.normal(jax.random.key(1), (sizes.views, sizes.kept, sizes.batch))

  def both(params, x, bar_VxHxB):
    out_VxHxB, back = jax.vjp(layer, params, x)
    return out_VxHxB, back(bar_VxHxB)

  return timing.repeated(both, sizes.turns, params, x, bar_VxHxB)[0]
