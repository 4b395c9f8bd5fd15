"""Steps as a TPU would run them, said by its compiler without one: `make test-tpu`."""

import importlib.util
import os

import pytest

if importlib.util.find_spec('libtpu') is None:
  pytest.skip('libtpu is not installed (extra [tpu])', allow_module_level=True)

# libtpu would else ask a server that only TPU hosts have, and allow one process at a time
os.environ.update(
  TPU_SKIP_MDS_QUERY='1', TPU_WORKER_HOSTNAMES='localhost', ALLOW_MULTIPLE_LIBTPU_LOAD='1'
)

import table_hlo

from rec_sparse import models
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.embedding import placement
from rec_sparse.runs import chips
from rec_sparse.runs import footprint
from rec_sparse.runs import hlo

BATCH, FIELDS, DIM = 256, 8, 16
ROWS = 4_000_000  # of a device: 256 MB, more than a core keeps beside its memory
# what a batch must move at least: its rows and two moments, each read and written once, and the
# rows read once more for the lookup
NEEDED = BATCH * FIELDS * DIM * 4 * (3 * 2 + 1)
MOST = 250  # times NEEDED; a gather on a v5e reads a tile of 4 KiB where 64 bytes are meant


def compiled(topology, model, layout=None, lookup=None, devices=1):
  """(program of a step, its text)."""
  sizes = {'width': 16, 'views': 2, 'depth': 1, 'embedding_dim': DIM, 'batch_size': BATCH}
  known = chips.devices_of(topology)[:devices]
  tables = chips.tables(known[0], layout, lookup)
  schema = footprint.schema_of(ROWS * devices, FIELDS)
  mesh = placement.make_mesh(devices, 1, known)
  run = train.program(settings.make(model, sizes), schema, mesh, tables.lookup, tables.layout)
  program = footprint.compile_step(run, footprint.abstract_state(run, schema))
  return program, program.as_text()


def bytes_of(program):
  return program.cost_analysis()['bytes accessed']


@pytest.mark.parametrize('model', models.NAMES)
def test_a_step_moves_what_its_batch_needs_and_makes_nothing_of_the_size_of_a_table(model):
  program, text = compiled('v5e', model)
  table = ROWS * DIM
  assert not table_hlo.table_sized(text, table)
  assert program.memory_analysis().temp_size_in_bytes < table * 4
  assert bytes_of(program) < MOST * NEEDED


@pytest.mark.parametrize('model', ['dense_mlp', 'ssr_s'])
def test_a_step_on_eight_devices_sends_rows_of_a_batch_alone(model):
  program, text = compiled('v5e:2x4', model, devices=8)
  assert not table_hlo.table_sized(text, ROWS * DIM)
  sent = hlo.collectives(text)
  assert 'all-to-all' in {operation.name.removesuffix('-start') for operation in sent}
  assert max(operation.elements for operation in sent) <= 8 * BATCH * FIELDS * DIM


def test_a_bad_layout_is_noticed():
  program, _ = compiled('v5e', 'dense_mlp', layout='rows')
  assert bytes_of(program) > MOST * NEEDED
