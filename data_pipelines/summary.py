"""A data set in a small table, for people."""

from rec_sparse import schema as schema_lib


def table(schema: schema_lib.FeatureSchema) -> str:
  """Fields with their table rows, splits with their rows and label rates, and what the teacher knows."""
  lines = [f'{"field":<24} {"kind":<12} {"table rows":>12}']
  lines += [f'{f.name:<24} {f.kind:<12} {f.vocab_size:>12,}' for f in schema.fields]
  lines += [f'{len(schema.fields):<3} {"fields":<33} {schema.table_rows:>12,}', '']
  lines += [f'{"split":<12} {"rows":>12}  ' + '  '.join(f'{"rate of " + task:>16}' for task in schema.tasks)]
  for name, split in schema.splits.items():
    rates = '  '.join(f'{positives / split.rows:>16.4f}' for positives in split.positives)
    lines.append(f'{name:<12} {split.rows:>12,}  {rates}')
  if schema.teacher:
    lines.append(f'irreducible: log loss {schema.teacher.logloss:.4f}, AUC {schema.teacher.auc:.4f}')
  return '\n'.join(lines)
