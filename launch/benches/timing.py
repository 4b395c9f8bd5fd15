"""Interleaved timing: what is compared runs turn by turn in one process, so that noise hits all of it alike."""

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
  """Seconds of every call in every round, after one call each that warms up; the order rotates from round to round."""
  for call in calls.values():
    jax.block_until_ready(call())
  names, seconds = list(calls), {name: [] for name in calls}
  for r in range(rounds):
    for name in names[r % len(names):] + names[:r % len(names)]:
      began = time.perf_counter()
      jax.block_until_ready(calls[name]())
      seconds[name].append(time.perf_counter() - began)
  return seconds


def median(seconds: Seconds, name: str) -> float:
  """Median seconds of a call."""
  return statistics.median(seconds[name])


def ratio(seconds: Seconds, above: str, below: str) -> float:
  """Median over rounds of (seconds of `above` / seconds of `below` in the same round)."""
  return statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))


def compile_(fn: Callable, *arguments: Any, donate: int | tuple[int, ...] = ()) -> Compiled:
  """Compiles `fn` for these arguments; the ones at `donate` are given away at each call."""
  began = time.perf_counter()
  compiled = jax.jit(fn, donate_argnums=donate, keep_unused=True).lower(*arguments).compile()
  seconds = time.perf_counter() - began
  memory = compiled.memory_analysis()
  return Compiled(compiled, seconds, memory.temp_size_in_bytes if memory else 0)


def advancing(step: Callable, state: Any, *arguments: Any) -> Call:
  """A call that carries a donated state from turn to turn, as training does: step(state, *arguments) -> state."""
  kept = [state]

  def call() -> Any:
    kept[0] = step(kept[0], *arguments)
    return kept[0]

  return call


def repeated(fn: Callable, turns: int, *arguments: Any) -> tuple[Call, Compiled]:
  """A call that dispatches `fn(*arguments)` `turns` times, and what was compiled.

  Each turn writes over the results of the one before, as the steps of a training loop do: fresh memory costs a CPU more
  than a copy. A loop inside the program would not do: nothing changes from turn to turn, so XLA hoists the work.
  """

  def into(results: Any, *arguments: Any) -> Any:
    del results  # its memory takes the new ones
    return fn(*arguments)

  results = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(fn, *arguments))
  compiled = compile_(into, results, *arguments, donate=0)

  def call(results: Any) -> Any:
    for _ in range(turns):
      results = compiled.call(results, *arguments)
    return results

  return advancing(call, results), compiled
