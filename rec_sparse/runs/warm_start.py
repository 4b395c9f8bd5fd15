"""A run that starts from another one: from its network alone, or from all of it for more epochs.

A config names the checkpoint it starts from (`init_from`), so that its run id differs. The other
run is read when the new one begins; what goes on after a cut reads the new one's own checkpoints.
"""

import os
import pathlib
import shutil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rec_sparse import checkpoint
from rec_sparse import config as config_lib
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse.embedding import kept_dims
from rec_sparse.embedding import table as table_lib
from rec_sparse.runs import claim
from rec_sparse.runs import identity
from rec_sparse.runs import run_directory
from rec_sparse.sparsity import masks
from rec_sparse.sparsity import rules
from rec_sparse.sparsity import table_masks

# rules whose masks do not depend on the steps of the whole run
STEADY = ('none', 'static', 'snip', 'grasp', 'synflow', 'edge_popup')
LONGER = ('epochs', 'patience', 'init_from')  # all that more epochs of a run may differ in


class Origin(NamedTuple):
  """The checkpoint that a run starts from."""

  directory: pathlib.Path  # of its run
  config: config_lib.Config  # of its run
  data: pathlib.Path  # where the data of its run lay
  step: int
  is_longer: bool  # the new run is the same one for more epochs: it takes over everything

  @property
  def name(self) -> str:
    """What the config of the new run says."""
    return f'{config_lib.run_id(self.config)}/{self.step}'


def find(directory: pathlib.Path, which: str, config: config_lib.Config) -> Origin:
  """The checkpoint 'best', 'last' or a step, for a run of `config`; the last one for more epochs.

  Raises ValueError when there is no such run or checkpoint.
  """
  theirs, data = run_directory.read(directory, flag='init_from')
  differ = config_lib.differing(_flat(theirs), _flat(config))
  is_longer = set(differ) <= set(LONGER)
  with checkpoint.manager(directory, read_only=True) as manager:
    step = checkpoint.choose(manager, 'last' if is_longer else which)
  return Origin(directory, theirs, data, step, is_longer)


def check(
  origin: Origin,
  run: train.Program,
  schema: schema_lib.FeatureSchema,
  data: pathlib.Path,
  last: int,
) -> None:
  """Raises ValueError when a run of `last` steps cannot start from `origin`."""
  with checkpoint.manager(origin.directory, read_only=True) as manager:
    metadata = checkpoint.read_metadata(manager, origin.step)
  identity.check(metadata, schema, data, origin.data)
  flag = f'--init_from={origin.directory}'
  if not origin.is_longer:
    if _shapes(run, schema) != _shapes(_program(origin, run, schema), schema):
      differ = config_lib.differing(_flat(origin.config), _flat(run.config))
      named = ', '.join(name for name in differ if name != 'init_from')
      raise ValueError(f'{flag}: its network has other shapes; {named} differ')
    _check_table(origin, run)
    return

  patience, waited = run.config.patience, metadata['progress']['waited']
  if origin.step >= last:
    raise ValueError(f'{flag}: has trained all of its epochs; name more with --epochs')
  if patience and waited >= patience:
    raise ValueError(
      f'{flag}: stopped early, after {waited} validations without a better one; '
      'to go on it needs a larger --patience'
    )
  if run.config.schedule.startswith('warmup'):
    raise ValueError(
      f'{flag}: its learning rate comes down to its last epoch (schedule={run.config.schedule}), '
      'so more epochs are another run; with another --schedule it starts from its network'
    )
  for name in ('sparsity', 'table_sparsity'):
    rule = getattr(run.config, name)
    if rule not in STEADY:
      raise ValueError(
        f'{flag}: its masks change by the share of all steps that is done ({name}={rule}), so more '
        f'epochs are another run; with another --{name} it starts from its network'
      )


def _check_table(origin: Origin, run: train.Program) -> None:
  """Raises ValueError where masks of two tables would meet: what both keep is hardly anything."""
  ours = run.table_sparsifier
  if ours and not ours.rule.starts_dense and origin.config.table_sparsity != 'none':
    raise ValueError(
      f'--init_from={origin.directory}: its table has masks, and table_sparsity='
      f'{run.config.table_sparsity} draws others; expected none, magnitude or gradual'
    )


def start(origin: Origin, run: train.Program, schema: schema_lib.FeatureSchema) -> train.TrainState:
  """A state at step 0 with the network of `origin`, what moves with it included; all else is new.

  Its masks stay if the run keeps as many weights of each kernel, in the same structure; else the
  run's own are applied, as those of its table always are. Dimensions that the run's embeddings lack
  become 0. While this runs there are two tables.
  """
  theirs = _program(origin, run, schema)
  like = train.abstract_state(theirs, schema)
  with checkpoint.manager(origin.directory, read_only=True) as manager:
    network = checkpoint.restore_model(manager, origin.step, theirs, like)
  state = train.init(run, schema)
  params = network.params
  sparse = state.sparse
  if sparse is not None:
    sparse = _sparse(theirs.sparsifier, network, run.sparsifier, sparse)
    params = masks.apply(sparse.masks, params)
  table = table_lib.with_rows_of(state.table, network.table)
  if run.table_sparsifier:
    table = table_masks.within(table)
  return state._replace(
    params=params,
    sparse=sparse,
    moving=network.moving,
    constants=network.constants,
    table=kept_dims.cut_placed(run.dims, run.table, table),
  )


def _sparse(
  theirs: rules.Sparsifier | None,
  network: train.TrainState,
  ours: rules.Sparsifier,
  new: rules.Sparse,
) -> rules.Sparse:
  """What is in force at the start; kernels that stay as they are, are those of `network`."""
  is_alike = (
    theirs is not None and theirs.counts == ours.counts and theirs.structure == ours.structure
  )
  if is_alike and theirs.rule.trains_scores and ours.rule.trains_scores:
    return network.sparse
  if new.early is not None:
    new = new._replace(early=jax.tree.map(jnp.copy, network.params))
  return new._replace(masks=network.sparse.masks) if is_alike else new


def copy(origin: Origin, config: config_lib.Config, data: pathlib.Path, out: pathlib.Path) -> None:
  """Makes `out` a copy of the run of `origin` that goes on with `config`: whole, or not there."""
  temporary = out.with_name(f'.{out.name}.{os.getpid()}')
  try:
    claim.write(config, data, temporary)
    shutil.copy(origin.directory / 'metrics.jsonl', temporary)
    for step in run_directory.checkpoints(origin.directory):
      place = pathlib.Path('checkpoints') / str(step)
      shutil.copytree(origin.directory / place, temporary / place)
    temporary.rename(out)
  except BaseException:
    shutil.rmtree(temporary, ignore_errors=True)
    raise


def _flat(config: config_lib.Config) -> dict[str, Any]:
  return config_lib.flat(config_lib.to_raw(config))


def _program(origin: Origin, run: train.Program, schema: schema_lib.FeatureSchema) -> train.Program:
  """That of the other run, on the devices of this one."""
  return train.program(origin.config, schema, run.mesh, run.table.exchange, run.table.layout)


def _shapes(run: train.Program, schema: schema_lib.FeatureSchema) -> Any:
  """Shapes and dtypes of a network, by their places in it."""
  state = train.abstract_state(run, schema)
  network = (state.params, state.moving, state.constants, state.table.rows_RxD)
  leaves = jax.tree.leaves_with_path(network)
  return {jax.tree_util.keystr(path): (leaf.shape, leaf.dtype) for path, leaf in leaves}
