"""What a program needs of a memory, what a device has, and how a full one says so: XLA for
accelerators, XLA for CPUs, Python, NumPy, each in its own way.
"""

from collections.abc import Sequence
import os

import jax

_SPELLINGS = ('resource_exhausted', 'out of memory', 'memoryerror')


def in_words(error: Exception) -> str:
  """The type and the text of an error, as a trial record keeps them."""
  return f'{type(error).__name__}: {error}'


def is_full(error: str) -> bool:
  """Whether an error, `in_words`, is a lack of memory: of the machine, not of what was asked."""
  said = error.lower()
  return any(spelling in said for spelling in _SPELLINGS)


def needed(compiled: jax.stages.Compiled) -> int:
  """Bytes of a device while a program runs: arguments, temporaries, and what it returns anew."""
  account = compiled.memory_analysis()
  anew = account.output_size_in_bytes - account.alias_size_in_bytes
  return account.argument_size_in_bytes + account.temp_size_in_bytes + anew


def of_device(devices: Sequence[jax.Device]) -> int:
  """Bytes of a device; of a CPU, of the machine, shared by as many devices as it plays."""
  stats = devices[0].memory_stats()
  if stats and 'bytes_limit' in stats:
    return stats['bytes_limit']
  return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // len(devices)
