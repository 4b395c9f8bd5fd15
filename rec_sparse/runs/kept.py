"""Test loss against what is kept of a table: a network trained anew on each compact data set.

An order and a k give a plan, equal plans one arm of a study, and the study is trained and compared
as any other: the same seeds, rates and batches, differences from all fields paired by test rows.
"""

from collections.abc import Sequence
import csv
import dataclasses
import hashlib
import io
import pathlib
from typing import Any, NamedTuple

import numpy as np

from data_pipelines import compact
from rec_sparse import plan as plan_lib
from rec_sparse import schema as schema_lib
from rec_sparse.runs import select
from rec_sparse.scaling.study import Arm
from rec_sparse.scaling.study import Study

ALL = 'all'  # arm of the whole data set, the reference


class Point(NamedTuple):
  """What an order keeps at one k."""

  order: str
  # fields, values with a row of their own, or the share of the entries of embeddings, of the table
  # or that an example reads
  k: float
  arm: str  # of the study; orders that keep the same share one
  fields: tuple[str, ...]  # that stay, in the order of the table
  table_rows: int
  data: str  # the compact data set; '': the whole one
  dim: int = 0  # length of all embeddings; 0: as the network has them
  model: str = ''  # that is trained; '': the network


def points(job: select.Job, orders: list[str], ks: list[int], out: pathlib.Path) -> list[Point]:
  """Plans of each order at each k, and the compact data sets that they make in `out`.

  An order is one of `select.ORDERS`, or one with a seed of its own, such as random:1; `job` says
  what else decides. The rows are counted by label once for all. Raises ValueError for an order that
  is not there, and as `select.select` does.
  """
  schema = schema_lib.load_schema(job.data, needs=('train',))
  jobs = [_of_order(job, order) for order in orders]
  for own in jobs:
    for k in ks:
      select.check(dataclasses.replace(own, k=k), schema)
  opened = select.count(job, schema)
  out.mkdir(parents=True, exist_ok=True)
  found: list[Point] = []
  arms: dict[str, str] = {}
  for order, own in zip(orders, jobs, strict=True):
    keep = select.keeper(own, opened)
    for k in ks:
      arrays = keep(k)
      kept = hashlib.sha256(arrays['row_R'].tobytes()).hexdigest()[:12]
      arm = arms.setdefault(kept, f'{order}_{k}')
      directory = out / kept
      if arms[kept] == f'{order}_{k}':
        make(job.data, _plan(job, schema, arrays), directory)
      names = [f.name for f, stays in zip(schema.fields, arrays['kept_F'], strict=True) if stays]
      rows = int(arrays['row_R'].max()) + 1
      found.append(Point(order, k, arm, tuple(names), rows, str(directory)))
  return found


def _of_order(job: select.Job, order: str) -> select.Job:
  """The job of an order; raises ValueError when there is none of that name."""
  by, seed = read_order(order, select.ORDERS, 'random:1', job.seed)
  return dataclasses.replace(job, by=by, seed=seed)


def read_order(order: str, known: Sequence[str], example: str, seed: int) -> tuple[str, int]:
  """(name, seed) of an order such as `example`, or of one that has the common `seed`.

  Raises ValueError when its name is none of those known.
  """
  by, _, own = order.partition(':')
  if by not in known or not (own or '0').isdecimal():
    raise ValueError(f'--orders: {order!r} is not one of {", ".join(known)}, or {example}')
  return by, int(own) if own else seed


def make(data: pathlib.Path, plan: plan_lib.Plan, directory: pathlib.Path) -> None:
  """The data set that a plan makes of another one, and beside it the plan."""
  path = directory.with_suffix('.npz')
  plan_lib.save(plan, path)
  compact.prepare(path, data, directory)


def _plan(
  job: select.Job, schema: schema_lib.FeatureSchema, arrays: dict[str, np.ndarray]
) -> plan_lib.Plan:
  names = [field.name for field in schema.fields]
  made_by = {'search': 'kept', 'level': job.level, 'fields': names}
  own = {name: arrays[name] for name in ('kept_F', 'row_R')}
  return plan_lib.Plan(made_by, schema.fingerprint, own)


def reference(network: Study) -> Arm:
  """The arm of the network, all kept; raises ValueError when it has several arms, or sizes."""
  if len(network.arms) != 1 or network.arms[0].scale:
    raise ValueError(f'study {network.name}: expected one arm of one size, the network to train')
  return dataclasses.replace(network.arms[0], name=ALL, against=ALL, equal='')


def study(network: Study, found: list[Point]) -> Study:
  """The study whose first arm is the one of `network`, on all of the table; the others are its
  copies. Raises ValueError as `reference` does.
  """
  arms = {ALL: reference(network)}
  for point in found:
    arms.setdefault(point.arm, _arm(arms[ALL], point))
  return dataclasses.replace(network, arms=tuple(arms.values()))


def _arm(whole: Arm, point: Point) -> Arm:
  overrides = whole.overrides | ({'embedding_dim': point.dim} if point.dim else {})
  return dataclasses.replace(
    whole,
    name=point.arm,
    model=point.model or whole.model,
    says=point.arm,
    data=point.data,
    overrides=overrides,
  )


def rows(found: list[Point], arms: dict[str, Any]) -> list[dict[str, Any]]:
  """A row for each point: means and deviations over seeds, paired differences from all fields.

  `arms`: what `outcome.to_json` says of each arm.
  """
  return [
    {
      'order': point.order,
      'k': point.k,
      'fields': len(point.fields),
      'table_rows': point.table_rows,
      'embedding_params': int(arms[point.arm]['embedding_params']),
      'test_logloss': arms[point.arm]['test_logloss']['mean'],
      'test_logloss_sd': arms[point.arm]['test_logloss']['sd'],
      'test_auc': arms[point.arm]['test_auc']['mean'],
      **_difference('logloss', arms[point.arm]['logloss_difference']),
      **_difference('auc', arms[point.arm]['auc_difference']),
      'kept': ' '.join(point.fields),
    }
    for point in found
  ]


def _difference(name: str, difference: dict[str, Any] | None) -> dict[str, float | None]:
  """Value and interval; empty where they are not defined, as with one seed."""
  low, high = (difference or {}).get('interval') or (None, None)
  value = difference and difference['value']
  return {f'{name}_difference': value, f'{name}_low': low, f'{name}_high': high}


def to_csv(table: list[dict[str, Any]]) -> str:
  """The rows as CSV."""
  text = io.StringIO()
  writer = csv.DictWriter(text, table[0], lineterminator='\n')
  writer.writeheader()
  for row in table:
    shown = {key: f'{v:.6g}' if isinstance(v, float) else v for key, v in row.items()}
    writer.writerow(shown)
  return text.getvalue()
