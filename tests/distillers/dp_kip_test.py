"""DP-KIP against a loop over examples, its sensitivity, and its noise seen from outside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.distillers import dp_kip, kip
from ddjax.kernels.ridge import kernel_ridge_loss
from ddjax.privacy import mechanism
from ddjax.privacy.guarantee import Guarantee
from tests.distillers.cases import Case, initial_state, make_config, make_distiller
from tests.privacy.canaries import epsilon_lower_bound

_LEARNED = {"synthetic.learn_labels": True, "precision": "float32"}


def _parts(**changes):
  """(parts, support set at step 0, all train examples as targets)."""
  case = Case("dp_kip", "dp_kip", _LEARNED | changes)
  distiller, data, info = make_distiller(case)
  parts = kip.read_parts(make_config(case), info)
  state = initial_state(distiller, data)
  batch = parts.take(data, np.arange(64), None, np.ones(64, np.float32))
  return parts, state.synthetic, batch


def _row(batch, i):
  return kip.Targets(*(leaf[i : i + 1] for leaf in batch))


def _norm(tree):
  return float(np.sqrt(sum(np.sum(np.asarray(leaf, np.float64) ** 2) for leaf in tree)))


def _loop(parts, support, batch, clip_norm):
  """(images, labels) of the sum, by one gradient of KIP's own loss an example; norms."""

  @jax.jit
  def gradient(support, one):
    return jax.grad(lambda s: kernel_ridge_loss(parts.kernel_fn, s, one, parts.ridge)[0])(support)

  total, norms = [0.0, 0.0], []
  for i in np.flatnonzero(batch.weights):
    one = gradient(support, _row(batch, i))
    leaves = [np.asarray(one.images, np.float64), np.asarray(one.labels, np.float64)]
    norms.append(_norm(leaves))
    total = [t + leaf * min(1, clip_norm / norms[-1]) for t, leaf in zip(total, leaves)]
  return total, np.array(norms)


@pytest.mark.parametrize("at_once", [64, 10])
def test_the_sum_is_that_of_a_loop_over_examples(at_once):
  parts, support, batch = _parts()
  batch = batch._replace(weights=(np.arange(64) % 5 > 0).astype(np.float32))
  _, norms = _loop(parts, support, batch, 1.0)
  clip_norm = float(np.median(norms))  # half of them are clipped
  expected, _ = _loop(parts, support, batch, clip_norm)
  found = jax.jit(
    lambda s, b: dp_kip.sum_of_gradients(parts, s, b, clip_norm, at_once)
  )(support, batch)  # fmt: skip
  scale = np.abs(expected[0]).max()
  np.testing.assert_allclose(found.images, expected[0], rtol=2e-3, atol=1e-4 * scale)
  np.testing.assert_allclose(
    found.labels, expected[1], rtol=2e-3, atol=1e-4 * np.abs(expected[1]).max()
  )


def _sum(parts, support, batch):
  """Of all gradients, none of them clipped."""
  return jax.jit(lambda s, b: dp_kip.sum_of_gradients(parts, s, b, 1e6, 64))(support, batch)


def test_without_a_limit_it_is_the_gradient_of_kip():
  parts, support, batch = _parts()
  found = _sum(parts, support, batch)

  def loss(support):
    return kernel_ridge_loss(parts.kernel_fn, support, batch, parts.ridge)[0]

  expected = jax.jit(jax.grad(loss))(support)
  for name in ("images", "labels"):
    leaf = np.asarray(getattr(expected, name)) * 64
    np.testing.assert_allclose(
      getattr(found, name), leaf, rtol=2e-3, atol=1e-4 * np.abs(leaf).max()
    )


def test_it_falls_along_finite_differences_of_the_loss():
  with jax.enable_x64(True):
    parts, support, batch = _parts(precision="float64")
    direction = np.random.default_rng(0).normal(size=support.images.shape)
    found = _sum(parts, support, batch)

    @jax.jit
    def loss(amount):
      moved = support.replace(images=support.images + amount * direction)
      return 64 * kernel_ridge_loss(parts.kernel_fn, moved, batch, parts.ridge)[0]

    slope = (loss(1e-3) - loss(-1e-3)) / 2e-3  # rounding through the solve rules below that
    np.testing.assert_allclose(np.sum(found.images * direction), slope, rtol=1e-5)


@pytest.mark.parametrize("engine", ["neural_tangents", "auto"])
def test_an_engine_with_doubtful_gradients_is_refused(engine):
  with pytest.raises(ValueError, match=f"kernel.engine='{engine}'.*closed_form"):
    make_distiller(Case("dp_kip", "dp_kip", {"kernel.engine": engine}))
  changes = {"kernel.engine": "auto", "kernel.family": "rbf"}
  assert make_distiller(Case("dp_kip", "dp_kip", changes))[0].guarantee["epsilon"] == 10.0


