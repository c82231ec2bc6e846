"""Every compiled program, lowered for CUDA and TPU on a machine that has neither.

Lowering is where a primitive without a rule for a platform fails. The tables grow with the
registries: a new method, network, protocol, attack or kernel family is lowered here without a line.
Programs are traced as on an accelerator: the forms that `ddjax.backend` takes there.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax import registry
from ddjax.config import audit, groups
from ddjax.data.preprocess import KINDS as PREPROCESSINGS
from ddjax.data.preprocess import fit_preprocessing
from ddjax.distillers.coreset import METHODS as CORESETS
from ddjax.evaluators import accuracy, attack_runs, predictions, protocols, train
from ddjax.kernels import make, ridge
from ddjax.kernels.make import make_kernel
from ddjax.models.build import MODELS, build
from ddjax.training import parallel, trainer
from tests.distillers.cases import CASES, Case, make_distiller, make_shards

PLATFORMS = ("cuda", "tpu")
_CLASSES = 4


@pytest.fixture(autouse=True, scope="module")
def _as_on_an_accelerator():
  """Traces take the forms of an accelerator; none is left behind for other tests.

  Keys are not checked: draws under `vmap(cond)` raise falsely there.
  """
  jax.clear_caches()
  jax.config.update("jax_debug_key_reuse", False)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "default_backend", lambda: "gpu")
    yield
  jax.config.update("jax_debug_key_reuse", True)
  jax.clear_caches()


def _lower(fn, *args) -> str:
  """The program of both platforms; raises where a primitive has no rule for one of them."""
  lowered = jax.jit(fn).trace(*args).lower(lowering_platforms=PLATFORMS)
  return lowered.as_text()


def _image(*leading, shape=(8, 8, 1)):
  return jax.ShapeDtypeStruct((*leading, *shape), jnp.float32)


def test_what_has_no_rule_fails_by_name():
  with pytest.raises(NotImplementedError, match="eig.*tpu"):
    _lower(lambda x: jnp.linalg.eig(x)[0], jnp.ones((3, 3)))


def test_every_method_has_a_case():
  assert {case.method for case in CASES} == set(registry.DISTILLERS)


_LAYOUTS = {"one device": (1, 0), "four devices": (4, 0), "two replicas": (1, 2), "dealt": (4, 4)}
_CALLS = {
  f"{case.name}, {name}": (case, *layout)
  for case, (name, layout) in itertools.product(CASES, _LAYOUTS.items())
  if not case.is_slow or name == "four devices"  # its method has other cases
}


@pytest.mark.parametrize("case,num_devices,num_replicas", _CALLS.values(), ids=_CALLS)
def test_the_trainers_call_of_every_method(case, num_devices, num_replicas):
  """Start, steps in a loop with what feeds them, and what is published."""
  layout = parallel.make_layout(num_devices, num_replicas)
  distiller, data, _ = make_distiller(case, layout.axis_name)
  rngs = jax.random.split(jax.random.key(3), max(num_replicas, 1))
  rngs = rngs if num_replicas else rngs[0]
  init = jax.vmap(distiller.init, (0, None)) if num_replicas else distiller.init
  state = jax.eval_shape(init, rngs, data)
  shard = make_shards(case, distiller, _keyed(state, rngs), 0, 2, 2, layout)
  program = parallel.make_program(
    distiller.step, layout, steps_per_call=2, is_host_fed=distiller.batch_at is not None
  )
  if layout.split == "replicas":
    deal = functools.partial(jax.tree.map, lambda x: x.reshape(num_devices, -1, *x.shape[1:]))
    dealt = jax.eval_shape(deal, state)
  else:
    dealt = state
  assert "func" in _lower(init, rngs, data)
  text = _lower(program, dealt, data, np.int32(2), shard)
  assert "while" in text
  extract = jax.vmap(distiller.extract) if num_replicas else distiller.extract
  _lower(extract, state)


def _keyed(state, rngs):
  """A state of shapes with its real key, which seeds the host's batches."""
  return state.replace(rng=rngs)


@pytest.mark.parametrize("method", [name for name, one in CORESETS.items() if one])
def test_every_coreset(method):
  features = jax.ShapeDtypeStruct((12, 5), jnp.float32)
  members = jax.ShapeDtypeStruct((12,), jnp.bool_)
  _lower(functools.partial(CORESETS[method], count=3), features, members)


def _trained(network, protocol, loss):
  """Lowers start, steps and end of two networks that are trained together, and a single one."""
  training = train.make_training(
    network, protocol, loss=loss, num_examples=6, image_shape=(32, 32, 3)
  )
  labels = jax.ShapeDtypeStruct((1, 6, _CLASSES), jnp.float32)
  zeros = np.zeros(3, np.float32)
  source = train.Source(_image(1, 6, shape=(32, 32, 3)), labels, zeros, zeros + 1)
  for count in (1, 2):
    rows = train.Rows(
      np.zeros((count, 2), np.uint32), np.zeros(count, np.int32), np.ones(count, np.float32)
    )
    args = jax.random.key(0), rows, source
    state = jax.eval_shape(training.init, *args)
    _lower(training.init, *args)
    _lower(training.advance, state, *args, np.int32(3))
  return jax.eval_shape(training.finish, state)


