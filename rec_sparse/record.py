"""The trial record: one JSON object per trial, the same from a single run and from a sweep."""

import dataclasses
import functools
import importlib.metadata
import json
import pathlib
import platform
import subprocess
from typing import Any

import jax

from rec_sparse import config as config_lib
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse import whole_file
from rec_sparse.scaling.records import METRICS

HEADLINE = ('logloss', 'auc', 'gauc_impressions', 'gauc_users')  # of a split


def make(
  config: config_lib.Config,
  schema: schema_lib.FeatureSchema,
  *,
  status: str,
  train_examples: int,
  wall_seconds: float,
  **found: Any,
) -> dict[str, Any]:
  """A record of `config`; metrics that were not measured are null. `found` adds to it (metrics,
  error, best_step).
  """
  return {
    'run_id': config_lib.run_id(config),
    'config': dataclasses.asdict(config),
    'arm': config.model,
    'width': config.width,
    'depth': config.depth,
    'views': config.views,
    'seed': config.seed,
    'learning_rate': config.learning_rate,
    **train.counts(config, schema),
    'train_examples': train_examples,
    **dict.fromkeys(METRICS),
    'wall_seconds': round(wall_seconds, 3),
    'device': jax.devices()[0].device_kind,
    'versions': versions(),
    'status': status,
    **found,
  }


def measured(split: str, found: dict[str, Any]) -> dict[str, Any]:
  """Entries of a record for the metrics of a split, such as valid_auc; GAUC where there are groups.

  Of several tasks these are means, and each task has its own below valid_tasks or test_tasks.
  """
  entries = {f'{split}_{name}': found[name] for name in HEADLINE if name in found}
  if 'tasks' in found:
    entries[f'{split}_tasks'] = {
      task: {name: own[name] for name in HEADLINE if name in own}
      for task, own in found['tasks'].items()
    }
  return entries


def failed(
  config: config_lib.Config, schema: schema_lib.FeatureSchema, error: str, wall_seconds: float
) -> dict[str, Any]:
  """The record of a trial that raised `error`."""
  return make(
    config, schema, status='failed', train_examples=0, wall_seconds=wall_seconds, error=error
  )


def versions() -> dict[str, str]:
  """Versions of what a result depends on; `revision` where this code lies in a git checkout."""
  packages = ('rec_sparse', 'jax', 'jaxlib', 'flax', 'optax', 'numpy')
  own = revision(pathlib.Path(__file__))
  return (
    {'python': platform.python_version()}
    | {name: _version(name) for name in packages}
    | ({'revision': own} if own else {})
  )


@functools.cache
def revision(file: pathlib.Path) -> str:
  """The commit of the git checkout that tracks `file`, with -dirty where tracked files
  have changed; '' if none does.

  An installed copy may lie inside the checkout of something else, which does not track it.
  """
  tracked = _git(file, 'ls-files', '--error-unmatch', file.name)
  return (
    _git(file, 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*') if tracked else ''
  )


def _git(file: pathlib.Path, *arguments: str) -> str:
  command = ['git', '-C', str(file.parent), *arguments]
  try:
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=10)
    return done.stdout.strip()
  except (OSError, UnicodeDecodeError, subprocess.SubprocessError):
    return ''


def _version(package: str) -> str:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return 'not installed'


read_json = schema_lib.read_json  # the inverse of write_json


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes strict JSON (NaN is an error), atomically."""
  write_text(path, json.dumps(value, indent=1, allow_nan=False) + '\n')


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes atomically."""
  with whole_file.replacing(path) as temporary:
    temporary.write_text(text)
