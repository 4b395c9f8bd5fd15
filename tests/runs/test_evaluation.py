"""What launch.evaluation says of states and splits, without a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse.runs import evaluation


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_one_number_that_is_not_finite_is_found(value, dtype):
  whole = {'table': jnp.ones((300, 16), dtype), 'step': jnp.int32(3), 'none': jnp.zeros((0, 4))}
  finite = jax.jit(evaluation.all_finite)
  assert finite(whole)
  assert not finite(whole | {'table': whole['table'].at[77, 5].set(value)})
