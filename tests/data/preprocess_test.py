import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from ddjax.data.preprocess import KINDS, Preprocessing, as_pixels, fit_preprocessing

PUBLISHED = ((0.5, 0.4), (0.2, 0.3))
EXACT = [kind for kind in KINDS if kind != "zca_kip"]


@pytest.fixture(scope="module")
def images():
  rng = np.random.RandomState(0)
  smooth = rng.uniform(0, 255, (300, 2, 2, 2)).repeat(2, 1).repeat(2, 2)
  return np.clip(0.7 * smooth + rng.uniform(0, 70, (300, 4, 4, 2)), 0, 255).astype(np.uint8)


def fit(kind, images, **keywords):
  return fit_preprocessing(kind, images, published=PUBLISHED, **keywords)


def reference(kind, images, regularisation=0.1):
  """The definitions, written out once more, by way of a matrix square root."""
  pixels = images / 255
  scaled = (pixels - pixels.mean(axis=(0, 1, 2))) / pixels.std(axis=(0, 1, 2))
  if kind == "none":
    return pixels
  if kind == "published":
    return (pixels - PUBLISHED[0]) / PUBLISHED[1]
  if kind == "standardise":
    return scaled
  flat = (pixels if kind == "zca_kornia" else scaled).reshape(len(images), -1)
  if kind == "zca_kip":
    flat = flat - flat.mean(1, keepdims=True)
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    covariance = flat.T @ flat / len(flat)
  else:
    flat = flat - flat.mean(0)
    covariance = np.cov(flat.T, ddof=1 if kind == "zca_kornia" else 0)
  unit = 1 if kind == "zca_kornia" else np.trace(covariance) / len(covariance)
  root = scipy.linalg.sqrtm(covariance + regularisation * unit * np.eye(len(covariance)))
  return (flat @ np.linalg.inv(root.real)).reshape(images.shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("regularisation", [0.1, 0.01])
def test_forward_is_the_definition(kind, regularisation, images):
  out = fit(kind, images, regularisation=regularisation).forward(
    jnp.asarray(as_pixels(images, 255))
  )
  assert out.dtype == jnp.float32
  np.testing.assert_allclose(out, reference(kind, images, regularisation), atol=2e-5)


def test_kinds_differ(images):
  pixels = as_pixels(images, 255)
  out = [np.asarray(fit(kind, images).forward(pixels)) for kind in KINDS]
  for i in range(len(KINDS)):
    for j in range(i):
      assert np.abs(out[i] - out[j]).max() > 0.05, (KINDS[i], KINDS[j])


@pytest.mark.parametrize("kind", EXACT)
def test_inverse_is_exact(kind, images):
  preprocessing = fit(kind, images)
  assert preprocessing.is_exactly_invertible
  pixels = as_pixels(images, 255)
  np.testing.assert_allclose(
    preprocessing.inverse(preprocessing.forward(pixels)), pixels, atol=1e-5
  )


def test_kip_inverse_is_exact_up_to_each_images_mean_and_norm(images):
  preprocessing = fit("zca_kip", images)
  assert not preprocessing.is_exactly_invertible
  pixels = as_pixels(images, 255)
  scaled = (pixels - pixels.mean(axis=(0, 1, 2))) / pixels.std(axis=(0, 1, 2))
  flat = scaled.reshape(len(images), -1)
  means = flat.mean(1)
  norms = np.linalg.norm(flat - means[:, None], axis=1)
  np.testing.assert_allclose(preprocessing.median_mean, np.median(means), atol=1e-6)
  np.testing.assert_allclose(preprocessing.median_norm, np.median(norms), rtol=1e-6)
  typical = (flat - means[:, None]) / norms[:, None] * np.median(norms) + np.median(means)
  expected = typical.reshape(pixels.shape) * pixels.std(axis=(0, 1, 2)) + pixels.mean((0, 1, 2))
  back = np.asarray(preprocessing.inverse(preprocessing.forward(pixels)))
  np.testing.assert_allclose(back, expected, atol=1e-4)
  assert np.abs(back - pixels).max() > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_one_image_or_any_leading_axes(kind, images):
  preprocessing = fit(kind, images)
  pixels = as_pixels(images[:6], 255)
  batch = preprocessing.forward(pixels)
  np.testing.assert_allclose(preprocessing.forward(pixels[2]), batch[2], atol=1e-6)
  nested = pixels.reshape(2, 3, *pixels.shape[1:])
  np.testing.assert_allclose(preprocessing.forward(nested)[1, 0], batch[3], atol=1e-6)
  np.testing.assert_allclose(
    preprocessing.inverse(batch)[2], preprocessing.inverse(batch[2]), atol=1e-5
  )


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_by_finite_differences_in_float64(kind, images):
  preprocessing = fit(kind, images)
  with jax.enable_x64(True):
    pixels = jnp.asarray(images[0] / 255)
    weights = jnp.asarray(np.random.RandomState(1).normal(size=pixels.shape))
    arrays = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), preprocessing)

    def score(pixels, preprocessing):  # the map is a pytree, so it may be an argument
      return jnp.sum(weights * preprocessing.forward(pixels) ** 2)

    gradient = jax.jit(jax.grad(score))(pixels, arrays)
    direction = jnp.asarray(np.random.RandomState(2).normal(size=pixels.shape))
    step = 1e-6 * direction
    slope = (score(pixels + step, arrays) - score(pixels - step, arrays)) / 2e-6
    np.testing.assert_allclose(jnp.sum(gradient * direction), slope, rtol=1e-5)


