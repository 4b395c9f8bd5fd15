"""Which checkpoints stay, also across sittings; what becomes of those of an older format."""

import orbax.checkpoint as ocp
import pytest

from rec_sparse import checkpoint
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train


def save(directory, steps, keep_every=0):
  with checkpoint.manager(directory, keep_every=keep_every) as manager:
    for step, value in steps:
      manager.save(
        step,
        args=ocp.args.Composite(data=ocp.args.JsonSave({})),
        force=True,
        metrics=None if value is None else {'value': value},
      )
      manager.wait_until_finished()
    return manager.all_steps()


def test_the_best_and_the_last_checkpoint_are_kept(tmp_path):
  assert save(tmp_path, [(1, 0.1), (2, 0.5), (3, None), (4, 0.3)]) == [2, 4]


def test_a_resumed_run_still_knows_its_best_checkpoint(tmp_path):
  save(tmp_path, [(1, 0.5), (2, 0.2)])
  assert save(tmp_path, [(3, 0.3), (4, None)]) == [1, 4]
  assert save(tmp_path, [(5, 0.9), (6, 0.8)]) == [5, 6]


def test_checkpoints_at_multiples_of_keep_every_stay_for_good(tmp_path):
  assert save(tmp_path, [(3, 0.9), (5, None), (6, 0.2), (7, None), (10, 0.3)], keep_every=5) == [
    3,
    5,
    10,
  ]
  assert save(tmp_path, [(12, 0.4), (15, None), (16, 0.95)], keep_every=5) == [5, 10, 15, 16]


def test_a_checkpoint_of_another_format_is_refused_in_one_sentence(tmp_path, monkeypatch):
  fields = (schema_lib.Field('user', 'categorical', 5), schema_lib.Field('item', 'categorical', 4))
  schema = schema_lib.FeatureSchema(fields, ('label',), None, {}, '', {})
  config = settings.make('dense_mlp', {'width': 4, 'depth': 1, 'embedding_dim': 4})
  run = train.program(config, schema)
  like = train.init(run, schema)
  with checkpoint.manager(tmp_path) as manager:
    with monkeypatch.context() as before:
      before.setattr(checkpoint, 'FORMAT', 2)
      checkpoint.save(manager, run, like, {}, {})
    for restore in (checkpoint.restore, checkpoint.restore_model):
      with pytest.raises(ValueError, match='0: of format 2, this program reads format 3; use'):
        restore(manager, 0, run, like)
