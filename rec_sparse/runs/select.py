"""Joins a data set on disk with rec_sparse/search: which fields or values are worth their rows.

Training rows alone decide; validation rows say when to stop, where they are asked.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools
import itertools
import pathlib
from typing import NamedTuple

import numpy as np

from data_pipelines import blocks
from rec_sparse import plan as plan_lib
from rec_sparse import schema as schema_lib
from rec_sparse.runs import counted as counted_lib
from rec_sparse.search import afe
from rec_sparse.search import buckets
from rec_sparse.search import counts
from rec_sparse.search import field_gates
from rec_sparse.search import heldout
from rec_sparse.search import information
from rec_sparse.search import lasso
from rec_sparse.search import pair_gates
from rec_sparse.search import values

GREEDY = ('afe', 'jmi')  # jmi: AFE's plain score, in which no field is redundant
RANKED = ('mi', 'frequency', 'random', 'lasso', 'gates')
OF_PAIRS = ('autofis',)  # which inner products of pairs of fields are taken; all fields stay
ORDERS = GREEDY + RANKED
OF_VALUES = ('afe', 'mi', 'frequency', 'random')  # orders that rank values
PATIENCE = 3  # fields in a row that do not lower the held-out loss


@dataclasses.dataclass(frozen=True)
class Job:
  """What to choose, and how."""

  data: pathlib.Path  # dataset directory
  by: str = 'afe'  # one of ORDERS, or of OF_PAIRS
  level: str = 'field'  # or value: table rows
  k: int = 0  # fields, values that keep a row of their own, or pairs; 0: as many as `until` says
  until: str = ''  # information: while J is surely above 0; heldout: while the held-out loss falls
  correct: str = 'permutation'  # one of information.METHODS
  buckets: int = buckets.MOST  # of a field; larger fields are hashed
  pair_start: bool = False  # start from the most synergistic pair of fields
  with_pairs: bool = False  # normalised information of all pairs of fields, too
  seed: int = 0  # of permutations, of the orders random, gates and autofis


class Found(NamedTuple):
  """A plan, and the choices that led to it."""

  plan: plan_lib.Plan
  steps: tuple[afe.Step, ...]  # of greedy orders: all that were looked at, kept or not
  heldout: tuple[float, ...]  # log loss on validation rows before the first field, after each one
  kept: tuple[int, ...]  # fields in the order of choice; where values are kept, of the table


def select(job: Job) -> Found:
  """Chooses; raises ValueError in a sentence for a job that the data do not allow."""
  schema = schema_lib.load_schema(job.data, needs=('train',))
  check(job, schema)
  opened = count(job, schema)
  found = _choose(job, opened)
  if not job.with_pairs:
    return found
  arrays = found.plan.arrays | {'nmi_FxF': counted_lib.normalised(opened)}
  return found._replace(plan=dataclasses.replace(found.plan, arrays=arrays))


def count(job: Job, schema: schema_lib.FeatureSchema) -> counted_lib.Counted:
  """The training rows as the search reads them: the same whatever the order, its k and its seed."""
  halves = 2 if job.correct == 'split' else 1
  return counted_lib.open_data(job.data, schema, job.buckets, halves)


def keeper(job: Job, opened: counted_lib.Counted) -> Callable[[int], dict[str, np.ndarray]]:
  """k -> `kept_F` and `row_R` of the plan that `select` makes at this k; ranks once for all k."""
  schema = opened.schema
  if job.level == 'value':
    ranked_R = _ranked_values(job, opened).row_R
    return lambda k: _keep_values(schema, ranked_R[:k])
  fields = _choose(dataclasses.replace(job, k=len(schema.fields)), opened).kept
  return lambda k: plan_lib.keep_fields(schema, list(fields[:k]))


def _choose(job: Job, opened: counted_lib.Counted) -> Found:
  if job.level == 'value':
    return _values(job, opened)
  if job.by in GREEDY:
    return _greedy(job, opened)
  if job.by in OF_PAIRS:
    return _pairs(job, opened)
  kept = tuple(_ranked(job, opened)[: job.k])
  arrays = plan_lib.keep_fields(opened.schema, list(kept))
  return Found(_plan(job, opened, arrays), (), (), kept)


def check(job: Job, schema: schema_lib.FeatureSchema) -> None:
  """Raises ValueError in a sentence for a job that the data do not allow."""
  if bool(job.k) == bool(job.until):
    raise ValueError('--k, --until: expected one of the two')
  if job.until and (job.level, job.by) not in [('field', by) for by in GREEDY]:
    raise ValueError(f'--until={job.until}: is for --level=field --by={"|".join(GREEDY)}; give --k')
  if job.level == 'value' and job.by not in OF_VALUES:
    raise ValueError(f'--by={job.by}: ranks fields alone; of values, {", ".join(OF_VALUES)}')
  most = len(schema.fields)
  of = f'{job.level}s'
  if job.level == 'value':
    most = sum(f.vocab_size - 1 for f in schema.fields if f.kind == 'categorical')
  elif job.by in OF_PAIRS:
    most = most * (most - 1) // 2
    of = 'pairs of fields'
  if not 0 <= job.k <= most:
    raise ValueError(f'--k={job.k}: the data set has {most} {of}')
  if len(schema.tasks) > counts.TASKS:
    raise ValueError(
      f'{job.data}: has {len(schema.tasks)} labels, whose joint counts are too many; '
      f'at most {counts.TASKS}'
    )
  train = schema.splits['train']
  for task, positives in zip(schema.tasks, train.positives, strict=True):
    if positives in (0, train.rows):
      raise ValueError(
        f'{job.data}: all training labels {task!r} are of one class, so nothing tells of them'
      )


def _greedy(job: Job, opened: counted_lib.Counted) -> Found:
  tables = counted_lib.tables(opened)
  tasks = len(opened.schema.tasks)
  method = information.METHODS[job.correct]
  start = ()
  if job.pair_start:
    start = afe.most_synergistic(tables, counted_lib.pairs(opened), tasks, method, job.seed)
  steps = afe.steps(
    tables, counted_lib.pairs(opened), tasks, method, job.seed, job.by == 'afe', start
  )
  if job.k:
    taken = [step for step, _ in zip(steps, range(job.k), strict=False)]
    losses = []
    kept = [step.field for step in taken]
  else:
    taken, losses = _until(job, opened, steps)
    worth = int(np.argmin(losses)) if losses else len(taken)
    kept = [step.field for step in taken[:worth]]
  if not kept:
    raise ValueError(f'{job.data}: no field surely tells anything of the label')
  arrays = plan_lib.keep_fields(opened.schema, kept) | _trace(taken, losses)
  return Found(_plan(job, opened, arrays), tuple(taken), tuple(losses), tuple(kept))


def _until(
  job: Job, opened: counted_lib.Counted, steps: Iterator[afe.Step]
) -> tuple[list[afe.Step], list[float]]:
  """The choices while J is surely above 0; or, with heldout, while it may be, and PATIENCE of them
  beyond the best one -> (choices, held-out loss before the first and after each).
  """
  taken: list[afe.Step] = []
  losses: list[float] = []
  judge = _judge(job, opened) if job.until == 'heldout' else None
  if judge:
    losses.append(judge(None))
  for step in steps:
    end = step.j.high if judge else step.j.low
    if not step.forced and (step.redundant_to >= 0 or end <= 0):
      break
    taken.append(step)
    if judge:
      losses.append(judge(step))
      if len(losses) - 1 - int(np.argmin(losses)) >= PATIENCE:
        break
  return taken, losses


def _judge(job: Job, opened: counted_lib.Counted) -> Callable[[afe.Step | None], float]:
  """A function that adds a field to the model of `heldout` and tells the held-out log loss."""
  schema = schema_lib.load_schema(job.data, needs=('train', 'valid'))
  valid = blocks.open_split(job.data, schema, 'valid')
  train = schema.splits['train']
  base_T = heldout.base(np.array(train.positives) / train.rows)
  stages: list[heldout.Stage] = []

  def judge(step: afe.Step | None) -> float:
    if step is not None:
      rows = functools.partial(counted_lib.labelled, opened, opened.train)
      stages.append(heldout.grow(rows, base_T, stages, step.field, step.partner, opened.sizes))
    return heldout.logloss(functools.partial(counted_lib.labelled, opened, valid), base_T, stages)

  return judge


def _trace(steps: list[afe.Step], losses: list[float]) -> dict[str, np.ndarray]:
  """Arrays of a plan: a row for each choice looked at; of scores (value, half, plug-in)."""
  arrays = {
    f'trace_{name}': np.array([getattr(step, name) for step in steps])
    for name in ('field', 'j', 'pi', 'bi', 'ci', 'redundant_to', 'partner')
  }
  return arrays | ({'trace_heldout': np.array(losses)} if losses else {})


def _ranked(job: Job, opened: counted_lib.Counted) -> list[int]:
  """All fields, the best first."""
  fields = range(len(opened.sizes))
  tasks = len(opened.schema.tasks)
  if job.by == 'random':
    return np.random.default_rng(job.seed).permutation(len(opened.sizes)).tolist()
  if job.by == 'frequency':  # training rows per value that occurs
    return sorted(fields, key=lambda f: np.count_nonzero(opened.counts[f].sum(1)))
  if job.by == 'mi':
    method = information.METHODS[job.correct]
    alone = [
      afe.alone(t, tasks, method, [job.seed, f]) for f, t in enumerate(counted_lib.tables(opened))
    ]
    return sorted(fields, key=lambda f: -alone[f].value)
  code_FxE, label_ExT = counted_lib.sample(opened)
  if job.by == 'lasso':
    return lasso.order(code_FxE, opened.sizes, label_ExT)
  return field_gates.order(code_FxE, opened.sizes, label_ExT, job.seed)


def _pairs(job: Job, opened: counted_lib.Counted) -> Found:
  """Keeps all fields, and names in `kept_pairs` the k pairs with the largest gates, none of 0."""
  code_FxE, label_ExT = counted_lib.sample(opened)
  gate_P = pair_gates.gates(code_FxE, opened.sizes, label_ExT, job.seed)
  fields = list(range(len(opened.sizes)))
  arrays = plan_lib.keep_fields(opened.schema, fields)
  arrays |= {
    'kept_pairs': np.array(pair_gates.largest(gate_P, job.k), np.int32),
    'gate_P': gate_P.astype(np.float32),
  }
  return Found(_plan(job, opened, arrays), (), (), tuple(fields))


def _values(job: Job, opened: counted_lib.Counted) -> Found:
  """Keeps the k best values, of all fields together; numeric fields stay."""
  ranked = _ranked_values(job, opened)
  arrays = _keep_values(opened.schema, ranked.row_R[: job.k])
  kept = tuple(np.flatnonzero(arrays['kept_F']).tolist())
  return Found(_plan(job, opened, arrays), ranked.steps, (), kept)


class _Ranked(NamedTuple):
  """Values in an order."""

  row_R: np.ndarray  # table rows of categorical fields, the best first
  steps: tuple[afe.Step, ...]  # the chosen fields that values collaborate with; none but of afe


def _ranked_values(job: Job, opened: counted_lib.Counted) -> _Ranked:
  """Table rows of all categorical fields; those that the values which go share are last."""
  categorical = len(opened.schema.fields) - opened.schema.numeric_count
  steps: tuple[afe.Step, ...] = ()
  if job.by == 'afe':
    steps = _worth_choosing(job, opened)
    scores = _scores(opened, [step.field for step in steps], categorical)
  else:
    scores = [_score(job, opened, field) for field in range(categorical)]
  for score_W in scores:
    score_W[0] = -np.inf
  return _Ranked(np.argsort(-np.concatenate(scores), kind='stable'), steps)


def _keep_values(schema: schema_lib.FeatureSchema, row_J: np.ndarray) -> dict[str, np.ndarray]:
  """`kept_F` and `row_R` of the plan that keeps these rows, and all of numeric fields."""
  categorical = len(schema.fields) - schema.numeric_count
  kept_R = np.arange(schema.table_rows) >= sum(f.vocab_size for f in schema.fields[:categorical])
  kept_R[row_J] = True
  return plan_lib.keep_rows(schema, kept_R)


def _score(job: Job, opened: counted_lib.Counted, field: int) -> np.ndarray:
  """score_W of the values of a field, each by itself."""
  rows_W = opened.counts[field].sum(1)
  if job.by == 'frequency':
    return rows_W.astype(np.float64)
  if job.by == 'random':
    return np.random.default_rng([job.seed, field]).random(len(rows_W))
  return values.preference(_positive(opened, field), rows_W, opened.train.rows)


def _worth_choosing(job: Job, opened: counted_lib.Counted) -> tuple[afe.Step, ...]:
  """AFE's fields, as long as J is surely above 0 and nothing explains the next one away."""
  tables = counted_lib.tables(opened)
  method = information.METHODS[job.correct]
  steps = afe.steps(tables, counted_lib.pairs(opened), len(opened.schema.tasks), method, job.seed)
  return tuple(itertools.takewhile(lambda step: step.redundant_to < 0 and step.j.low > 0, steps))


