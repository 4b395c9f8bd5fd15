"""One file per architecture, each ending in an `ARCHITECTURE`; here it has one line."""

import functools
import importlib

from rec_sparse.models.architecture import Architecture

NAMES = (
  'dense_mlp',
  'dcn_v2',
  'ssr_s',
  'ssr_d',
  'reaction',
  'lr',
  'fm',
  'deepfm',
  'autoint',
  'finalmlp',
  'wukong',
  'rankmixer',
  'mlp_mixer',
  'masknet',
  'dlrm',
  'afn',
  'mmoe',
  'gated_mlp',
  'routed_mlp',
)


@functools.cache
def find(name: str) -> Architecture:
  """The architecture of one of NAMES, or of the module at an import path.

  Raises ValueError when there is none.
  """
  path = f'{__name__}.{name}' if name in NAMES else name
  try:
    module = importlib.import_module(path)
  except (ModuleNotFoundError, ValueError) as e:
    raise ValueError(
      f'model {name!r} is unknown ({e}); choose one of {", ".join(NAMES)}, or the import path of '
      'a module with an ARCHITECTURE, such as my_package.my_model'
    ) from None
  if not hasattr(module, 'ARCHITECTURE'):
    raise ValueError(f'model {name!r}: the module has no ARCHITECTURE')
  return module.ARCHITECTURE
