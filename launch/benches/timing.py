"""Interleaved timing: what is compared runs turn by turn in one process.

So noise hits all of it alike.
"""

from collections.abc import Callable
import statistics
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Call = Callable[[], Any]  # does its work once; the result is waited for
Seconds = dict[str, list[float]]  # name -> seconds of each round


class Compiled(NamedTuple):
  """A compiled program and what compiling it cost."""

  call: Callable
  seconds: float  # tracing, lowering and compiling
  temp_bytes: int  # scratch memory of a call, beyond arguments and results


def interleave(calls: dict[str, Call], rounds: int) -> Seconds:
  """Seconds of every call in every round, after one call each that warms up.

  The order rotates from round to round.
  """
  for call in calls.values():
    jax.block_until_ready(call())

  names = list(calls)
  seconds = {name: [] for name in names}
  for r in range(rounds):
    first = r % len(names)
    for name in names[first:] + names[:first]:
      began = time.perf_counter()
      jax.block_until_ready(calls[name]())
      seconds[name].append(time.perf_counter() - began)
  return seconds


def median(seconds: Seconds, name: str) -> float:
  """Median seconds of a call."""
  return statistics.median(seconds[name])


def compile_(fn: Callable, *arguments: Any, donate: int | tuple[int, ...] = ()) -> Compiled:
  """Compiles `fn` for these arguments; the ones at `donate` are given away at each call."""
  began = time.perf_counter()
  compiled = jax.jit(fn, donate_argnums=donate, keep_unused=True).lower(*arguments).compile()
  seconds = time.perf_counter() - began
  memory = compiled.memory_analysis()
  return Compiled(compiled, seconds, memory.temp_size_in_bytes if memory else 0)


def advancing(step: Callable, state: Any, *arguments: Any) -> Call:
  """A call that carries a donated state from turn to turn, as training does.

  step(state, *arguments) -> state.
  """
  kept = [state]

  def call() -> Any:
    kept[0] = step(kept[0], *arguments)
    return kept[0]

  return call


def repeated(fn: Callable, turns: int, *arguments: Any) -> tuple[Call, Compiled]:
  """A call that does `fn(*arguments)` `turns` times in one dispatch, and what was compiled.

  Steps of training are done like that.

  So scratch memory comes from the system once a dispatch: on a CPU the first touch of a fresh page
  costs more than copying it. Between turns, one element of each argument gains zero times the first
  result, which must be finite floats: if nothing changed, XLA would hoist the work out of the loop.
  """

  def turn(_: jax.Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
    arguments, _ = carry
    results = fn(*arguments)
    zero = 0 * jax.tree.leaves(results)[0].reshape(-1)[0]

    def touched(leaf: jax.Array) -> jax.Array:
      return leaf.at[(0,) * leaf.ndim].add(zero.astype(leaf.dtype))

    return jax.tree.map(touched, arguments), results

  def all_turns(carry: tuple[Any, Any]) -> tuple[Any, Any]:
    return jax.lax.fori_loop(0, turns, turn, carry)

  shapes = jax.eval_shape(fn, *arguments)
  results = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
  carry = jax.tree.map(jnp.copy, arguments), results  # copies, because a call gives its carry away
  compiled = compile_(all_turns, carry, donate=0)
  return advancing(compiled.call, carry), compiled