def _scores(
  opened: counted_lib.Counted, chosen: Sequence[int], categorical: int
) -> list[np.ndarray]:
  """J of the values of each field: their parts of PI, BI, and CI given the chosen fields."""
  fields = range(categorical)
  total = opened.train.rows
  rows = [opened.counts[field].sum(1) for field in fields]
  alone = [values.preference(_positive(opened, f), rows[f], total) for f in fields]
  interactions = [[] for _ in fields]
  for given in chosen:
    for field, own in zip(fields, counted_lib.cells(opened, given, fields), strict=True):
      if field != given:
        interactions[field].append(values.given(own, alone[field], rows[field], total))

  scores = []
  for field in fields:
    score_W = alone[field] + _given_labels(opened, field)
    if interactions[field]:
      score_W += np.mean(interactions[field], 0) - alone[field]
    scores.append(score_W)
  return scores


def _given_labels(opened: counted_lib.Counted, field: int) -> np.ndarray:
  """BI of the values of a field; 0 of one label."""
  count_WxY = opened.counts[field]
  rows_W = count_WxY.sum(1)
  total = opened.train.rows
  positive_WxT = _positive(opened, field)
  tasks = positive_WxT.shape[1]
  score_W = np.zeros(len(rows_W))
  for task, other in itertools.permutations(range(tasks), 2):
    alone_W = values.preference(positive_WxT[:, [task]], rows_W, total)
    table_2xWx2 = counts.by_label_given(count_WxY, tasks, task, other).sum(0)
    cells = values.of_table(table_2xWx2)
    score_W += (values.given(cells, alone_W, rows_W, total) - alone_W) / (tasks - 1)
  return score_W


def _positive(opened: counted_lib.Counted, field: int) -> np.ndarray:
  """positive_WxT: training rows of each value that have label 1, task by task."""
  tasks = len(opened.schema.tasks)
  count_WxY = opened.counts[field]
  of_tasks = [counts.by_label(count_WxY, tasks, task).sum(0)[:, 1] for task in range(tasks)]
  return np.stack(of_tasks, 1)


def _plan(job: Job, opened: counted_lib.Counted, arrays: dict[str, np.ndarray]) -> plan_lib.Plan:
  made_by = dataclasses.asdict(job)
  del made_by['data']
  made_by |= {'search': 'select', 'fields': [field.name for field in opened.schema.fields]}
  return plan_lib.Plan(made_by, opened.schema.fingerprint, arrays)