def test_labels_that_are_not_learned_have_no_share_in_the_norm():
  parts, support, batch = _parts(**{"synthetic.learn_labels": False})
  found = dp_kip.sum_of_gradients(parts, support, _row(batch, 3), 1e-5, 1)
  assert not np.asarray(found.labels).any()
  assert _norm([found.images]) == pytest.approx(1e-5, rel=1e-4)


def test_no_example_moves_the_sum_by_more_than_the_clip_norm():
  parts, support, batch = _parts()
  images = np.array(batch.images)
  images[5] *= 1e4  # far from all others
  images[6] = np.inf
  batch = batch._replace(images=images)
  total = jax.jit(lambda b: dp_kip.sum_of_gradients(parts, support, b, 2e-3, 64))
  whole, moved = total(batch), []
  for i in range(12):
    less = total(batch._replace(weights=(np.arange(64) != i).astype(np.float32)))
    moved.append(_norm([whole.images - less.images, whole.labels - less.labels]))
  assert max(moved) <= 2e-3 * (1 + 1e-3)  # rounding of a sum of 64
  assert max(moved) > 1.9e-3 and moved[6] == 0


def _first_moment(opt_state):
  """What Adam has of its first gradient: a tenth of it."""
  return opt_state["images"][0].mu


def test_a_step_takes_the_noised_sum_over_the_expected_size():
  case = Case("dp_kip", "dp_kip", _LEARNED)
  config = make_config(case)
  distiller, data, info = make_distiller(case)
  state = initial_state(distiller, data)
  after, metrics = jax.jit(distiller.step)(state, data, jnp.int32(0))
  parts, own = kip.read_parts(config, info), distiller.guarantee
  keys = mechanism.step_keys(state.extra, 0)
  sample = mechanism.draw_sample(keys.sample, data.mask, own["sampling_rate"], own["capacity"])
  batch = parts.take(data, sample.index, None, sample.weights)
  (total, _), _ = _loop(parts, state.synthetic, batch, config.guarantee.clip_norm)
  zeros = jax.tree.map(jnp.zeros_like, state.synthetic)
  scale = own["noise_multiplier"] * config.guarantee.clip_norm
  noise = mechanism.add_noise(keys.noise, zeros, scale)
  expected = (total + np.asarray(noise.images)) / 32
  np.testing.assert_allclose(
    10 * _first_moment(after.opt_state), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max()
  )
  assert np.std(np.asarray(noise.images)) == pytest.approx(scale, rel=0.15)
  assert metrics.keys() == {"gradient_norm", "image_change"}  # of noised sums alone


def test_augmentation_of_an_example_does_not_hang_on_the_others():
  """Where an example is taken out, the others have the shifts that they had."""
  changes = {"augment.fraction": 0.5, "augment.max_shift": 2, "guarantee.clip_norm": 1e-4}
  changes |= {"guarantee.epsilon": 1e6, "outer.target_batch_size": 64, "outer.num_steps": 1}
  distiller, data, _ = make_distiller(Case("dp_kip", "dp_kip", changes))
  state, step = initial_state(distiller, data), jax.jit(distiller.step)
  scale = 64 * 10  # of the sum, in Adam's first moment

  def total(mask):
    after, _ = step(state, data.replace(mask=mask), jnp.int32(0))
    return np.asarray(_first_moment(after.opt_state), np.float64) * scale

  whole = total(np.ones(64, bool))
  moved = [np.linalg.norm(whole - total(np.arange(64) != i)) for i in (0, 20, 63)]
  assert max(moved) <= 1e-4 * (1 + 1e-2) and min(moved) > 0.9e-4


_COUNT = 1500


@pytest.mark.slow
def test_canaries_show_a_fault_in_the_noise_of_a_step(monkeypatch):
  changes = {"guarantee.epsilon": 1.0, "outer.num_steps": 1, "outer.target_batch_size": 64}
  case = Case("dp_kip", "dp_kip", changes)

  def scores():
    distiller, data, info = make_distiller(case)
    data, parts = jax.device_put(data), kip.read_parts(make_config(case), info)
    state = initial_state(distiller, data)
    canary = parts.take(data, np.arange(1), None, np.ones(1, np.float32))
    of_canary = dp_kip.sum_of_gradients(parts, state.synthetic, canary, 1e-3, 1).images

    def one(key, mask):
      after, _ = distiller.step(state.replace(extra=key), data.replace(mask=mask), jnp.int32(0))
      return jnp.sum(_first_moment(after.opt_state) * of_canary)

    def many(seed, mask):
      rngs = jax.random.split(jax.random.key(seed), _COUNT)
      return np.asarray(
        jax.jit(lambda r: jax.lax.map(lambda k: one(k, mask), r, batch_size=50))(rngs)
      )

    whole = np.ones(64, bool)
    return many(1, whole), many(2, np.arange(64) > 0)

  assert epsilon_lower_bound(*scores()) <= 1.0
  right = Guarantee.noise_scale
  monkeypatch.setattr(Guarantee, "noise_scale", property(lambda self: right.fget(self) / 10))
  assert epsilon_lower_bound(*scores()) > 1.0