@pytest.mark.parametrize("name", MODELS)
def test_training_and_predictions_of_every_network(name):
  network = build(name, num_classes=_CLASSES, width=4)
  variables = _trained(network, protocols.find_protocol("quick"), "cross_entropy")

  def predict(params, pixels):
    return network.apply(params, pixels)

  pixels = _image(5, shape=(32, 32, 3))
  stored = jax.ShapeDtypeStruct((2, 5, 32, 32, 3), jnp.uint8)
  scale = np.float32(255)
  _lower(functools.partial(accuracy._classes, predict_fn=predict), variables, stored, scale)
  _lower(functools.partial(predictions._logits, predict_fn=predict), variables, pixels)
  blocks = functools.partial(predictions._classes, predict_fn=predict, size=2)
  images = jax.ShapeDtypeStruct((5, 32, 32, 3), jnp.uint8)
  _lower(blocks, variables, images, np.int32(0), scale)
  one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), variables)
  _lower(lambda params, x: network.apply(params, x, return_features=True)[1], one, pixels)


@pytest.mark.parametrize("name", protocols.PROTOCOLS)
def test_training_by_every_protocol(name):
  """Optimiser, schedule, augmentation and mixing."""
  protocol = protocols.find_protocol(name)
  network = build("convnet", num_classes=_CLASSES, width=4)
  _trained(network, protocol, protocols.find_loss("one_hot", protocol))


@pytest.mark.parametrize("kind", ["centred", "logits"])
def test_training_on_other_labels_and_along_flat_trajectories(kind):
  protocol = protocols.find_protocol("quick")._replace(sharpness_radius=0.05, ema_decay=0.9)
  network = build("mlp", num_classes=_CLASSES, width=4)
  _trained(network, protocol, protocols.find_loss(kind, protocol))


def _victim():
  network = build("convnet(depth=1)", num_classes=10, width=4)
  image = np.zeros((1, 8, 8, 1), np.float32)
  params = jax.eval_shape(network.init, jax.random.key(0), image)
  return network.apply, jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct((2, *leaf.shape), leaf.dtype), params
  )


@pytest.mark.parametrize("name", attack_runs.ATTACKS)
def test_every_attack(name):
  config = audit.robustness()
  forms = attack_runs.make_forms(config)
  trial = attack_runs.make_trial(forms, config, name, 10)
  predict, params = _victim()
  rngs = jax.random.split(jax.random.key(0), (2, 3))
  labels = jax.ShapeDtypeStruct((3, 5), jnp.int32)
  run = functools.partial(attack_runs._run, predict_fn=predict, form=trial.form)
  assert "while" in _lower(run, params, rngs, _image(3, 5), labels, trial.settings)


_FAMILIES = (*make.NETWORKS, *make._CLASSICAL, "random_feature")


@pytest.mark.parametrize("family", _FAMILIES)
def test_every_kernel(family):
  """Every engine and kind, value and gradient, and the regression on it."""
  engines = make._ENGINES if family in make.NETWORKS else ("neural_tangents",)
  labels = jax.ShapeDtypeStruct((3, _CLASSES), jnp.float32)
  for engine, kind in itertools.product(engines, make.KINDS):
    config = groups.kernel(family, 5 if family == "myrtle" else 2, kind)
    config.engine = engine
    config.update(dict(num_networks=2, num_features=8))
    kernel_fn = make_kernel(config, (8, 8, 1)).kernel_fn

    def fit(x, y, targets, kernel_fn=kernel_fn):
      solved = ridge.coefficients(kernel_fn, x, y, 1e-6)
      return jnp.mean((kernel_fn(targets, x) @ solved) ** 2)

    _lower(jax.value_and_grad(fit), _image(3), labels, _image(4))


@pytest.mark.parametrize("kind", PREPROCESSINGS)
def test_every_preprocessing_both_ways(kind):
  images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1)).astype(np.uint8)
  constants = ((0.5,), (0.2,))
  made = fit_preprocessing(kind, images, 255, 0.1, constants, "test")
  pixels = _image(3, shape=(4, 4, 1))
  _lower(lambda made, pixels: made.forward(pixels), made, pixels)
  if made.is_exactly_invertible:
    _lower(lambda made, pixels: made.inverse(pixels), made, pixels)


@pytest.mark.parametrize("unroll", ["plain", "checkpoint", "constant"])
def test_every_form_of_the_unroll(unroll):
  changes = {"unroll": unroll, "network.name": "convnet(depth=1)", "augmentation": "crop_flip"}
  distiller, data, _ = make_distiller(Case(f"mtt {unroll}", "mtt", changes))
  state = trainer.initialise(distiller, data, jax.random.key(0), parallel.make_layout(1))
  layout = parallel.make_layout(1)
  shard = make_shards(Case(f"mtt {unroll}", "mtt", changes), distiller, state, 0, 1, 1, layout)
  _lower(distiller.step, state, data, jax.tree.map(lambda leaf: leaf[0, 0], shard))
