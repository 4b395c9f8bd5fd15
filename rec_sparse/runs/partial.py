"""The group of trials that a signal cut: `partial/<run id of its first trial>.npz` of a study,
whole or absent.

Written when the signal comes, so that it costs nothing else; `kill -9` loses the group.
"""

from collections.abc import Sequence
import dataclasses
import json
import pathlib

import jax
import numpy as np

from rec_sparse import config as config_lib
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse import whole_file
from rec_sparse.runs import trials
from rec_sparse.runs.standing import Standing


def save(out: pathlib.Path, group: Sequence[config_lib.Config], begun: trials.Begun) -> None:
  """Writes where `group` stands."""
  about = {
    'trials': [config_lib.run_id(config) for config in group],
    'step': begun.step,
    'seconds': begun.seconds,
    'standings': [dataclasses.asdict(standing) for standing in begun.standings],
  }
  arrays = {}
  for name, stack in (('states', begun.states), ('best', begun.best)):
    for i, leaf in enumerate(jax.tree.leaves(stack)):
      arrays[f'{name}_{i}'] = leaf
  path = _path(out, group)
  path.parent.mkdir(exist_ok=True)
  with whole_file.replacing(path) as temporary, temporary.open('wb') as file:
    np.savez(file, about=np.array(json.dumps(about)), **arrays)


def trials_of(path: pathlib.Path) -> list[str]:
  """The run ids of a group, in its order; raises ValueError naming the file when it is damaged."""
  try:
    with path.open('rb') as file, np.load(file, allow_pickle=False) as stored:
      return json.loads(str(stored['about']))['trials']
  except whole_file.NPZ_DAMAGE as e:
    raise _damaged(path, e) from None


def read(
  out: pathlib.Path, group: Sequence[config_lib.Config], schema: schema_lib.FeatureSchema
) -> trials.Begun | None:
  """Where `group` stood when it was cut, None if it was not;
  raises ValueError naming the file when it is damaged.
  """
  path = _path(out, group)
  if not path.is_file() or trials_of(path) != [config_lib.run_id(c) for c in group]:
    return None
  like = train.abstract_state(train.program(group[0], schema), schema)
  try:
    with path.open('rb') as file, np.load(file, allow_pickle=False) as stored:
      about = json.loads(str(stored['about']))
      standings = tuple(Standing(**own) for own in about['standings'])
      states = _stack(stored, 'states', like)
      best = _stack(stored, 'best', like) if 'best_0' in stored else None
  except (*whole_file.NPZ_DAMAGE, TypeError) as e:
    raise _damaged(path, e) from None
  return trials.Begun(about['step'], standings, states, best, about['seconds'])


def remove(out: pathlib.Path, group: Sequence[config_lib.Config]) -> None:
  """Forgets where `group`, or one that begins with the same trial, stood."""
  path = _path(out, group)
  path.unlink(missing_ok=True)
  if path.parent.is_dir() and not any(path.parent.iterdir()):
    path.parent.rmdir()


def _path(out: pathlib.Path, group: Sequence[config_lib.Config]) -> pathlib.Path:
  return out / 'partial' / f'{config_lib.run_id(group[0])}.npz'


def _stack(stored: np.lib.npyio.NpzFile, name: str, like: train.TrainState) -> train.TrainState:
  """NumPy reads dtypes that it does not know (bfloat16) as bytes:
  `like`, one state, says what they are.
  """
  leaves, structure = jax.tree.flatten(like)
  return structure.unflatten(
    [stored[f'{name}_{i}'].view(leaf.dtype) for i, leaf in enumerate(leaves)]
  )


def _damaged(path: pathlib.Path, e: Exception) -> ValueError:
  return ValueError(f'{path}: damaged ({e}); delete the file, and its trials begin anew')
