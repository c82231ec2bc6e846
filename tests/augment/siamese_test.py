"""Draws and their use: alike, per example, per class; what is drawn, and how often."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.augment import siamese
from tests.augment import by_hand

FULL = "color_crop_cutout_flip_scale_rotate"
AUGMENTATIONS = {mode: siamese.parse(FULL + "_translate", mode) for mode in siamese.MODES}
SIZE, NUM = (9, 7), 6000
WIDE = (32, 28)


def _images(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@functools.cache
def _all_draws(mode, size):
  """NUM draws; not compiled as a whole, so that all calls share the generator's few programs."""
  height, width = size
  rng = jax.random.key(len(mode) + height)
  draws = siamese.draw(rng, AUGMENTATIONS[mode], (NUM,), height=height, width=width)
  return jax.device_get(draws)


def _draws(mode, index=slice(None), size=SIZE):
  return jax.tree.map(lambda x: x[index], _all_draws(mode, size))


def _one_by_one(image, draws, augmentation):
  """The operations in the order that the mode states, without anything clever."""
  apply_one = {
    "flip": lambda x: x[:, ::-1] if draws.is_flipped else x,
    "color": lambda x: by_hand.color(x, draws.brightness, draws.saturation, draws.contrast),
    "crop": lambda x: by_hand.shift(x, draws.crop),
    "translate": lambda x: by_hand.shift(x, draws.translate),
    "scale": lambda x: by_hand.scale(x, draws.scale),
    "rotate": lambda x: by_hand.rotate(x, draws.angle),
    "cutout": lambda x: by_hand.cutout(x, draws.cutout),
  }
  names = augmentation.ops
  drawn = [names[draws.drawn]] if draws.drawn >= 0 else []
  if augmentation.mode == "single":
    names = drawn
  if augmentation.mode in ("idc", "ncfm"):
    first = ["translate"] if augmentation.mode == "ncfm" else []
    names = [*first, "flip", "color", *drawn, "cutout"]
  for name in names:
    image = apply_one[name](image)
  return image


@functools.cache
def _results(mode):
  """Images f32[40 ...], and what the ways of applying draws make of them."""
  augmentation = AUGMENTATIONS[mode]
  images = _images(40, *SIZE, 3)

  @jax.jit
  def apply_all(images, draws):
    of_classes, shared = (jax.tree.map(lambda x, n=n: x[:n], draws) for n in (4, 14))
    apply = functools.partial(siamese.apply, augmentation=augmentation)
    results = dict(
      per_example=apply(images, draws),
      shared=jax.lax.map(lambda draw: apply(images[:4], draw), shared),
    )
    if mode == "single":
      classes = images.reshape(4, 10, *images.shape[1:])
      results["per_class"] = apply(classes, of_classes)
      results["per_class_mapped"] = jax.vmap(apply)(classes, of_classes)
    return results

  return images, jax.device_get(apply_all(images, _draws(mode, slice(40))))


@pytest.mark.parametrize("mode", siamese.MODES)
def test_batch_equals_one_by_one(mode):
  images, results = _results(mode)
  for index, actual in enumerate(results["per_example"]):
    expected = _one_by_one(images[index], _draws(mode, index), AUGMENTATIONS[mode])
    np.testing.assert_allclose(actual, expected, atol=5e-5)
  drawn = _draws(mode, slice(40)).drawn
  possible = {"single": range(7), "multi": [-1], "idc": [1, 4, 5, 6], "ncfm": [1, 4, 5]}
  assert set(drawn) == set(possible[mode])


@pytest.mark.parametrize("mode", siamese.MODES)
def test_shared_draw_treats_all_images_alike(mode):
  images, results = _results(mode)
  for index in range(14):
    for place in (0, 3):
      expected = _one_by_one(images[place], _draws(mode, index), AUGMENTATIONS[mode])
      np.testing.assert_allclose(results["shared"][index, place], expected, atol=5e-5)


def test_per_class_draws_with_and_without_vmap():
  images, results = _results("single")
  np.testing.assert_allclose(results["per_class_mapped"], results["per_class"], atol=1e-6)
  for index in range(4):
    expected = _one_by_one(images[10 * index + 2], _draws("single", index), AUGMENTATIONS["single"])
    np.testing.assert_allclose(results["per_class"][index, 2], expected, atol=5e-5)


def test_one_operation_for_the_batch_with_parameters_for_each_image():
  augmentation = AUGMENTATIONS["single"]
  images = _images(6, *SIZE, 3)
  apply = jax.jit(lambda draws: siamese.apply(images, draws, augmentation))
  fields = {"color": ("brightness", "saturation", "contrast"), "rotate": ("angle",)}
  fields["flip"] = ("is_flipped",)
  seen = set()
  for rng in jax.random.split(jax.random.key(1), 24):
    draws = siamese.draw(rng, augmentation, (NUM,), height=9, width=7, shares_op=True)
    draws = jax.device_get(draws)
    assert draws.drawn.shape == ()
    name = augmentation.ops[draws.drawn]
    for field, values in dataclasses.asdict(draws.replace(drawn=np.zeros(NUM))).items():
      is_varied = field in fields.get(name, (name,))
      assert (len(np.unique(values, axis=0)) > 1) == is_varied, (name, field)
    six = jax.tree.map(lambda x: x[:6] if x.shape else x, draws)
    for index, actual in enumerate(np.asarray(apply(six)) if name not in seen else ()):
      one = jax.tree.map(lambda x, i=index: x[i] if x.shape else x, six)
      expected = _one_by_one(images[index], one, augmentation)
      np.testing.assert_allclose(actual, expected, atol=5e-5)
    seen.add(name)
  assert seen == set(augmentation.ops)


