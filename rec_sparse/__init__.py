"""Explicitly sparse recommender networks, and the studies that compare them with dense ones.

import rec_sparse as rs

data = rs.open_data('data/clicks')
setup = rs.setup(rs.configure('ssr_s', data, width=64, views=8), data)
state = rs.advance(setup, rs.init(setup), steps=1000)
print(rs.evaluate(setup, state))
"""

from typing import Any

__all__ = [
  'advance',
  'configure',
  'evaluate',
  'init',
  'open_data',
  'predict',
  'predict_rows',
  'restore',
  'setup',
  'steps_per_epoch',
]


def __getattr__(name: str) -> Any:
  """The API by name, loaded when it is first asked for: programs import parts of this package."""
  if name in __all__:
    from rec_sparse import api

    return getattr(api, name)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
