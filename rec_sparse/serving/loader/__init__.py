"""Scores rows with a network that rec_sparse has exported; needs jax and numpy alone.

  import loader  # lies in the directory of the artifact, beside artifact.json
  network = loader.load('.')
  probability_BxT = network.predict({'user': ['u1', 'u30'], 'price': ['4.21', None]})

`predict` takes values as the log has them: texts or numbers; None, NaN and '' are missing, and a
value that training has not seen is what row 0 of its field stands for. `network.tasks` names the
columns of what it gives. Rows that are encoded already go to `network.score`. Batches are padded to
powers of two, each of which is compiled when it first comes; the device is jax's default one.
"""

from .network import load  # relative, here alone: the directory is copied to where it has no parent

__all__ = ['load']
