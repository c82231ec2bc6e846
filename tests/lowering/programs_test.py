"""What lowering refuses, and that no compiled program is left out."""

import ast
import pathlib

import jax
import jax.numpy as jnp
import pytest

import ddjax
from ddjax import backend
from tests.lowering.lower import array, lower

# {file of ddjax: {function that compiles: the test of this folder that lowers what it compiles}}
LOWERED = {
  "data/load.py": {"_whiten": "networks: test_preprocessing"},
  "evaluators/accuracy.py": {"_classes": "networks: test_networks"},
  "evaluators/attack_runs.py": {"_run": "attacks"},
  "fitting/feature_ridge.py": {"_features": "networks: test_networks"},
  "evaluators/features.py": {"make_features_evaluator": "networks: test_networks, features"},
  "evaluators/kernel.py": {"make_kernel_fit.fit_one": "kernels: test_the_predictor"},
  "fitting/predictions.py": {
    "_classes": "networks: test_predictions_of_blocks",
    "_logits": "networks: test_predictions_of_blocks",
  },
  "evaluators/copy_check.py": {"_make_features": "networks: test_networks, features"},
  "experts/train.py": {"": "networks: test_experts, the parameters as one array"},
  "kernels/cost.py": {"_measured_flops_per_second": "programs: test_the_probe"},
  "stages/baselines.py": {
    "_choose": "distillers: a start",
    "_choose.advance": "distillers: steps of coresets",
  },
  "stages/distill.py": {"extract": "distillers: what is published"},
  "fitting/host.py": {"compile_training": "networks"},
  "training/parallel.py": {"make_program": "distillers", "deal_out": "networks"},
  "training/trainer.py": {"initialise": "distillers: a start"},
}
_COMPILERS = ("jit", "pmap", "deal_out", "shard_map", "pjit")


def _compiling_functions(tree):
  """Names of the functions that compile something, with those around them; "" for the module."""
  found = set()

  def visit(node, name):
    is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    inner = ".".join(filter(None, (name, node.name))) if is_function else name
    word = getattr(node, "attr", getattr(node, "id", None))
    if isinstance(node, ast.Attribute | ast.Name) and word in _COMPILERS:
      found.add(name)
    for field in ast.iter_child_nodes(node):
      visit(field, inner)

  visit(tree, "")
  return found


def test_every_compiled_program_has_a_lowering_case():
  root = pathlib.Path(ddjax.__file__).parent
  for path in sorted(root.rglob("*.py")):
    name = str(path.relative_to(root))
    found = _compiling_functions(ast.parse(path.read_text()))
    missing = sorted(found - LOWERED.get(name, {}).keys())
    assert not missing, (
      f"What {missing[0] or 'the module'} of {name} compiles has no lowering case."
    )
    gone = sorted(LOWERED.get(name, {}).keys() - found)
    assert not gone, f"{gone[0]} of {name} compiles nothing any more."


def test_functions_that_compile_are_found():
  source = """
import jax
flat = jax.jit(len)
@functools.partial(jax.jit, static_argnames="n")
def one(n): pass
def two():
  @jax.jit
  def inner(): pass
  return parallel.deal_out(inner)
def three(): jax.vmap(len)
"""
  assert _compiling_functions(ast.parse(source)) == {"", "one", "two", "two.inner"}


def test_what_an_accelerator_lacks_is_named():
  with pytest.raises(NotImplementedError, match="'schur' not found for platform"):
    lower(lambda x: jax.scipy.linalg.schur(x)[0], array(3, 3))


def test_what_only_tpus_lack_is_named():
  with pytest.raises(NotImplementedError, match="'eig' not found for platforms ..tpu"):
    lower(lambda x: jnp.linalg.eig(x)[0], array(3, 3))


def test_a_custom_call_that_accelerators_do_not_know_is_named():
  call = jax.ffi.ffi_call("lapack_spotrf_ffi", array(3, 3))
  with pytest.raises(AssertionError, match="lapack_spotrf_ffi"):
    lower(lambda x: call(x), array(3, 3))


def test_the_branch_of_an_accelerator_is_traced():
  seen = []

  def program(x):
    seen.append(backend.traits().convolution)
    return x

  lower(program, array(3))
  assert seen == ["primitive"] and jax.devices()[0].platform == "cpu"


def test_the_probe():
  size = backend.traits().probe_size
  lower(lambda x: x @ x, array(size, size))
