"""What networks compile: training by every protocol, experts, predictions and features."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import mtt
from ddjax.data import preprocess
from ddjax.distillers.adversaries import adversary_of
from ddjax.evaluators import accuracy
from ddjax.experts import train as expert_train
from ddjax.fitting import feature_ridge, host, predictions, protocols, train
from ddjax.fitting.fit import make_predict
from ddjax.models.build import MODELS, build
from ddjax.models.layers import CHOICES
from ddjax.stages.experts import protocol_of
from tests.lowering.lower import array, keys, lower

NETWORKS = {
  "alexnet": ("alexnet", 4, 32),
  "convnet": ("convnet(depth=2)", 4, 8),
  "frepo_convnet": ("frepo_convnet(depth=2)", 4, 8),
  "lenet": ("lenet", 4, 32),
  "mlp": ("mlp", 4, 8),
  "resnet18": ("resnet18", 4, 16),
  "resnet18_ap": ("resnet18_ap", 4, 16),
  "vgg11": ("vgg11", 4, 32),
  "vit": ("vit(depth=1)", 8, 8),
}
"""Every network at a small size: its name with options, its width, and a side of its images."""

_CLASSES, _EXAMPLES = 3, 4
_SLOW = ("mtt",)  # the program of "dc"
_OPTIONS = [
  "convnet(depth=1," + ",".join(f"{key}={value}" for key, value in zip(CHOICES, values)) + ")"
  for values in zip(*map(itertools.cycle, CHOICES.values()), range(max(map(len, CHOICES.values()))))
]
"""Every value of every option that networks share, several in one network."""


def _source(side, is_stored):
  """Of a distilled set, or of a real one as it is stored, with members."""
  dtype = np.uint8 if is_stored else np.float32
  images = array(1, _EXAMPLES, side, side, 3, dtype=dtype)
  weights = array(1, _EXAMPLES) if is_stored else None
  white = array() if is_stored else None
  return train.Source(images, array(1, _EXAMPLES, _CLASSES), array(3), array(3), weights, white)


def _lower_training(
  network, protocol, side, *, num_devices=1, at_once=2, is_stored=False, loss="cross_entropy",
  adversary=None,
):  # fmt: skip
  """Lowers start, steps and end of a training; the shapes of the variables [d g ...]."""
  training = train.make_training(
    network, protocol, loss=loss, num_examples=_EXAMPLES, image_shape=(side, side, 3),
    adversary=adversary,
  )  # fmt: skip
  program = host.compile_training(training, tuple(jax.devices()[:num_devices]))
  networks = num_devices, at_once
  rows = train.Rows(
    seeds=array(*networks, 2, dtype=np.uint32),
    indices=array(*networks, dtype=np.int32),
    learning_rates=array(*networks),
  )
  source = _source(side, is_stored)
  state = lower(program.init, keys(), rows, source)
  state, _ = lower(program.advance, state, keys(), rows, source, np.int32(1))
  return lower(training.finish, state)


def _build(name):
  kind, width, side = NETWORKS[name]
  return build(kind, num_classes=_CLASSES, width=width), side


def _small(protocol):
  return protocol._replace(batch_size=2)


def test_every_network_has_a_lowering_case():
  missing = sorted(MODELS.keys() - NETWORKS.keys())
  assert not missing, f"{missing[0]!r} has no lowering case."


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_trained_tested_and_looked_into(name):
  network, side = _build(name)
  variables = _lower_training(network, _small(protocols.PROTOCOLS["quick"]), side)
  variables = jax.tree.map(lambda leaf: array(*leaf.shape[1:], dtype=leaf.dtype), variables)
  predict_fn = make_predict(network, preprocess.Preprocessing())
  lower(
    accuracy._classes,
    variables,
    array(2, 5, side, side, 3, dtype=np.uint8),
    np.float32(255),
    predict_fn=predict_fn,
  )

  def features(variables, pixels):
    one = jax.tree.map(lambda leaf: leaf[0], variables)
    return network.apply(one, pixels, return_features=True)[1]

  lower(features, variables, array(5, side, side, 3))
  one = jax.tree.map(lambda leaf: array(*leaf.shape[1:], dtype=leaf.dtype), variables)
  images = array(feature_ridge._IMAGES_AT_ONCE + 1, side, side, 3)
  found = lower(feature_ridge._features, one, images, network=network)
  params = {"network": one, "weights": array(found.shape[1], _CLASSES)}
  predict_ridge = feature_ridge.make_predict(network, preprocess.Preprocessing())
  lower(predict_ridge, params, array(5, side, side, 3))


@pytest.mark.parametrize("name", _OPTIONS)
def test_options_of_networks(name):
  network = build(name, num_classes=_CLASSES, width=4)
  _lower_training(network, _small(protocols.PROTOCOLS["quick"]), 8, at_once=1)


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=pytest.mark.slow if name in _SLOW else ())
    for name in protocols.PROTOCOLS
  ],
)
def test_protocols(name):
  protocol = _small(protocols.PROTOCOLS[name])
  _lower_training(_build("mlp")[0], protocol, 8, loss=protocol.loss or "cross_entropy")


@pytest.mark.parametrize("loss", sorted(set(protocols.LOSSES.values())))
def test_losses(loss):
  _lower_training(_build("mlp")[0], _small(protocols.PROTOCOLS["quick"]), 8, loss=loss)


@pytest.mark.parametrize("mix", protocols.MIXES)
def test_mixes(mix):
  protocol = protocols.PROTOCOLS["quick"]._replace(batch_size=2, mix=mix, mix_probability=0.5)
  _lower_training(_build("mlp")[0], protocol, 8)


def test_many_devices_and_sets_as_they_are_stored():
  protocol = _small(protocols.PROTOCOLS["quick"])
  _lower_training(_build("convnet")[0], protocol, 8, num_devices=4, is_stored=True)


@pytest.mark.parametrize("sharpness_radius,epsilon", [(0.0, None), (0.05, None), (0.0, 0.1)])
def test_experts(sharpness_radius, epsilon):
  config = mtt.get_config("fake")
  config.experts.sharpness_radius = sharpness_radius
  config.experts.adversarial_epsilon = epsilon
  options = dict(is_stored=True, adversary=adversary_of(config))
  variables = _lower_training(_build("convnet")[0], _small(protocol_of(config)), 8, **options)
  lower(expert_train._flatten, variables["params"])


@pytest.mark.parametrize("kind", preprocess.KINDS)
def test_preprocessing(kind):
  images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)
  published = (0.5,) * 3, (0.2,) * 3
  fitted = preprocess.fit_preprocessing(kind, images, published=published)
  lower(lambda fitted, pixels: fitted.forward(pixels), fitted, array(5, 4, 4, 3))
  lower(lambda fitted, images: fitted.inverse(images), fitted, array(5, 4, 4, 3))


def test_predictions_of_blocks():
  network, side = _build("mlp")
  predict_fn = make_predict(network, preprocess.Preprocessing())
  variables = jax.eval_shape(
    jax.vmap(network.init, (0, None)), keys(2), jnp.zeros((1, side, side, 3))
  )
  images = array(9, side, side, 3, dtype=np.uint8)
  lower(
    predictions._classes,
    variables,
    images,
    np.int32(0),
    np.float32(255),
    predict_fn=predict_fn,
    size=4,
  )
  lower(predictions._logits, variables, array(5, side, side, 3), predict_fn=predict_fn)
