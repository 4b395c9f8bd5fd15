"""Devices by name: their memory and their peaks, from public data sheets, and how to describe them.

Sources: cloud.google.com/tpu/docs (v4, v5e, v5p, v6e, TPU7x), the data sheets of H100 SXM, H200 and
B200. Peaks are of bfloat16 products, without sparsity. Of TPU7x a device is one of two cores.
"""

import math
import re
from typing import NamedTuple

import jax
from jax.experimental import topologies

from rec_sparse.embedding import table as table_lib


class Chip(NamedTuple):
  """One device."""

  memory: int  # bytes
  flops: float  # a second
  bandwidth: float  # bytes a second, of its memory


class Tables(NamedTuple):
  """How tables lie on devices of a kind, unless flags say otherwise (docs/accelerators.md)."""

  layout: table_lib.LayoutName
  lookup: table_lib.ExchangeName


GB = 10**9
CHIPS = {
  'v4': Chip(32 * GB, 275e12, 1.2e12),
  'v5e': Chip(16 * GB, 197e12, 0.819e12),
  'v5p': Chip(95 * GB, 459e12, 2.765e12),
  'v6e': Chip(32 * GB, 918e12, 1.64e12),
  'tpu7x': Chip(96 * GB, 1153e12, 3.69e12),
  'h100': Chip(80 * GB, 989e12, 3.35e12),
  'h200': Chip(141 * GB, 989e12, 4.8e12),
  'b200': Chip(180 * GB, 2250e12, 7.7e12),
}
# A TPU lays rows out across its lanes, and many of them would each handle the whole batch.
_ON_TPU = Tables('packed', 'all_to_all')
_ELSEWHERE = Tables('rows', 'reduce_scatter')
_NAME = re.compile(r'(?P<chip>v4|v5e|v5p|v6e|tpu7x|h100|h200|b200)(:(?P<shape>\d+(x\d+)*))?')
_HOPPER = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84942979072 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


class NoCompiler(ValueError):
  """The compiler of a topology is not installed."""


def parse(topology: str) -> tuple[str, int]:
  """'v5p:4x4x4' -> ('v5p', 64), 'h100:8' -> ('h100', 8).

  Raises ValueError for a name that is not known.
  """
  match = _NAME.fullmatch(topology.lower())
  if not match:
    raise ValueError(
      f'--topology={topology}: expected one of {", ".join(CHIPS)}, with a shape such as v5p:4x4x4 '
      'or h100:8'
    )
  shape = match['shape'] or '1'
  devices = math.prod(map(int, shape.split('x')))
  cores = 2 if match['chip'] == 'tpu7x' else 1
  return match['chip'], devices * cores


def tables(
  device: jax.Device, layout: table_lib.LayoutName | None, lookup: table_lib.ExchangeName | None
) -> Tables:
  """How tables lie on such devices, what is not None as it is given."""
  best = _ON_TPU if device.platform == 'tpu' else _ELSEWHERE
  return Tables(layout or best.layout, lookup or best.lookup)


def devices_of(topology: str) -> list[jax.Device]:
  """Devices of a slice or a host that need not be there, for which programs compile.

  A GPU is compiled for as an H100, whatever its name: of others, memory and peaks are their own.
  Raises NoCompiler naming what to install where the compiler is not at hand.
  """
  chip, devices = parse(topology)
  try:
    if chip.startswith(('v', 'tpu')):
      found = topologies.get_topology_desc(platform='tpu', topology_name=_tpu_name(topology))
    else:
      found = topologies.get_topology_desc(
        topology_name='', platform='cuda', topology=f'1x{devices}x1', target_config=_HOPPER
      )
  except (RuntimeError, ValueError, NotImplementedError, ImportError) as e:
    extra = 'libtpu' if chip.startswith(('v', 'tpu')) else 'jax[cuda12]'
    raise NoCompiler(
      f'--topology={topology}: its compiler is not at hand ({_first_line(e)}); install {extra}'
    ) from None
  return list(found.devices)


def _tpu_name(topology: str) -> str:
  """The compiler's name: a chip alone is the smallest slice that it knows, of which one is used."""
  smallest = {'v4': '2x2x1', 'v5e': '2x2', 'v5p': '2x2x1', 'v6e': '2x2', 'tpu7x': '2x2x1'}
  name = topology.lower()
  chip, colon, shape = name.partition(':')
  return f'{chip}:{shape if colon and shape != "1" else smallest[chip]}'


def _first_line(e: Exception) -> str:
  return str(e).strip().partition('\n')[0][:120]
