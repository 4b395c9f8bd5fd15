"""A dataset directory from the synthetic teacher.

It has any row count and is made in chunks; the same seed gives the same rows.
"""

from collections.abc import Iterator
import dataclasses
import math
import pathlib

import numpy as np
import polars as pl
import tqdm

from data_pipelines import blocks
from data_pipelines import split as split_lib
from data_pipelines import staging
from data_pipelines import teacher as teacher_lib
from data_pipelines import vocabulary
from rec_sparse import schema as schema_lib

ROWS = 1_000_000
CHUNK_ROWS = 1 << 16
# streams of random numbers; the teacher itself uses 0 to 2
_ROWS = 3
_IRREDUCIBLE = 4


@dataclasses.dataclass(frozen=True)
class Job:
  """What to generate."""

  recipe: teacher_lib.Recipe
  rows: int = ROWS  # over all splits
  split_seed: int = 0
  expected_error: float = teacher_lib.EXPECTED_ERROR  # nats: standard error of irreducible log loss


def prepare(job: Job, out: pathlib.Path) -> tuple[schema_lib.FeatureSchema, bool]:
  """Makes the dataset directory `out`; returns its schema and whether it was made now.

  It was not where it was there already.

  The schema's teacher is the irreducible log loss and AUC; source['realised_logloss'] is the log
  loss of the true probability on the labels that each split happened to get. Raises ValueError
  naming the option out of range.
  """
  if job.rows < 100:
    raise ValueError(f'rows={job.rows}: expected at least 100')
  options = dataclasses.asdict(job.recipe) | {
    'kind': 'synthetic',
    'rows': job.rows,
    'split_seed': job.split_seed,
  }
  mark = staging.fingerprint({}, options | {'format_version': schema_lib.FORMAT_VERSION})
  if staging.is_made(out, mark):
    return schema_lib.load_schema(out), False

  teacher, best = _teacher(job)
  with staging.directory(out) as directory:
    splits, realised, counts_FxW = _write(job, teacher, directory)
    fields = tuple(
      schema_lib.Field(f'field_{f}', 'categorical', job.recipe.vocab + 1)
      for f in range(job.recipe.fields)
    )
    meanings = {'teacher': pl.Series([repr(job.recipe)])}  # value 5 of another one is another
    for field, counts_W in zip(fields, counts_FxW, strict=True):
      table = _vocabulary(counts_W)
      vocabulary.save(table, directory, field.name)
      meanings[field.name] = vocabulary.meaning(table)
    schema = schema_lib.FeatureSchema(
      fields=fields,
      tasks=('label',),
      group=None,
      splits=splits,
      fingerprint=mark,
      source=options | {'realised_logloss': realised, 'expected_logloss_error': best.error},
      teacher=schema_lib.Teacher(logloss=best.logloss, auc=best.auc),
      vocabulary=vocabulary.digest(('label',), meanings),
    )
    schema_lib.save_schema(schema, directory)
  return schema_lib.load_schema(out), True


def _teacher(job: Job) -> tuple[teacher_lib.Teacher, teacher_lib.Irreducible]:
  """The teacher and what is irreducible of it; raises ValueError when its labels are certain."""
  rng = np.random.default_rng([job.recipe.seed, _IRREDUCIBLE])
  with np.errstate(all='ignore'):  # logits beyond floats: refused below
    teacher = teacher_lib.make(job.recipe)
    best = teacher_lib.irreducible(teacher, rng, job.expected_error)
  if not math.isfinite(best.logloss):
    raise ValueError(
      f'teacher: signal={job.recipe.signal}, noise={job.recipe.noise}: too large, labels would be '
      'certain'
    )
  return teacher, best


def chunks(
  job: Job, teacher: teacher_lib.Teacher
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """Yields (ids_BxF from 0, label_B, probability_B).

  More rows only append to what fewer rows give.
  """
  for index, first in enumerate(range(0, job.rows, CHUNK_ROWS)):
    rng = np.random.default_rng([job.recipe.seed, _ROWS, index])
    ids_BxF = teacher_lib.draw_ids(teacher, CHUNK_ROWS, rng)
    logit_B = teacher_lib.logits(teacher, ids_BxF)
    label_B = teacher_lib.draw_labels(teacher, logit_B, rng)
    count = min(CHUNK_ROWS, job.rows - first)
    yield ids_BxF[:count], label_B[:count], teacher_lib.probability(teacher, logit_B[:count])


def _write(
  job: Job, teacher: teacher_lib.Teacher, directory: pathlib.Path
) -> tuple[dict[str, schema_lib.Split], dict[str, float], np.ndarray]:
  """Writes the blocks -> (splits, realised log loss per split, counts_FxW of the training rows)."""
  names = schema_lib.SPLITS
  fields = job.recipe.fields
  vocab = job.recipe.vocab
  dtype = blocks.record_dtype(fields, tasks=1, numeric=0, grouped=False)
  writers = {name: blocks.BlockWriter(directory, name, dtype) for name in names}
  # row 0 of a field is out of vocabulary
  offset_F = (np.arange(fields) * (vocab + 1) + 1).astype(np.int32)

  loss = dict.fromkeys(names, 0.0)
  counts_FxW = np.zeros((fields, vocab), np.int64)
  first = 0
  with tqdm.tqdm(desc='generating rows', total=job.rows, unit=' rows', unit_scale=True) as progress:
    for ids_BxF, label_B, p_B in chunks(job, teacher):
      split_B = split_lib.split_of_rows(first, len(label_B), len(names) - 1, job.split_seed)
      counts_FxW += [np.bincount(ids_B, minlength=vocab) for ids_B in ids_BxF[split_B == 0].T]
      log_p_B = np.log(np.where(label_B == 1, p_B, 1 - p_B))
      for split, name in enumerate(names):
        mine_B = split_B == split
        writers[name].append((ids_BxF + offset_F)[mine_B], label_B[mine_B, None])
        loss[name] -= log_p_B[mine_B].sum()
      first += len(label_B)
      progress.update(len(label_B))

  splits = {name: writer.finish() for name, writer in writers.items()}
  realised = {name: float(loss[name] / splits[name].rows) for name in names}
  return splits, realised, counts_FxW


def _vocabulary(counts_W: np.ndarray) -> pl.DataFrame:
  values = [None, *map(str, range(len(counts_W)))]
  return pl.DataFrame(
    {'value': values, 'id': range(len(values)), 'count': [0, *counts_W.tolist()]},
    schema={'value': pl.String, 'id': pl.Int32, 'count': pl.UInt64},
  )