def test_constant_image_has_finite_values_and_gradient(images):
  preprocessing = fit("zca_kip", images)
  mean = np.broadcast_to(preprocessing.mean, images.shape[1:])
  value, gradient = jax.value_and_grad(lambda x: preprocessing.forward(x).sum())(jnp.asarray(mean))
  assert value == 0 and np.isfinite(gradient).all()


def test_constant_channel_is_only_centred():
  images = np.random.RandomState(0).randint(0, 17, (9, 3, 3, 2)).astype(np.uint8)
  images[..., 1] = 5
  preprocessing = fit("standardise", images, max_value=16)
  np.testing.assert_allclose(preprocessing.std, [images[..., 0].std() / 16, 1], rtol=1e-6)
  assert np.abs(preprocessing.forward(as_pixels(images, 16))[..., 1]).max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_and_facts_rebuild_the_same_map(kind, images):
  preprocessing = fit(kind, images)
  arrays, facts = preprocessing.to_arrays()
  rebuilt = Preprocessing.from_arrays(arrays | {"images": images}, json.loads(json.dumps(facts)))
  assert rebuilt.same_as(preprocessing)
  pixels = as_pixels(images, 255)
  np.testing.assert_array_equal(rebuilt.forward(pixels), preprocessing.forward(pixels))
  assert all(array.dtype == np.float32 for array in arrays.values())


def test_same_as_sees_kind_regularisation_and_data(images):
  maps = [fit(kind, images) for kind in KINDS]
  maps += [fit("zca_kip", images, regularisation=0.2), fit("standardise", images[:200])]
  for i, first in enumerate(maps):
    assert [first.same_as(second) for second in maps] == [i == j for j in range(len(maps))]


def test_whitening_is_cached_by_content(images, monkeypatch, tmp_path):
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path))
  first = fit("zca_kip", images, fingerprint="a")
  monkeypatch.setattr(np.linalg, "eigh", None)
  assert fit("zca_kip", images, fingerprint="a").same_as(first)
  with pytest.raises(TypeError):
    fit("zca_kip", images, fingerprint="b")
  with pytest.raises(TypeError):
    fit("zca_kip", images, fingerprint="a", regularisation=0.2)


def test_bad_input(images):
  with pytest.raises(ValueError, match="'zca_kpi'.*zca_kip"):
    fit("zca_kpi", images)
  with pytest.raises(ValueError, match="zca_regularisation = 0.0"):
    fit("zca_kip", images, regularisation=0.0)
  with pytest.raises(ValueError, match="no published"):
    fit_preprocessing("published", images)
  arrays, facts = fit("zca_kip", images).to_arrays()
  del arrays["matrix"]
  with pytest.raises(ValueError, match="'zca_kip' lacks matrix"):
    Preprocessing.from_arrays(arrays, facts)
