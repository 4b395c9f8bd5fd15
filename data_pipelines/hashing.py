"""A keyed hash of uint32 words that gives the same bits in numpy and in jax.numpy."""

from typing import Any

import numpy as np

_GOLDEN = 0x9E3779B9


def hash_words(*words: Any, xp: Any = np) -> Any:
  """Hash of a tuple of words: uint32 in the shape that the words broadcast to, at least (1,).

  A word is an int or an integer array (`xp` is numpy or jax.numpy) and is taken modulo 2^32.
  """
  arrays = [_uint32(word, xp) for word in words]
  arrays = xp.broadcast_arrays(*arrays)
  mixed = xp.full_like(arrays[0], _GOLDEN)
  for array in arrays:
    mixed = _finalize(mixed * xp.uint32(_GOLDEN) + array, xp)
  return mixed


def _uint32(word: Any, xp: Any) -> Any:
  if isinstance(word, int):
    word = np.uint32(word & 0xFFFFFFFF)
  # numpy scalars would warn when they wrap around
  return xp.atleast_1d(xp.asarray(word).astype(xp.uint32))


def _finalize(h: Any, xp: Any) -> Any:
  """The finalizer of MurmurHash3: each input bit flips each output bit half of the time.

  It is a bijection.
  """
  h = (h ^ (h >> xp.uint32(16))) * xp.uint32(0x85EBCA6B)
  h = (h ^ (h >> xp.uint32(13))) * xp.uint32(0xC2B2AE35)
  return h ^ (h >> xp.uint32(16))
