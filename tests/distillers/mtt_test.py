"""MTT: its learning rate, its draws, and what it refuses."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import mtt
from ddjax.data.load import load_real_data, make_data_split
from ddjax.data.preprocess import as_pixels
from ddjax.distillers.mtt import make_mtt, rate_optimiser, start_epochs_end
from ddjax.experts.files import ExpertBufferError
from ddjax.io.distilled import load_distilled
from ddjax.stages import experts
from ddjax.tasks import distill
from ddjax.training import parallel
from ddjax.training.metrics import read_metrics, series
from ddjax.types import ExpertNeeds
from tests.distillers.cases import Case, Experts, make_shards

pytestmark = pytest.mark.usefixtures("unrendered_figures")
_CASE = Case("", "mtt", {"network.name": "mlp", "augmentation": "none"})


def _make(**outer):
  config = mtt.get_config("fake,ipc=2")
  config.update_from_flattened_dict(_CASE.changes)
  config.outer.update(outer)
  return config, make_mtt(config, load_real_data(config.data).info)


def _step(distiller, config, num_steps=1):
  """(states from 0 to num_steps, metrics of each step)."""
  data = make_data_split(load_real_data(config.data))
  state = jax.jit(distiller.init)(jax.random.key(0), data)
  step = jax.jit(distiller.step)
  states, metrics = [state], []
  layout = parallel.make_layout(1)
  shards = make_shards(_CASE, distiller, state, 0, num_steps, num_steps, layout)
  for i in range(num_steps):
    shard = jax.tree.map(lambda leaf, i=i: leaf[i, 0], shards)
    state, found = step(states[-1], data, shard)
    states.append(state)
    metrics.append(found)
  return states, metrics


def test_a_small_update_of_the_logarithm_is_one_of_the_rate_itself():
  """alpha moves by lr dL/dalpha to first order; the slope by finite differences of the loss."""
  rate, start, delta = 1e-5, 0.02, 1e-3

  def first_step(student_rate):
    config, distiller = _make(
      student_learning_rate=student_rate, rate_learning_rate=rate, student_steps=5
    )
    states, (metrics,) = _step(distiller, config)
    return float(metrics["loss"]), float(distiller.extract(states[1]).learning_rate)

  (above, _), (below, _) = first_step(start + delta), first_step(start - delta)
  slope = (above - below) / (2 * delta)
  _, after = first_step(start)
  np.testing.assert_allclose(after - start, -rate * slope, rtol=0.05)


@pytest.mark.parametrize("spike", [1e9, np.inf, np.nan])
def test_after_a_spike_the_rate_moves_on_as_its_gradient_says(spike):
  config, _ = _make(rate_learning_rate=1e-5, student_learning_rate=0.001)
  optimiser = rate_optimiser(config.outer)
  state = optimiser.init(jnp.zeros(()))
  _, state = optimiser.update(jnp.float32(spike), state)
  total = 0.0
  for _ in range(5):
    update, state = optimiser.update(jnp.float32(-0.01), state)  # the rate should grow
    total += float(update)
  assert np.isfinite(total) and total > 0


def test_the_rate_stays_positive_and_in_its_range_whatever_its_gradient():
  config, distiller = _make(rate_learning_rate=1e6, student_learning_rate=0.1)
  states, _ = _step(distiller, config, num_steps=3)
  rates = [float(distiller.extract(state).learning_rate) for state in states]
  assert all(np.isfinite(rates)) and min(rates) > 0
  assert np.abs(np.diff(np.log(rates))).max() <= np.log(2) * 1.0001
  far = states[-1].replace(
    synthetic=states[-1].synthetic.replace(log_learning_rate=jnp.float32(np.log(1e6)))
  )
  data = make_data_split(load_real_data(config.data))
  shards = make_shards(_CASE, distiller, far, 0, 1, 1, parallel.make_layout(1))
  after, _ = jax.jit(distiller.step)(far, data, jax.tree.map(lambda leaf: leaf[0, 0], shards))
  np.testing.assert_allclose(distiller.extract(after).learning_rate, 100.0, rtol=1e-4)


def test_an_expert_that_stood_still_is_named():
  class Still:
    def read(self, expert, epoch):
      return np.zeros(3, np.float32)

  _, distiller = _make()
  with pytest.raises(ValueError, match=r"Expert \d is the same after \d and \d epochs"):
    distiller.batch_at(Still(), np.array([3, 4], np.uint32), 7)


def test_without_a_rate_of_its_own_the_learning_rate_stays():
  config, distiller = _make(rate_learning_rate=0.0, student_learning_rate=0.1)
  states, _ = _step(distiller, config, num_steps=2)
  np.testing.assert_allclose(distiller.extract(states[-1]).learning_rate, 0.1, rtol=1e-6)


def test_published_images_are_the_average_where_one_is_asked_for():
  config, distiller = _make(image_ema_decay=0.75, learning_rate=50.0)
  states, _ = _step(distiller, config, num_steps=2)
  first, second, third = (state.synthetic.images for state in states)
  average = 0.75 * (0.75 * first + 0.25 * second) + 0.25 * third
  assert not np.allclose(average, third, atol=1e-3)
  np.testing.assert_allclose(distiller.extract(states[-1]).images, average, atol=1e-5)


def test_start_epochs_grow_on_a_straight_line():
  config, _ = _make(max_start_epoch=9, first_max_start_epoch=1, growth_steps=80)
  ends = [start_epochs_end(config.outer, step) for step in (0, 9, 10, 40, 79, 80, 1000)]
  assert ends == [1, 1, 2, 5, 8, 9, 9]
  config.outer.growth_steps = 0
  assert start_epochs_end(config.outer, 0) == 9


class _Numbered:
  """Trajectories that say which they are."""

  num_experts, num_epochs = 2, 4

  def read(self, expert, epoch):
    return np.array([expert, epoch], np.float32)


def test_draws_are_a_function_of_seed_and_step_and_cover_what_they_may():
  _, distiller = _make(num_segments=5, expert_epochs=2, min_start_epoch=1, max_start_epoch=3)
  assert distiller.experts == ExpertNeeds(2, 4)
  seed = np.array([3, 4], np.uint32)
  again = [distiller.batch_at(_Numbered(), seed, 7) for _ in range(2)]
  np.testing.assert_array_equal(again[0]["start"], again[1]["start"])
  batches = [distiller.batch_at(_Numbered(), seed, step) for step in range(40)]
  start = np.concatenate([batch["start"] for batch in batches])
  target = np.concatenate([batch["target"] for batch in batches])
  np.testing.assert_array_equal(start[:, 0], target[:, 0])  # the same expert
  np.testing.assert_array_equal(start[:, 1] + 2, target[:, 1])  # M epochs later
  assert {tuple(pair) for pair in start} == {(i, t) for i in (0, 1) for t in (1, 2)}


@pytest.mark.parametrize(
  "fields, words",
  [
    ({"outer.student_steps": 0}, "outer.student_steps=0"),
    ({"outer.student_learning_rate": -0.1}, "outer.student_learning_rate=-0.1"),
    ({"outer.rate_learning_rate": -1.0}, "outer.rate_learning_rate=-1.0"),
    ({"outer.student_batch_size": 99}, "outer.student_batch_size=99"),
    ({"outer.min_start_epoch": 2}, "outer.min_start_epoch=2 to below outer.max_start_epoch=2:"),
    ({"outer.growth_steps": 5, "outer.min_start_epoch": 1}, "below outer.first_max_start_epoch=1"),
    ({"outer.image_ema_decay": 1.0}, "outer.image_ema_decay=1.0"),
    ({"experts.num_epochs": 1}, "experts.num_epochs=1"),
    ({"experts.num_experts": 0}, "experts.num_experts=0"),
    ({"unroll": "plane"}, "Did you mean 'plain'"),
    ({"checkpoint_policy": "dots"}, "Unknown checkpoint_policy='dots'"),
    ({"unroll": "plain", "checkpoint_policy": "dots_saveable"}, "no use with unroll=plain"),
  ],
)
def test_impossible_settings_are_refused_by_name(fields, words):
  config = mtt.get_config("fake,ipc=2")
  config.update_from_flattened_dict(fields)
  with pytest.raises(ValueError, match=words):
    make_mtt(config, load_real_data(config.data).info)


def test_convolutions_are_kept_where_the_budget_allows():
  config = mtt.get_config("fake,ipc=2")
  config.network.name = "convnet(depth=1)"
  info = load_real_data(config.data).info
  words = {}
  for budget in (1.0, 1e-6):
    config.memory_budget_gb = budget
    words[budget] = make_mtt(config, info).remarks[0]
  assert "keeps convolutions" in words[1.0] and "keeps nothing:" in words[1e-6]
  config.checkpoint_policy = "convolutions"  # as the user says, whatever the budget
  assert "keeps convolutions" in make_mtt(config, info).remarks[0]


_FIELDS = (
  "student_steps", "expert_epochs", "max_start_epoch", "learning_rate", "rate_learning_rate",
  "student_learning_rate", "student_batch_size",
)  # fmt: skip


@pytest.mark.parametrize(
  "dataset, ipc, row, is_white",
  [
    ("cifar10", 1, (50, 2, 2, 100.0, 1e-7, 0.01, 0), True),
    ("cifar10", 10, (30, 2, 20, 100.0, 1e-5, 0.001, 0), True),
    ("cifar10", 50, (30, 2, 40, 1000.0, 1e-5, 0.001, 0), False),
    ("cifar100", 1, (20, 3, 20, 1000.0, 1e-5, 0.01, 0), True),
    ("cifar100", 10, (20, 2, 20, 1000.0, 1e-5, 0.01, 0), False),
    ("cifar100", 50, (80, 2, 40, 1000.0, 1e-5, 0.01, 125), True),
  ],
)
def test_the_published_rows(dataset, ipc, row, is_white):
  config = mtt.get_config(f"{dataset},ipc={ipc}")
  assert tuple(config.outer[name] for name in _FIELDS) == row
  assert config.data.preprocessing == ("zca_kornia" if is_white else "published")
  assert (config.experts.num_experts, config.outer.num_steps) == (100, 5000)
  assert config.accuracy_evaluation.protocol == "mtt"


def test_whitened_images_are_what_the_student_learns_from():
  """They begin as whitened real ones."""
  config = mtt.get_config("fake,ipc=2")
  config.update_from_flattened_dict(_CASE.changes)
  config.data.preprocessing = "zca_kornia"
  real = load_real_data(config.data)
  distiller = make_mtt(config, real.info)
  data = make_data_split(real)
  state = jax.jit(distiller.init)(jax.random.key(0), data)
  pixels = as_pixels(real.train_images, real.max_value)
  whitened = np.asarray(real.preprocessing.forward(pixels))
  for image in np.asarray(state.synthetic.images):
    assert np.abs(whitened - image).max(axis=(1, 2, 3)).min() < 1e-4
  shards = make_shards(_CASE, distiller, state, 0, 1, 1, parallel.make_layout(1))
  after, metrics = jax.jit(distiller.step)(
    state, data, jax.tree.map(lambda leaf: leaf[0, 0], shards)
  )
  moved = np.abs(after.synthetic.images - state.synthetic.images)
  assert np.isfinite(metrics["loss"]) and 0 < moved.max() < np.inf


def test_experts_of_the_case_move():
  stored = Experts(_CASE)
  assert np.abs(stored.read(0, 1) - stored.read(0, 0)).max() > 1e-3


def _run_config(tmp_path, **changes):
  config = mtt.get_config("fake,ipc=2")
  fields = {"experts.path": str(tmp_path / "experts"), "curve.models": "none", "evaluators": ()}
  config.update_from_flattened_dict(_CASE.changes | fields | {"num_devices": 1} | changes)
  return config


def test_a_run_publishes_its_rate_and_says_which_experts_it_followed(tmp_path):
  changes = {"outer.student_learning_rate": 0.05, "outer.rate_learning_rate": 1e-4}
  result = distill.run(_run_config(tmp_path, **changes), tmp_path / "run")
  rate = load_distilled(tmp_path / "run").info["learning_rate"]
  _, rates = series(read_metrics(tmp_path / "run"), "train/learning_rate")
  np.testing.assert_allclose(rate, rates[-1], rtol=1e-6)
  assert rate != 0.05
  told = result.report["run"]["experts"]
  assert told["buffers"] == [str(tmp_path / "experts")]
  assert (told["num_experts"], told["num_epochs"]) == (2, 2)


def test_a_finished_distillation_needs_no_experts(tmp_path):
  first = distill.run(_run_config(tmp_path), tmp_path / "run").report
  shutil.rmtree(tmp_path / "experts")
  config = _run_config(tmp_path, num_random_subsets=3)  # only the report is made anew
  second = distill.run(config, tmp_path / "run").report
  assert second["run"]["experts"] == first["run"]["experts"]
  config.resume_from = str(tmp_path / "run")
  third = distill.run(config, tmp_path / "other").report
  assert third["run"]["experts"] == first["run"]["experts"]
  (tmp_path / "run" / "experts.json").unlink()  # as of a run of before
  config = _run_config(tmp_path, num_random_subsets=4)
  fourth = distill.run(config, tmp_path / "run").report
  assert fourth["run"]["experts"] == first["run"]["experts"]
  assert not (tmp_path / "experts").exists()


@pytest.mark.parametrize(
  "changes,words",
  [
    ({"experts.batch_size": 0}, "experts.batch_size=0"),
    ({"experts.dtype": "float8"}, "experts.dtype='float8'"),
    ({"experts.seed": 1}, "seed: 0 there, 1 here"),
  ],
)
def test_impossible_experts_are_refused_before_anything_is_written(tmp_path, changes, words):
  config = _run_config(tmp_path)
  known = experts.open_buffer(config, load_real_data(config.data))
  start = np.zeros((1, 1, 3), np.float32)
  with known.locked():
    known.append(start, first_expert=0, first_epoch=0, state=[], losses=[[None]])
  with pytest.raises((ValueError, ExpertBufferError), match=words):
    distill.run(_run_config(tmp_path, **changes), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_a_run_follows_no_altered_experts(tmp_path):
  distill.run(_run_config(tmp_path), tmp_path / "run")
  path = next((tmp_path / "experts" / "chunks").iterdir())
  path.write_bytes(path.read_bytes()[:-4])
  with pytest.raises(ExpertBufferError, match=f"{path.name} is truncated or altered"):
    distill.run(_run_config(tmp_path, **{"outer.num_steps": 7}), tmp_path / "run")


@pytest.mark.parametrize("form", ["checkpoint", "constant"])
def test_float64_runs(tmp_path, form):
  config = _run_config(tmp_path, precision="float64", unroll=form)
  result = distill.run(config, tmp_path / "run")
  assert result.report["run"]["experts"]["identity"]["precision"] == "float64"
