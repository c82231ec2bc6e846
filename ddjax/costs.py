"""What a traced program costs: operations and bytes, counted before any compiler sees it.

The count is of the jaxpr, so it is the same on every backend. XLA's own count
(`Lowered.cost_analysis`) is None on some of them, and there it stopped every run that asked.
"""

import math
from typing import Any, Callable, NamedTuple

import jax
from jax.extend import core

_FREE = frozenset(
  "reshape broadcast_in_dim squeeze transpose convert_element_type copy slice pad concatenate "
  "dynamic_slice dynamic_update_slice gather rev iota stop_gradient expand_dims name "
  "optimization_barrier sharding_constraint random_wrap random_unwrap".split()
)
"""Primitives that move numbers and compute none."""
_REDUCTIONS = frozenset(
  "reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or argmax argmin cumsum cumprod "
  "cumlogsumexp cummax cummin".split()
)


class Cost(NamedTuple):
  """Of one call of a program.

  Attributes:
    flops: floating point operations; a multiplication and an addition are two, a transcendental
      function is one. Windows of convolutions count whole, padding included.
    bytes: that products, convolutions and reductions read and write. A lower bound: what is
      computed number by number may be fused with them.
  """

  flops: float
  bytes: float

  def __add__(self, other: "Cost") -> "Cost":  # type: ignore[override]
    return Cost(self.flops + other.flops, self.bytes + other.bytes)

  def times(self, count: float) -> "Cost":
    """Of so many calls."""
    return Cost(self.flops * count, self.bytes * count)


def count(fn: Callable[..., Any], *args: Any, loop_steps: int = 1) -> Cost:
  """Traces `fn` and counts.

  Args:
    fn: any function that JAX can trace.
    *args: arrays, or `jax.ShapeDtypeStruct`s in their place.
    loop_steps: for loops whose length is known when they run only (`while_loop`).
  Returns:
    the Cost. Of the branches of a `cond` the dearest counts.
  """
  return _of_jaxpr(jax.make_jaxpr(fn)(*args).jaxpr, loop_steps)


def _of_jaxpr(jaxpr: core.Jaxpr, loop_steps: int) -> Cost:
  return sum((_of_equation(equation, loop_steps) for equation in jaxpr.eqns), Cost(0.0, 0.0))


def _of_equation(equation: core.JaxprEqn, loop_steps: int) -> Cost:
  name, params = equation.primitive.name, equation.params
  if name == "dot_general":
    return Cost(_product_flops(equation), _moved(equation))
  if name == "conv_general_dilated":
    return Cost(_convolution_flops(equation), _moved(equation))
  if name == "scan":
    return _of_jaxpr(params["jaxpr"].jaxpr, loop_steps).times(params["length"])
  if name == "while":
    parts = params["body_jaxpr"].jaxpr, params["cond_jaxpr"].jaxpr
    return sum((_of_jaxpr(part, loop_steps) for part in parts), Cost(0.0, 0.0)).times(loop_steps)
  if name == "cond":
    branches = [_of_jaxpr(branch.jaxpr, loop_steps) for branch in params["branches"]]
    return max(branches, key=lambda branch: branch.flops)
  if name == "shard_map":
    devices = math.prod(params["mesh"].shape.values())
    return _of_jaxpr(params["jaxpr"], loop_steps).times(devices)
  if name in _ALGEBRA:
    return Cost(_ALGEBRA[name](_shape(equation.invars[0])), _moved(equation))
  if name == "triangular_solve":
    side = _shape(equation.invars[0])[-1]
    return Cost(side * _size(equation.invars[1].aval), _moved(equation))
  if (inner := _inner(params)) is not None:  # jit, custom derivatives, custom vmap, checkpoint
    return _of_jaxpr(inner, loop_steps)
  if name in _FREE or name.startswith("random_"):
    return Cost(0.0, 0.0)
  if name in _REDUCTIONS:
    return Cost(_size(equation.invars[0].aval), _moved(equation))
  return Cost(sum(_size(variable.aval) for variable in equation.outvars), 0.0)


def _batched(flops_of_side: Callable[[int], float]) -> Callable[[tuple[int, ...]], float]:
  return lambda shape: math.prod(shape[:-2]) * flops_of_side(shape[-1])


_ALGEBRA = {
  "cholesky": _batched(lambda n: n**3 / 3),
  "lu": _batched(lambda n: 2 * n**3 / 3),
  "eigh": _batched(lambda n: 9.0 * n**3),
  "svd": _batched(lambda n: 20.0 * n**3),
  "qr": _batched(lambda n: 4 * n**3 / 3),
}
"""Decompositions of square matrices, by shape; the usual leading terms."""


def _inner(params: dict[str, Any]) -> core.Jaxpr | None:
  """The program inside an equation, under whatever name its primitive keeps it."""
  for value in params.values():
    if isinstance(value, core.ClosedJaxpr):
      return value.jaxpr
    if isinstance(value, core.Jaxpr):
      return value
  return None


def _shape(variable: Any) -> tuple[int, ...]:
  """Of an array; the types of JAX allow for values that are none."""
  return variable.aval.shape


def _product_flops(equation: core.JaxprEqn) -> float:
  (contracted, _), _ = equation.params["dimension_numbers"]
  left = _shape(equation.invars[0])
  return 2.0 * _size(equation.outvars[0].aval) * math.prod(left[axis] for axis in contracted)


def _convolution_flops(equation: core.JaxprEqn) -> float:
  kernel = _shape(equation.invars[1])
  spec = equation.params["dimension_numbers"].rhs_spec  # (outputs, inputs of a group, space ...)
  window = math.prod(kernel[axis] for axis in spec[1:])
  space = math.prod(equation.params["lhs_dilation"]) * equation.params["batch_group_count"]
  return 2.0 * _size(equation.outvars[0].aval) * window / space


def _moved(equation: core.JaxprEqn) -> float:
  arrays: list[Any] = [
    v.aval for v in (*equation.invars, *equation.outvars) if hasattr(v.aval, "shape")
  ]
  return float(sum(_size(array) * getattr(array.dtype, "itemsize", 4) for array in arrays))


def _size(aval: Any) -> float:
  return float(math.prod(getattr(aval, "shape", ())))
