"""A data set in a small table, for people."""

from rec_sparse import schema as schema_lib


def table(schema: schema_lib.FeatureSchema) -> str:
  """Fields and what became of their columns, splits, what the teacher knows, warnings."""
  lines = [*_fields(schema), '', *_splits(schema)]
  if schema.teacher:
    lines.append(
      f'irreducible: log loss {schema.teacher.logloss:.4f}, AUC {schema.teacher.auc:.4f}'
    )
  for name, column in schema.columns.items():
    lines += [f'warning: {name}: {note}' for note in column.notes]
  return '\n'.join(lines)


def _fields(schema: schema_lib.FeatureSchema) -> list[str]:
  width = max(24, *(len(field.name) for field in schema.fields))
  head = f'{"field":<{width}} {"treatment":<12} {"table rows":>12}'
  if schema.columns:
    unknown = ''.join(f'{"unk. " + split:>12}' for split in schema.splits)
    head += f' {"distinct":>12} {"missing":>8} {"range":>28}{unknown}'
  rows = [_field(schema, field, width) for field in schema.fields]
  total = f'{len(schema.fields):<3} {"fields":<{width + 9}} {schema.table_rows:>12,}'
  return [head, *rows, total]


def _splits(schema: schema_lib.FeatureSchema) -> list[str]:
  tasks = '  '.join(f'{"rate of " + task:>16}' for task in schema.tasks)
  lines = [f'{"split":<12} {"rows":>12}  {tasks}']
  for name, split in schema.splits.items():
    rates = '  '.join(f'{positives / split.rows:>16.4f}' for positives in split.positives)
    lines.append(f'{name:<12} {split.rows:>12,}  {rates}')
  return lines


def _field(schema: schema_lib.FeatureSchema, field: schema_lib.Field, width: int) -> str:
  column = schema.columns.get(field.name)
  treatment = field.kind if column is None else column.treatment
  line = f'{field.name:<{width}} {treatment:<12} {field.vocab_size:>12,}'
  if column is None:
    return line

  distinct = f'{column.distinct:,}{"" if column.exact else "+"}'
  span = '' if column.least is None else f'{_number(column.least)} to {_number(column.most)}'
  shares = [_share(column.unknown[name], split.rows) for name, split in schema.splits.items()]
  unknown = ''.join(f'{share:>12}' for share in shares)
  return f'{line} {distinct:>12} {column.missing:>8,} {span:>28}{unknown}'


def _number(value: float) -> str:
  """Whole numbers of up to 15 digits as they are, others to 6 digits."""
  return f'{value:.0f}' if value == int(value) and abs(value) < 1e15 else f'{value:.6g}'


def _share(part: int, rows: int) -> str:
  """Percent; so that a share is 0 or 100 only where all rows agree."""
  if part in (0, rows):
    return f'{100 * part // rows} %'
  return f'{min(max(100 * part / rows, 0.01), 99.99):.2f} %'