def test_gradients_of_shared_draws_inside_scan_are_right_to_second_order():
  augmentation = siamese.parse("color_scale_rotate_cutout", "idc")
  images, direction = _images(2, *SIZE, 2), _images(2, *SIZE, 2, seed=1)
  drawn = np.int32([1, 2, 1, 2])  # scale and rotate in turn
  draws = _draws("multi", slice(4)).replace(drawn=drawn)
  draws = draws.replace(
    scale=np.where(drawn[:, None] == 1, draws.scale, np.float32(1)),
    angle=np.where(drawn == 2, draws.angle, np.float32(0)),
  )

  def loss(images):
    def step(images, draw):
      return jnp.sin(siamese.apply(images, draw, augmentation)), None

    return jnp.sum(jax.lax.scan(step, images, draws)[0])

  def slope(images):
    return jnp.vdot(jax.grad(loss)(images), direction)

  values = jax.jit(lambda images: (loss(images), *jax.value_and_grad(slope)(images)))
  step = 1e-2
  ahead, behind = (values(images + sign * np.float32(step) * direction) for sign in (1, -1))
  first, second = ((ahead[place] - behind[place]) / (2 * step) for place in (0, 1))
  _, at_images, curve = values(images)
  np.testing.assert_allclose(at_images, first, rtol=2e-2)
  np.testing.assert_allclose(np.vdot(curve, direction), second, rtol=5e-2)


def test_images_that_drew_another_operation_keep_their_bits():
  augmentation = AUGMENTATIONS["single"]
  images, results = _results("single")
  draws = _draws("single", slice(40))
  is_flip = draws.drawn == augmentation.ops.index("flip")
  expected = np.where(draws.is_flipped[:, None, None, None], images[:, :, ::-1], images)
  assert is_flip.sum() > 2
  np.testing.assert_array_equal(results["per_example"][is_flip], expected[is_flip])


def _is_uniform(counts, num):
  """Whether counts of equally likely outcomes lie within five standard deviations."""
  share = 1 / len(counts)
  return np.abs(counts - num * share).max() < 5 * np.sqrt(num * share * (1 - share))


def test_operations_are_drawn_equally_often():
  drawn = _draws("single").drawn
  assert _is_uniform(np.bincount(drawn, minlength=7), NUM)
  assert not _is_uniform(np.bincount(drawn % 6, minlength=7), NUM)
  counts = np.bincount(_draws("idc").drawn, minlength=7)
  names = {AUGMENTATIONS["idc"].ops[i] for i in np.flatnonzero(counts)}
  assert names == {"crop", "translate", "scale", "rotate"}
  assert _is_uniform(counts[counts > 0], NUM)
  assert (_draws("multi").drawn == -1).all()


@pytest.mark.parametrize(
  ("size", "limit", "last_centre"), [(WIDE, (4, 4), (32, 28)), (SIZE, (1, 1), (8, 7))]
)
def test_parameters_fill_their_ranges(size, limit, last_centre):
  draws = _draws("multi", size=size)
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
      assert len(counts) == 2 * limit[axis] + 1 and _is_uniform(counts, NUM)
    counts = np.bincount(draws.cutout[:, axis])
    assert len(counts) == last_centre[axis] + 1 and _is_uniform(counts, NUM)
  assert _is_uniform(np.bincount(draws.is_flipped), NUM)
  parameters = [np.ravel(x[..., 0] if x.ndim > 1 else x) for x in dataclasses.astuple(draws)[1:]]
  parameters += [draws.scale[:, 1], draws.crop[:, 1], draws.translate[:, 1], draws.cutout[:, 1]]
  correlation = np.corrcoef(np.array(parameters, np.float64)) - np.eye(len(parameters))
  assert np.abs(correlation).max() < 5 / np.sqrt(NUM)  # all drawn apart


def test_no_strategy_returns_the_images():
  assert siamese.parse("") == siamese.parse("none") == siamese.parse("None")
  augmentation = siamese.parse("none")
  assert augmentation.ops == ()
  images = _images(3, 8, 8, 3)
  augment = jax.jit(lambda rng, x: siamese.augment(rng, x, augmentation, per_example=True))
  np.testing.assert_array_equal(augment(jax.random.key(0), images), images)


def test_augment_draws_for_the_batch_or_parameters_for_each_image():
  """Eight batches of equal images: each all coloured or all cut, alike or each image apart."""
  images = np.broadcast_to(_images(1, 8, 8, 3), (6, 8, 8, 3))
  augmentation = siamese.parse("color_cutout")

  @functools.partial(jax.jit, static_argnums=1)
  def augment(rng, per_example):
    keys = jax.random.split(rng, 8)
    return jax.vmap(lambda rng: siamese.augment(rng, images, augmentation, per_example))(keys)

  rng_of = functools.partial(jax.random.key, impl="unsafe_rbg")  # compiles in half the time
  alike = np.asarray(augment(rng_of(0), False))
  np.testing.assert_array_equal(alike, np.broadcast_to(alike[:, :1], alike.shape))
  apart = np.asarray(augment(rng_of(1), True))
  is_cut = (apart == 0).any(axis=(2, 3, 4))
  assert (is_cut == is_cut[:, :1]).all() and 0 < is_cut[:, 0].sum() < 8
  for batch in apart:
    assert len(np.unique(batch, axis=0)) > 3


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
  with pytest.raises(ValueError, match=r"\(4,\).*\(3, 9, 7, 3\)"):
    siamese.apply(_images(3, *SIZE, 3), _draws("single", slice(4)), AUGMENTATIONS["single"])
