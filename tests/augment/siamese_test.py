"""Draws and their use: alike, per example, per class; what is drawn, and how often."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.augment import ops, siamese

FULL = "color_crop_cutout_flip_scale_rotate"
JITTED = {
  name: jax.jit(getattr(ops, name)) for name in ("color", "crop", "scale", "rotate", "cutout")
}
AUGMENTATIONS = [siamese.parse(FULL + "_translate", mode) for mode in siamese.MODES]


def _images(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


_jitted_draw = jax.jit(siamese.draw, static_argnums=(1, 2), static_argnames=("height", "width"))


def _draw(seed, augmentation, shape=(), height=8, width=8):
  rng = jax.random.key(seed)
  return jax.device_get(_jitted_draw(rng, augmentation, shape, height=height, width=width))


def _one_by_one(image, draws, augmentation):
  """The operations in the order that the mode states, without anything clever."""
  apply_one = {
    "flip": lambda x: x[:, ::-1] if draws.is_flipped else x,
    "color": lambda x: JITTED["color"](x, draws.brightness, draws.saturation, draws.contrast),
    "crop": lambda x: JITTED["crop"](x, draws.crop),
    "translate": lambda x: JITTED["crop"](x, draws.translate),
    "scale": lambda x: JITTED["scale"](x, draws.scale),
    "rotate": lambda x: JITTED["rotate"](x, draws.angle),
    "cutout": lambda x: JITTED["cutout"](x, draws.cutout),
  }
  names = augmentation.ops
  drawn = [names[draws.drawn]] if draws.drawn >= 0 else []
  if augmentation.mode == "single":
    names = drawn
  if augmentation.mode == "idc":
    names = ["flip", "color", *drawn, "cutout"]
  for name in names:
    image = apply_one[name](image)
  return image


@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=siamese.MODES)
def test_batch_equals_one_by_one(augmentation):
  size = (9, 7)
  images = np.asarray(_images(24, *size, 3))
  draws = _draw(1, augmentation, (24,), *size)
  actual = jax.jit(lambda x, d: siamese.apply(x, d, augmentation))(images, draws)
  for index, image in enumerate(np.asarray(actual)):
    one = jax.tree.map(lambda x, i=index: x[i], draws)
    np.testing.assert_allclose(image, _one_by_one(images[index], one, augmentation), atol=1e-5)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=siamese.MODES)
def test_shared_draw_treats_every_batch_alike(augmentation):
  images = _images(5, 8, 8, 3)
  shared = jax.jit(lambda x, d: siamese.apply(x, d, augmentation))
  seen = set()
  for seed in range(14):
    draws = _draw(seed, augmentation)
    real, synthetic = shared(images, draws), shared(images[3:], draws)
    np.testing.assert_allclose(real[3:], synthetic, atol=1e-6)
    np.testing.assert_allclose(real[0], _one_by_one(images[0], draws, augmentation), atol=1e-5)
    seen.add(int(draws.drawn))
  assert len(seen) > 1 or augmentation.mode == "multi"


@pytest.mark.parametrize("augmentation", AUGMENTATIONS[:2], ids=siamese.MODES[:2])
def test_per_class_draws_with_and_without_vmap(augmentation):
  images = _images(4, 3, 8, 8, 3)
  draws = _draw(3, augmentation, (4,))

  def apply(images, draws):
    return siamese.apply(images, draws, augmentation)

  by_class = jax.jit(apply)(images, draws)
  np.testing.assert_allclose(jax.jit(jax.vmap(apply))(images, draws), by_class, atol=1e-6)
  for index in range(4):
    one = jax.tree.map(lambda x, i=index: x[i], draws)
    expected = _one_by_one(images[index, 2], one, augmentation)
    np.testing.assert_allclose(by_class[index, 2], expected, atol=1e-5)


def test_gradients_of_shared_draws_inside_scan_are_right_to_second_order():
  augmentation = siamese.parse("color_scale_rotate_cutout", "idc")
  images, direction = _images(6, 8, 8, 3), _images(6, 8, 8, 3, seed=1)

  def loss(images):
    def step(images, rng):
      draws = siamese.draw(rng, augmentation, height=8, width=8)
      return jnp.sin(siamese.apply(images, draws, augmentation)), None

    return jnp.sum(jax.lax.scan(step, images, jax.random.split(jax.random.key(0), 4))[0])

  def slope(images):
    return jnp.vdot(jax.grad(loss)(images), direction)

  values = jax.jit(lambda images: jnp.stack([loss(images), slope(images)]))
  step = 1e-2
  ahead, behind = (values(images + sign * step * direction) for sign in (1, -1))
  first, second = (ahead - behind) / (2 * step)
  np.testing.assert_allclose(values(images)[1], first, rtol=2e-2)
  curve = jax.jit(jax.grad(slope))(images)
  np.testing.assert_allclose(jnp.vdot(curve, direction), second, rtol=5e-2)


def test_images_that_drew_another_operation_keep_their_bits():
  augmentation = siamese.parse(FULL)
  images = _images(64, 8, 8, 3)
  draws = _draw(0, augmentation, (64,))
  actual = np.asarray(jax.jit(lambda x: siamese.apply(x, draws, augmentation))(images))
  is_flip = draws.drawn == augmentation.ops.index("flip")
  expected = np.where(draws.is_flipped[:, None, None, None], images[:, :, ::-1], images)
  assert is_flip.sum() > 4
  np.testing.assert_array_equal(actual[is_flip], expected[is_flip])


def _is_uniform(counts, num):
  """Whether counts of equally likely outcomes lie within five standard deviations."""
  share = 1 / len(counts)
  return np.abs(counts - num * share).max() < 5 * np.sqrt(num * share * (1 - share))


def test_operations_are_drawn_equally_often():
  num = 6000
  augmentation = siamese.parse(FULL)
  drawn = _draw(0, augmentation, (num,)).drawn
  assert _is_uniform(np.bincount(drawn, minlength=6), num)
  assert not _is_uniform(np.bincount(drawn % 5, minlength=6), num)
  idc = _draw(0, siamese.parse(FULL, "idc"), (num,)).drawn
  rest = np.bincount(idc, minlength=6)
  assert {FULL.split("_")[i] for i in np.flatnonzero(rest)} == {"crop", "scale", "rotate"}
  assert _is_uniform(rest[rest > 0], num)
  assert (_draw(0, siamese.parse(FULL, "multi"), (3,)).drawn == -1).all()


@pytest.mark.parametrize(
  ("size", "limit", "last_centre"),
  [((32, 32), (4, 4), (32, 32)), ((28, 28), (4, 4), (28, 28)), ((9, 7), (1, 1), (8, 7))],
)
def test_parameters_fill_their_ranges(size, limit, last_centre):
  num = 4000
  draws = _draw(2, siamese.parse(FULL + "_translate", "multi"), (num,), *size)
  ranges = {
    "scale": (1 / 1.2, 1.2),
    "angle": (-np.pi / 12, np.pi / 12),
    "brightness": (-0.5, 0.5),
    "saturation": (0.0, 2.0),
    "contrast": (0.5, 1.5),
  }
  for name, (low, high) in ranges.items():
    values = getattr(draws, name).astype(np.float64)
    counts, _ = np.histogram(values, bins=8, range=(low - 1e-6, high + 1e-6))
    assert counts.sum() == values.size, name
    assert _is_uniform(counts, values.size), name
  for axis in (0, 1):
    for shift in (draws.crop, draws.translate):
      counts = np.bincount(shift[:, axis] + limit[axis])
      assert len(counts) == 2 * limit[axis] + 1 and _is_uniform(counts, num)
    counts = np.bincount(draws.cutout[:, axis])
    assert len(counts) == last_centre[axis] + 1 and _is_uniform(counts, num)
  assert _is_uniform(np.bincount(draws.is_flipped), num)
  parameters = [np.ravel(x[..., 0] if x.ndim > 1 else x) for x in dataclasses.astuple(draws)[1:]]
  parameters += [draws.scale[:, 1], draws.crop[:, 1], draws.translate[:, 1], draws.cutout[:, 1]]
  correlation = np.corrcoef(np.array(parameters, np.float64)) - np.eye(len(parameters))
  assert np.abs(correlation).max() < 5 / np.sqrt(num)  # all drawn apart


@pytest.mark.parametrize("strategy", ["", "none", "None"])
def test_no_strategy_returns_the_images(strategy):
  images = _images(3, 8, 8, 3)
  augmentation = siamese.parse(strategy)
  assert augmentation.ops == ()
  actual = siamese.augment(jax.random.key(0), images, augmentation, per_example=True)
  np.testing.assert_array_equal(actual, images)


def test_augment_draws_for_the_batch_or_for_each_image():
  images = jnp.broadcast_to(_images(1, 8, 8, 3), (6, 8, 8, 3))
  augmentation = siamese.parse("color")
  alike = siamese.augment(jax.random.key(0), images, augmentation, per_example=False)
  np.testing.assert_array_equal(alike, jnp.broadcast_to(alike[:1], alike.shape))
  apart = siamese.augment(jax.random.key(1), images, augmentation, per_example=True)
  assert len(np.unique(np.asarray(apart)[:, 0, 0, 0])) == 6


def test_without_flip_drops_flip_only():
  assert siamese.without_flip(FULL) == "color_crop_cutout_scale_rotate"
  assert siamese.without_flip("flip") == siamese.without_flip("") == ""
  assert siamese.parse(siamese.without_flip("none")).ops == ()


@pytest.mark.parametrize(
  ("strategy", "mode", "match"),
  [
    ("color_crpo", "single", "'crpo'.*Did you mean 'crop'"),
    ("flip_flip", "single", "'flip' stands twice"),
    ("flip", "singel", "'singel'.*Did you mean 'single'"),
  ],
)
def test_bad_strategies_are_named(strategy, mode, match):
  with pytest.raises(ValueError, match=match):
    siamese.parse(strategy, mode)


def test_draws_of_another_batch_are_refused():
  augmentation = siamese.parse(FULL)
  with pytest.raises(ValueError, match=r"\(4,\).*\(3, 8, 8, 3\)"):
    siamese.apply(_images(3, 8, 8, 3), _draw(0, augmentation, (4,)), augmentation)
