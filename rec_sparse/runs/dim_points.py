"""What each way of choosing dimensions keeps of a table, at each budget: points of runs/kept.py."""

import pathlib

from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse.runs import dim_search
from rec_sparse.runs import kept
from rec_sparse.scaling.study import Study

UNIFORM = 'uniform'  # all values have as many dimensions


def points(
  data: pathlib.Path, network: Study, orders: list[str], budgets: list[float], out: pathlib.Path
) -> list[kept.Point]:
  """Plans of each order at each budget, and the data sets that they make in `out`.

  An order is `uniform`, one of `dim_search.WAYS`, or one with a seed of its own, such as dnis:1.
  Searches train the network of the study at its first learning rate. Raises ValueError as
  `dim_search` does, and for an order that there is not.
  """
  reference = kept.reference(network)
  schema = schema_lib.load_schema(data)
  given = reference.overrides | {'learning_rate': network.learning_rates[0]}
  given |= {'data_fingerprint': schema.fingerprint}
  whole = settings.make(reference.model, given).embedding_dim
  fields = tuple(field.name for field in schema.fields)
  found: list[kept.Point] = []
  out.mkdir(parents=True, exist_ok=True)
  for order in orders:
    by, seed = kept.read_order(order, (UNIFORM, *dim_search.WAYS), 'dnis:1', 0)
    if by == UNIFORM:
      for budget in budgets:
        dim = max(1, round(budget * whole))
        arm = f'{UNIFORM}_{dim}'
        found.append(kept.Point(order, budget, arm, fields, schema.table_rows, '', dim))
      continue
    job = dim_search.Job(data, settings.make(reference.model, given | {'seed': seed}), by)
    scores = dim_search.search(job)
    for budget in budgets:
      plan = dim_search.plan(job, scores, budget)
      directory = out / plan.hash[:12]
      kept.make(data, plan, directory)
      arm = f'{order}_{budget:g}'
      found.append(kept.Point(order, budget, arm, fields, schema.table_rows, str(directory)))
  return found
