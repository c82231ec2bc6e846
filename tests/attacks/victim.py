"""A small network trained on the real digits, in the spaces that attacks and foolbox want."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

with warnings.catch_warnings():
  warnings.simplefilter("ignore", DeprecationWarning)  # foolbox's own imports
  import foolbox

peer = foolbox.attacks
"""Foolbox's attacks."""

NUM_IMAGES = 60
_NUM_TRAIN = 1347


@functools.cache
def digits():
  """(train pixels, train labels, test pixels, test labels), pixels f32[b 8 8 1]."""
  bunch = load_digits()
  pixels, labels = np.float32(bunch.images[..., None] / 16), np.int32(bunch.target)
  test = slice(_NUM_TRAIN, _NUM_TRAIN + NUM_IMAGES)
  return pixels[:_NUM_TRAIN], labels[:_NUM_TRAIN], pixels[test], labels[test]


@functools.cache
def logits_fn():
  """Pixels f32[b 8 8 1] -> logits f32[b 10]; the network sees standardised pixels."""
  pixels, labels, _, _ = digits()
  mean, std = pixels.mean(), pixels.std()
  network = MLPClassifier((32,), max_iter=400, random_state=0, tol=1e-3)
  network.fit((pixels.reshape(len(pixels), -1) - mean) / std, labels)
  weights = [np.float32(weight) for weight in network.coefs_]
  biases = [np.float32(bias)[None] for bias in network.intercepts_]

  def logits(pixels):
    hidden = (pixels.reshape(len(pixels), -1) - mean) / std
    hidden = jax.nn.relu(hidden @ weights[0] + biases[0])
    return hidden @ weights[1] + biases[1]

  return logits


def test_set():
  """Test pixels f32[b 8 8 1] and labels i32[b]."""
  _, _, pixels, labels = digits()
  return jnp.asarray(pixels), jnp.asarray(labels)


def accuracy(images, labels):
  """Of the network on these images."""
  return float(jnp.mean(jnp.argmax(logits_fn()(images), axis=1) == labels))


def foolbox_images(attack, epsilon):
  """What an attack of foolbox makes of the test set; `epsilon` None for no bound."""
  model = foolbox.JAXModel(jax.jit(logits_fn()), bounds=(0, 1))
  pixels, labels = test_set()
  _, images, _ = attack(model, pixels, foolbox.criteria.Misclassification(labels), epsilons=epsilon)
  return images
