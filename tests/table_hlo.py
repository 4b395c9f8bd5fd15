"""Which operations of a compiled program make something as large as a table."""

from rec_sparse.runs import hlo

_NO_NEW_BUFFER = {  # a fusion's own operations are in the text too
  'parameter',
  'get-tuple-element',
  'tuple',
  'while',
  'conditional',
  'call',
  'bitcast',
  'fusion',
  'scatter',
}


def table_sized(text: str, table_elements: int) -> list[str]:
  """Operations whose result is as large as the table and that are not its update in place."""
  return [
    operation.line
    for operation in hlo.operations(text)
    if operation.elements >= table_elements and operation.name not in _NO_NEW_BUFFER
  ]
