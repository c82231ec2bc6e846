"""CutMix and MixUp against counted pixels and plain NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.augment import mix

NUM, HEIGHT, WIDTH, CLASSES = 8, 12, 10, 3


def _batch():
  """Images that hold their row's number, and random soft labels."""
  images = np.arange(NUM, dtype=np.float32)[:, None, None, None]
  labels = np.random.default_rng(0).dirichlet(np.ones(CLASSES), NUM)
  return np.broadcast_to(images, (NUM, HEIGHT, WIDTH, 1)), np.float32(labels)


@functools.cache
def _cutmix_draws():
  """4000 draws that mix with probability .7: which of them do, and the draws."""
  draw = jax.jit(
    jax.vmap(
      lambda rng: mix.draw_cutmix(rng, NUM, height=HEIGHT, width=WIDTH, beta=1.0, probability=0.7)
    )
  )
  draws = jax.device_get(draw(jax.random.split(jax.random.key(0), 4000)))
  return (draws.stop > 0).any(axis=1), draws


def test_cutmix_labels_are_the_pixels_shares():
  images, labels = _batch()
  is_on, draws = _cutmix_draws()
  draws = jax.tree.map(lambda x: x[is_on][:20], draws)
  mixed, mixed_labels = jax.jit(jax.vmap(mix.apply_cutmix, (None, None, 0)))(images, labels, draws)
  shares = []
  mixed, mixed_labels, labels = (np.asarray(x) for x in (mixed, mixed_labels, labels))
  for index in range(20):
    for row in range(NUM):
      numbers, counts = np.unique(mixed[index, row], return_counts=True)
      assert set(numbers) <= {row, draws.partner[index, row]}
      expected = sum(
        count / (HEIGHT * WIDTH) * labels[int(number)] for number, count in zip(numbers, counts)
      )
      np.testing.assert_allclose(mixed_labels[index, row], expected, atol=1e-6)
      shares.append(counts.max() / counts.sum())
  assert min(shares) < 0.8


def test_cutmix_boxes_have_the_papers_sizes_and_places():
  is_on, draws = _cutmix_draws()
  sides = (draws.stop - draws.start)[is_on]
  assert (draws.start >= 0).all() and (draws.stop <= [HEIGHT, WIDTH]).all() and (sides >= 0).all()
  # An independent draw with NumPy: beta 1 makes lam uniform.
  rng = np.random.default_rng(0)
  half = (np.sqrt(1 - rng.uniform(size=(4000, 1))) * [HEIGHT, WIDTH]).astype(int) // 2
  centre = rng.integers(0, [HEIGHT, WIDTH], size=(4000, 2))
  edges = [np.clip(centre + sign * half, 0, [HEIGHT, WIDTH]) for sign in (-1, 1)]
  expected = edges[1] - edges[0]
  error = np.sqrt(expected.var(axis=0) / len(expected) + sides.var(axis=0) / len(sides))
  assert (np.abs(sides.mean(axis=0) - expected.mean(axis=0)) < 5 * error).all()
  assert (np.abs(2 * half.mean(axis=0) - sides.mean(axis=0)) > 5 * error).all()  # unclipped: no
  area = sides.prod(axis=1), expected.prod(axis=1)
  assert abs(area[0].mean() - area[1].mean()) < 5 * np.sqrt(2 * area[1].var() / len(sides))


def test_cutmix_happens_with_its_probability():
  images, labels = _batch()
  is_on, draws = _cutmix_draws()
  assert abs(is_on.mean() - 0.7) < 5 * np.sqrt(0.7 * 0.3 / len(is_on))
  off = jax.tree.map(lambda x: x[np.flatnonzero(~is_on)[0]], draws)
  for after, before in zip(jax.jit(mix.apply_cutmix)(images, labels, off), (images, labels)):
    np.testing.assert_array_equal(after, before)


@functools.cache
def _mixup_draws():
  """3000 draws."""
  draw = jax.jit(jax.vmap(lambda rng: mix.draw_mixup(rng, NUM, alpha=0.4)))
  return jax.device_get(draw(jax.random.split(jax.random.key(0), 3000)))


def test_mixup_blends_images_and_labels():
  images, labels = _batch()
  draws = jax.tree.map(lambda x: x[0], _mixup_draws())
  mixed, mixed_labels = jax.jit(mix.apply_mixup)(images, labels, draws)
  share, partner = draws.share, draws.partner
  assert 0 < share < 1
  for after, before in ((mixed, images), (mixed_labels, labels)):
    np.testing.assert_allclose(after, share * before + (1 - share) * before[partner], atol=1e-6)


def test_mixup_share_has_its_distribution():
  share = _mixup_draws().share
  variance = 1 / (4 * (2 * 0.4 + 1))
  assert abs(share.mean() - 0.5) < 0.04
  assert abs(share.var() - variance) < 0.01 and abs(share.var() - 1 / 12) > 0.01


@jax.jit
def _masked_partners(mask):
  keys = jax.random.split(jax.random.key(0), 50)
  return jax.vmap(lambda rng: mix.draw_mixup(rng, NUM, mask=mask).partner)(keys)


@pytest.mark.parametrize("mask", [None, [1, 0, 1, 1, 0, 1, 1, 0], [0] * 8])
def test_partners_permute_the_rows_that_count(mask):
  counts = np.ones(NUM, bool) if mask is None else np.array(mask, bool)
  if mask is None:
    partner = _mixup_draws().partner[:50]
  else:
    partner = np.asarray(_masked_partners(counts))
  rows = np.arange(NUM)
  for one in partner:
    assert sorted(one[counts]) == rows[counts].tolist()
    assert one[~counts].tolist() == rows[~counts].tolist()
  for row in rows[counts]:
    assert set(partner[:, row]) == set(rows[counts])


def test_gradients_reach_images_and_labels():
  images, labels = _batch()
  draws = (
    mix.CutMix(jnp.roll(jnp.arange(NUM), 1), jnp.array([1, 2]), jnp.array([4, 9])),
    mix.MixUp(jnp.roll(jnp.arange(NUM), 1), jnp.float32(0.3)),
  )
  applied = list(zip((mix.apply_cutmix, mix.apply_mixup), draws))

  @jax.jit
  def slopes(images, labels):
    return [
      jax.grad(lambda x, y, f=f, d=d: sum(z[0].sum() for z in f(x, y, d)), (0, 1))(images, labels)
      for f, d in applied
    ]

  for (by_image, by_label), share in zip(slopes(images, labels), (1 - 21 / 120, 0.3), strict=True):
    np.testing.assert_allclose(
      by_image.sum(axis=(1, 2, 3)) / 120, [share, *[0] * 6, 1 - share], atol=1e-6
    )
    np.testing.assert_allclose(by_label[0], [share] * CLASSES, atol=1e-6)


@pytest.mark.parametrize(
  ("options", "match"),
  [({"beta": 0.0}, "beta=0.0"), ({"probability": 1.5}, r"probability=1.5 must lie in \[0, 1\]")],
)
def test_bad_cutmix_options_are_named(options, match):
  with pytest.raises(ValueError, match=match):
    mix.draw_cutmix(jax.random.key(0), 4, height=8, width=8, **options)


def test_bad_mixup_option_is_named():
  with pytest.raises(ValueError, match="alpha=-1.0"):
    mix.draw_mixup(jax.random.key(0), 4, alpha=-1.0)
