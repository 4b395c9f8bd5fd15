"""A memory that is full says so in several ways: XLA for accelerators, XLA for CPUs,
Python, NumPy.
"""

_SPELLINGS = ('resource_exhausted', 'out of memory', 'memoryerror')


def in_words(error: Exception) -> str:
  """The type and the text of an error, as a trial record keeps them."""
  return f'{type(error).__name__}: {error}'


def is_full(error: str) -> bool:
  """Whether an error, `in_words`, is a lack of memory: of the machine, not of what was asked."""
  said = error.lower()
  return any(spelling in said for spelling in _SPELLINGS)
