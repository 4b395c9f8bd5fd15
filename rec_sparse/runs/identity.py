"""What a trained network takes for granted of its data: what table rows and outputs stand for.

Checkpoints carry it as metadata, and data that differ in it are refused: equal sizes are not equal
meanings.
"""

import dataclasses
import pathlib
from typing import Any

from data_pipelines import vocabulary
from rec_sparse import schema as schema_lib


def metadata(schema: schema_lib.FeatureSchema) -> dict[str, Any]:
  """Entries of a checkpoint's metadata."""
  clusters = {'clusters': list(schema.clusters)} if schema.clusters else {}
  return {
    'fields': [dataclasses.asdict(field) for field in schema.fields],
    'tasks': list(schema.tasks),
    'vocabulary': schema.vocabulary,
    **clusters,
  }


def schema(metadata: dict[str, Any]) -> schema_lib.FeatureSchema:
  """What a checkpoint tells of the schema, without the data set: enough to initialise."""
  fields = tuple(schema_lib.Field(**field) for field in metadata['fields'])
  tasks = tuple(metadata['tasks'])
  return schema_lib.FeatureSchema(
    fields,
    tasks,
    None,
    {},
    '',
    {},
    vocabulary=metadata['vocabulary'],
    clusters=tuple(metadata.get('clusters', ())),
  )


def check(
  theirs: dict[str, Any], schema: schema_lib.FeatureSchema, data: pathlib.Path, own: pathlib.Path
) -> None:
  """Raises ValueError when `data` are encoded otherwise than a checkpoint's, of metadata `theirs`.

  `own` is where the data of the checkpoint lay; while they lie there, the sentence names the first
  field that differs.
  """
  if 'fields' not in theirs:
    raise ValueError(
      f'--data={data}: the checkpoint is of an older version and does not say what '
      'its fields are, so no data can be matched with it; train it again'
    )
  ours = metadata(schema)
  if all(theirs.get(name) == ours[name] for name in ours):
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
  our_fields = {field['name']: field for field in ours['fields']}
  their_fields = {field['name']: field for field in theirs['fields']}
  if list(our_fields) != list(their_fields):
    return f"its fields are {', '.join(our_fields)}, the run's {', '.join(their_fields)}"
  for name in our_fields:
    if our_fields[name] != their_fields[name] or not _is_shared(name, data, own):
      return f'values of field {name!r} have other ids than in the data that the run was trained on'
  return 'table rows stand for something else than in the data that the run was trained on'


def _is_shared(field: str, data: pathlib.Path, own: pathlib.Path) -> bool:
  """Whether the vocabularies of a field agree; True where one of them is not there."""
  try:
    ours, theirs = (vocabulary.meaning(vocabulary.load(place, field)) for place in (data, own))
  except ValueError:
    return True
  return ours.equals(theirs)
