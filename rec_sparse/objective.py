"""What a run is trained on and judged by: loss, additive metrics and monitor in one value.

A model's own outputs and labels pass through here alone, so what is predicted is one function of
this file: `clicks` is several yes-or-no labels at once.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rec_sparse import metrics

Batch = dict[str, jax.Array]  # as in train.py
Found = dict[str, Any]  # metrics by name; a value that the labels leave undefined is None


class Labels(NamedTuple):
  """What a whole split says of its examples, on the host, in file order."""

  label_ExT: np.ndarray  # 0 or 1
  group_E: np.ndarray | None  # of GAUC, -1: none; None where the data have no groups


class Objective(NamedTuple):
  """Pure functions; outputs are what the model gives."""

  # (outputs, batch) -> mean over the examples that weigh, to be differentiated
  loss: Callable[[jax.Array, Batch], jax.Array]
  zeros: Callable[[], Any]  # sums over no example
  add: Callable[[Any, jax.Array, Batch], Any]  # (sums, outputs, batch) -> sums, in a compiled step
  # (sums, outputs, labels) of a whole split -> its metrics; None where an output is not finite
  compute: Callable[[Any, np.ndarray, Labels], Found | None]
  rank: Callable[[Found], float]  # the monitor: what ranks validations, higher is better


def clicks(
  tasks: tuple[str, ...],
  monitor: str,
  label_smoothing: float = 0.0,
  positive_weight: float = 1.0,
) -> Objective:
  """Each task is whether something happens: log losses, summed over tasks.

  Outputs are logits_BxT. `monitor` is a name of the metrics, mean over tasks. The loss is what
  `smoothed_loss` says; the metrics are those of the labels as they are.
  """
  loss = clicks_loss
  if label_smoothing or positive_weight != 1:
    loss = functools.partial(
      smoothed_loss, label_smoothing=label_smoothing, positive_weight=positive_weight
    )
  return Objective(
    loss=loss,
    zeros=functools.partial(metrics.zeros, len(tasks)),
    add=_add_clicks,
    compute=functools.partial(clicks_metrics, tasks),
    rank=functools.partial(_rank, monitor),
  )


def clicks_loss(logits_BxT: jax.Array, batch: Batch) -> jax.Array:
  """Log loss in nats, summed over tasks, mean over the examples that weigh."""
  losses_BxT = optax.sigmoid_binary_cross_entropy(logits_BxT, batch['label_BxT'])
  return jnp.mean(jnp.sum(losses_BxT, 1), where=batch['weight_B'] > 0)


def smoothed_loss(
  logits_BxT: jax.Array, batch: Batch, *, label_smoothing: float, positive_weight: float
) -> jax.Array:
  """`clicks_loss` of labels that are less sure, and with a weight for those of 1.

  A label y becomes (1 - s) y + s / 2 (arXiv 1512.00567, section 7). The loss of an example of
  label 1 is multiplied by `positive_weight`; the mean is over examples, whatever they weigh, as
  class weights of common libraries have it. Either moves the mean of what is predicted.
  """
  label_BxT = batch['label_BxT']
  soft_BxT = (1 - label_smoothing) * label_BxT + 0.5 * label_smoothing
  weight_BxT = jnp.where(label_BxT > 0, positive_weight, 1.0)
  losses_BxT = weight_BxT * optax.sigmoid_binary_cross_entropy(logits_BxT, soft_BxT)
  return jnp.mean(jnp.sum(losses_BxT, 1), where=batch['weight_B'] > 0)


def _add_clicks(sums: metrics.Sums, logits_BxT: jax.Array, batch: Batch) -> metrics.Sums:
  return metrics.update(sums, logits_BxT, batch['label_BxT'], batch['weight_B'])


def clicks_metrics(
  tasks: tuple[str, ...], sums: metrics.Sums, logits_ExT: np.ndarray, labels: Labels
) -> Found | None:
  """Exact metrics from the logits, and the compiled step's binned AUC beside them.

  Of several tasks: the mean over tasks, and each task's own under `tasks`.
  """
  if not np.isfinite(logits_ExT).all():
    return None
  found = []
  for t, binned in enumerate(metrics.compute(sums)):
    exact = metrics.report(logits_ExT[:, t], labels.label_ExT[:, t], labels.group_E)
    found.append(exact | {'auc_binned': binned['auc']})
  if len(tasks) == 1:
    return found[0]

  over_tasks = {name: _mean([one[name] for one in found]) for name in found[0]}
  over_tasks['examples'] = found[0]['examples']
  over_tasks['logloss_standard_error'] = metrics.logloss_standard_error(
    logits_ExT, labels.label_ExT
  )
  return over_tasks | {'tasks': dict(zip(tasks, found, strict=True))}


def _mean(values: Sequence[float | None]) -> float | None:
  """None where a task has no value: a mean over the others would be one of other tasks."""
  return None if None in values else float(np.mean(values))


def _rank(monitor: str, found: Found) -> float:
  return -found['logloss'] if monitor == 'logloss' else found[monitor]
