"""What clusters with masks keep of an example's entries, at each budget: points of runs/kept.py."""

import pathlib

from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse.runs import cluster_search
from rec_sparse.runs import dim_points
from rec_sparse.runs import kept
from rec_sparse.scaling.study import Study

# order -> masks of its plans
WAYS = {'ihas': 'ihas', 'one_mask': 'ihas', 'random_masks': 'random', 'all_kept': 'all'}
CLUSTERS = 4  # V; of one_mask 1


def points(
  data: pathlib.Path, network: Study, orders: list[str], budgets: list[float], out: pathlib.Path
) -> list[kept.Point]:
  """Plans of each order at each budget, and the data sets that they make in `out`.

  An order is `uniform` (widths) or one of WAYS, also with a seed of its own, such as ihas:1.
  Searches have the sizes and the first learning rate of the network of the study. Raises ValueError
  as `cluster_search` does, and for an order that there is not.
  """
  reference = kept.reference(network)
  schema = schema_lib.load_schema(data)
  given = reference.overrides | {'learning_rate': network.learning_rates[0]}
  given |= {'data_fingerprint': schema.fingerprint}
  fields = tuple(field.name for field in schema.fields)
  gates: dict[int, cluster_search.Gates] = {}  # by seed
  clusters: dict[tuple[int, int], cluster_search.Found] = {}  # by seed and number
  found: list[kept.Point] = []
  out.mkdir(parents=True, exist_ok=True)
  for order in orders:
    by, seed = kept.read_order(order, (dim_points.UNIFORM, *WAYS), 'ihas:1', 0)
    if by == dim_points.UNIFORM:
      found += dim_points.points(data, network, [order], budgets, out)
      continue
    config = settings.make(cluster_search.MODEL, given | {'seed': seed})
    job = cluster_search.Job(data, config, 1 if by == 'one_mask' else CLUSTERS)
    if seed not in gates:
      gates[seed] = cluster_search.gates(job)
    if (seed, job.clusters) not in clusters:
      clusters[seed, job.clusters] = cluster_search.cluster(job, gates[seed])
    for budget in budgets if WAYS[by] != 'all' else [1.0]:
      plan = cluster_search.plan(job, clusters[seed, job.clusters], budget, WAYS[by])
      directory = out / plan.hash[:12]
      kept.make(data, plan, directory)
      arm = f'{order}_{budget:g}'
      point = kept.Point(order, budget, arm, fields, schema.table_rows, str(directory))
      found.append(point._replace(model=cluster_search.ROUTED))
  return found
