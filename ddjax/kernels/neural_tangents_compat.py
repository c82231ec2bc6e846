"""neural-tangents on current JAX: the one place that imports it.

neural-tangents 0.6.5 was written for JAX up to 0.5.3. It takes a handful of names from modules that
have moved since, and its `experimental` part imports TensorFlow at import time. `load()` puts the
moved names back for the moment of the import, stands a placeholder in for `experimental`, and
returns the library. Analytic kernels (`stax`), their gradients and `predict` then work on JAX 0.10
to 0.12; the structured-derivative empirical kernels do not, and are not used here.
`tests/kernels/neural_tangents_compat_test.py` pins all of this.
"""

import contextlib
import functools
import sys
import types
from typing import Iterator

_MOVED_TO_EXTEND = ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var")


@contextlib.contextmanager
def _attributes(module: types.ModuleType, **values) -> Iterator[None]:
  """Sets the attributes that `module` lacks, and takes them away again."""
  added = [name for name in values if name not in vars(module)]
  for name in added:
    setattr(module, name, values[name])
  try:
    yield
  finally:
    for name in added:
      delattr(module, name)


@contextlib.contextmanager
def _stand_in_modules(modules: dict[str, types.ModuleType]) -> Iterator[None]:
  """Registers modules under names that no real module has, and takes them away again."""
  added = [name for name in modules if name not in sys.modules]
  sys.modules.update({name: modules[name] for name in added})
  try:
    yield
  finally:
    for name in added:
      del sys.modules[name]


def _module(name: str, **attributes) -> types.ModuleType:
  module = types.ModuleType(name)
  vars(module).update(attributes)
  return module


@functools.cache
def load() -> types.ModuleType:
  """Imports neural-tangents, once.

  Returns:
    The `neural_tangents` module, with `stax` and `predict` as attributes.
  Raises:
    ImportError: if neural-tangents is not installed or asks JAX for a name not known here.
  """
  from jax._src import util
  import jax.core
  import jax.extend.core as extend_core
  from jax.interpreters import ad

  moved = {name: getattr(extend_core, name) for name in _MOVED_TO_EXTEND}
  moved["Value"] = object  # only ever used in annotations
  old_util = _module("jax.util", safe_map=util.safe_map, safe_zip=util.safe_zip)
  # A rule table is keyed by this primitive, which no traced program contains any more.
  zeros_like_p = extend_core.Primitive("zeros_like_removed")
  experimental = _module("neural_tangents.experimental")
  with (
    _attributes(jax.core, **moved),
    _attributes(ad, zeros_like_p=zeros_like_p),
    _stand_in_modules({"jax.util": old_util}),
    _stand_in_modules({"neural_tangents.experimental": experimental}),
  ):
    import neural_tangents
  return neural_tangents
