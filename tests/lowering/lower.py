"""Lowering for accelerators on a machine without one: what XLA would be given there.

A program is traced as if the accelerator were there, with shapes in the place of arrays, and
lowered. Nothing is compiled and nothing computed.
"""

import collections
import contextlib
import re
from typing import Any, Callable, Iterator
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from ddjax.tuning import TRAITS

PLATFORMS = {"gpu": "cuda", "tpu": "tpu"}
"""JAX's name of a backend, and the platform that programs are lowered for."""

_KNOWN_TARGETS = re.compile(
  "Sharding|SPMD.*|annotate_device_placement|cu.+_ffi"  # of XLA and JAX, and of JAX for CUDA
  "|Cholesky|Eigh|LuDecomposition|Qr|ProductOfElementaryHouseholderReflectors"  # of TPUs
  "|TopK|ApproxTopK|mhlo\\..+|chlo\\..+"  # of XLA
)
"""Custom calls that CUDA or TPU builds bring with them."""


def _alike() -> list[tuple[str, ...]]:
  """Accelerators whose programs are traced alike: one trace serves them."""
  groups = collections.defaultdict(list)
  for name in PLATFORMS:
    groups[TRAITS[name]].append(name)
  return [tuple(names) for names in groups.values()]


GROUPS = _alike()
_pretended: tuple[str, ...] = ()


@contextlib.contextmanager
def pretended(*names: str) -> Iterator[None]:
  """JAX says that it computes on the first of these accelerators; all are lowered for.

  The check of keys is off: it takes the end of a vmapped loop that carries a key for a second use.
  """
  global _pretended
  before, _pretended = _pretended, names
  with mock.patch.object(jax, "default_backend", lambda: names[0]), jax.debug_key_reuse(False):
    yield
  _pretended = before


def shapes(tree: Any) -> Any:
  """A tree of arrays, or of numbers, as a tree of shapes."""

  def shape(leaf):
    if isinstance(leaf, jax.ShapeDtypeStruct):
      return leaf
    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)

  return jax.tree.map(shape, tree)


def array(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
  """The shape of an array."""
  return jax.ShapeDtypeStruct(shape, dtype)


def keys(*shape: int) -> jax.ShapeDtypeStruct:
  """The shape of keys."""
  return array(*shape, dtype=jax.eval_shape(lambda: jax.random.key(0)).dtype)


def lower(program: Callable[..., Any], *args: Any, **static: Any) -> Any:
  """Lowers a program for the accelerators of this test.

  Args:
    program: jitted or not, or mapped over devices.
    *args: trees of arrays or shapes.
    **static: arguments that are known at trace time.
  Returns:
    the shapes of what the program gives.
  Raises:
    AssertionError: for a custom call that neither CUDA nor TPUs know, naming it.
    NotImplementedError: for a primitive that one of them lacks, naming it, from JAX.
  """
  args = shapes(args)
  if hasattr(program, "trace"):
    traced = program.trace(*args, **static)
  else:
    traced = jax.jit(lambda *args: program(*args, **static)).trace(*args)
  lowered = traced.lower(lowering_platforms=tuple(PLATFORMS[name] for name in _pretended))
  targets = set(re.findall(r'custom_call @"?([\w.]+)', lowered.as_text()))
  unknown = [target for target in targets if not _KNOWN_TARGETS.fullmatch(target)]
  assert not unknown, f"Custom calls {sorted(unknown)} are unknown to CUDA and TPUs."
  return traced.out_info
