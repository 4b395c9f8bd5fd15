"""What a trained network takes for granted of its data: what table rows and outputs stand for.

Checkpoints carry it as metadata, and data that differ in it are refused: equal sizes are not equal
meanings.
"""

import pathlib
from typing import Any

from data_pipelines import vocabulary
from rec_sparse import schema as schema_lib


def metadata(schema: schema_lib.FeatureSchema) -> dict[str, Any]:
  """Entries of a checkpoint's metadata."""
  return {
    'vocab_sizes': {field.name: field.vocab_size for field in schema.fields},
    'tasks': list(schema.tasks),
    'vocabulary': schema.vocabulary,
  }


def check(
  theirs: dict[str, Any], schema: schema_lib.FeatureSchema, data: pathlib.Path, own: pathlib.Path
) -> None:
  """Raises ValueError when `data` are encoded otherwise than a checkpoint's, of metadata `theirs`.

  `own` is where the data of the checkpoint lay; while they lie there, the sentence names the first
  field that differs.
  """
  if 'vocabulary' not in theirs:
    raise ValueError(
      f'--data={data}: the checkpoint is of an older version and does not say what '
      'its vocabularies are, so no data can be matched with it; train it again'
    )
  ours = metadata(schema)
  if all(theirs[name] == ours[name] for name in ours):
    return
  raise ValueError(
    f'--data={data}: {_difference(theirs, ours, data, own)}; prepare data for this '
    f'run with launch.prepare --vocab_from={own}'
  )


def _difference(
  theirs: dict[str, Any], ours: dict[str, Any], data: pathlib.Path, own: pathlib.Path
) -> str:
  if theirs['tasks'] != ours['tasks']:
    return f"its labels are {', '.join(ours['tasks'])}, the run's {', '.join(theirs['tasks'])}"
  our_rows = ours['vocab_sizes']
  their_rows = theirs['vocab_sizes']
  if list(our_rows) != list(their_rows):
    return f"its fields are {', '.join(our_rows)}, the run's {', '.join(their_rows)}"
  for name in our_rows:
    if our_rows[name] != their_rows[name] or not _is_shared(name, data, own):
      return f'values of field {name!r} have other ids than in the data that the run was trained on'
  return 'table rows stand for something else than in the data that the run was trained on'


def _is_shared(field: str, data: pathlib.Path, own: pathlib.Path) -> bool:
  """Whether the vocabularies of a field agree; True where one of them is not there."""
  try:
    ours, theirs = (vocabulary.meaning(vocabulary.load(place, field)) for place in (data, own))
  except ValueError:
    return True
  return ours.equals(theirs)
