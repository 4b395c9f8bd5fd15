"""Test hygiene: eight simulated devices, strict promotion of dtypes and ranks; each program is
compiled once.
"""

import importlib.metadata
import os
import pathlib
import shutil
import tempfile

# Tests compile far more than they compute; the processes that they start inherit the choice.
os.environ.setdefault('XLA_FLAGS', '--xla_backend_optimization_level=0')
if 'QUICK' in os.environ and importlib.metadata.version('jaxlib').startswith('0.10.'):
  # Older kernels compile in half the time; later ones have no choice. Not for tests that are marked
  # `fusions`: of bits that fusions decide, and of what is updated in place.
  os.environ['XLA_FLAGS'] += ' --xla_cpu_use_fusion_emitters=false'

import jax

jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')

# Runs that resume, and workers side by side, would compile the same programs again and again.
RUN = os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())
CACHE = pathlib.Path(tempfile.gettempdir()) / f'rec_sparse_tests_{RUN}'
jax.config.update('jax_compilation_cache_dir', str(CACHE))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


def pytest_sessionfinish(session):
  """The last process to end removes the cache: workers have `workerinput`, their controller does
  not.
  """
  if not hasattr(session.config, 'workerinput'):
    shutil.rmtree(CACHE, ignore_errors=True)
