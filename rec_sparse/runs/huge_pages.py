"""Huge pages for large tables in the memory of a Linux CPU.

A step reads and writes rows at random. With pages of 4 KiB nearly every row of a large table also
misses the processor's cache of page addresses, which costs more than the row itself. A page of 2
MiB holds 32,768 rows of 16 floats.
"""

import ctypes
import sys
from typing import TypeVar

import jax

PAGE = 2 << 20  # bytes
SMALLEST = 32 * PAGE  # bytes: what is smaller has few pages anyway
# linux/mman.h: from now on; what is there already (since Linux 6.1)
MADV_HUGEPAGE, MADV_COLLAPSE = (
  14,
  25,
)
Tree = TypeVar('Tree')


def advise(state: Tree) -> Tree:
  """The same arrays; the kernel is asked to keep those of SMALLEST bytes and more in huge pages, if
  it has any.

  A hint that changes no value. It stays with the memory, and a donated array hands its memory on to
  the next state.
  """
  if sys.platform != 'linux' or jax.default_backend() != 'cpu':
    return state
  # pages can be collapsed once they are written
  for leaf in jax.tree.leaves(jax.block_until_ready(state)):
    for shard in leaf.addressable_shards:
      if shard.data.nbytes >= SMALLEST:
        _advise(shard.data.unsafe_buffer_pointer(), shard.data.nbytes)
  return state


def _advise(start: int, size: int) -> None:
  """Asks for the whole pages inside; a kernel without huge pages refuses, which changes nothing."""
  madvise = ctypes.CDLL(None).madvise
  madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
  first, end = -(-start // PAGE) * PAGE, (start + size) // PAGE * PAGE
  for advice in (MADV_HUGEPAGE, MADV_COLLAPSE):
    madvise(first, end - first, advice)
