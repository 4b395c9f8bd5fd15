"""How long a network takes from encoded ids on the host to probabilities on the host."""

import time

import jax
import numpy as np

from rec_sparse.serving.loader import network as network_lib

BATCHES = (1, 8, 64, 256, 1024)
_SEED = 0  # of the ids


def measure(network: network_lib.Network, calls: int) -> dict[str, object]:
  """Median and 99th percentile in milliseconds over `calls` calls at each size of a batch.

  Ids are drawn alike from the rows of each field; the call that compiles is not counted.
  """
  fields = network.about['fields']
  first_F = np.array([field['offset'] for field in fields])
  size_F = np.array([field['rows'] for field in fields])
  values = network_lib.numeric(network.about)
  rng = np.random.default_rng(_SEED)

  found = []
  for batch in BATCHES:
    seconds = []
    for _ in range(calls + 1):
      ids_BxF = first_F + (rng.random((batch, len(fields))) * size_F).astype(np.int32)
      value_BxA = rng.standard_normal((batch, values), np.float32)
      began = time.perf_counter()
      network.score(ids_BxF, value_BxA)
      seconds.append(time.perf_counter() - began)
    median, late = np.quantile(seconds[1:], (0.5, 0.99))
    found.append(
      {'batch': batch, 'median_ms': _milliseconds(median), 'p99_ms': _milliseconds(late)}
    )
  return {'device': jax.devices()[0].device_kind, 'calls': calls, 'latency': found}


def table(found: dict[str, object]) -> str:
  """What `measure` found, for people."""
  lines = [f'{"batch":>6} {"median ms":>10} {"99 % ms":>10}']
  for row in found['latency']:
    lines.append(f'{row["batch"]:>6} {row["median_ms"]:>10.3f} {row["p99_ms"]:>10.3f}')
  return '\n'.join(lines)


def _milliseconds(seconds: float) -> float:
  return round(1000 * float(seconds), 4)
