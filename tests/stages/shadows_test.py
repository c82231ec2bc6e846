"""Shadow runs on fake data: members, baselines, factors, and what is not run again."""

import numpy as np
import pytest

from ddjax.api import get_config
from ddjax.config import audit
from ddjax.data.load import load_real_data
from ddjax.fitting import fit
from ddjax.fitting.host import Watch
from ddjax.stages import evaluate, shadows
from ddjax.training import trainer

_SPLITS = 4


@pytest.fixture(scope="module")
def parts():
  """A distillation of fake data by DM, and the settings of its shadow runs."""
  config = get_config("configs/dm.py:fake,ipc=1")
  config.num_devices = 1
  config.outer.num_steps = 3
  config.accuracy_evaluation.update(
    dict(networks=("mlp",), width=2, num_epochs=2, augmentation="none")
  )
  settings = audit.privacy()
  settings.update(dict(num_splits=_SPLITS, full_epochs=1, num_networks=2))
  return config, settings, load_real_data(config.data)


@pytest.fixture(scope="module")
def run(parts, tmp_path_factory):
  config, settings, real = parts
  folder = tmp_path_factory.mktemp("fits")
  found = shadows.run_shadows(
    config, settings, config.accuracy_evaluation, real, folder / "shadows", Watch(folder)
  )
  return folder, found


def test_every_image_is_in_the_pool_and_half_of_each_class_is_a_member(parts, run):
  real, found = parts[2], run[1]
  assert len(found.labels) == len(real.train_labels) + len(real.test_labels)
  assert found.is_member.shape == (_SPLITS, len(found.labels))
  for mask in found.is_member:
    for label in np.unique(found.labels):
      of_class = mask[found.labels == label]
      assert of_class.sum() == round(0.5 * len(of_class))
  assert len(np.unique(found.is_member, axis=0)) == _SPLITS
  for name in ("distilled", "random_subset", "full"):
    assert found.logits[name].shape == (*found.is_member.shape, real.info.num_classes)
    assert np.isfinite(found.logits[name]).all()


def test_splits_have_sets_of_their_own_and_networks_are_averaged(run):
  logits = run[1].logits
  assert np.abs(logits["distilled"][0] - logits["distilled"][1]).max() > 1e-3
  total = np.exp(logits["distilled"]).sum(axis=-1)  # mean log-probabilities: no more than 1
  assert (total <= 1 + 1e-5).all() and (total < 1).any()
  assert run[1].settings["networks_a_split"] == 2


def test_what_is_finished_is_not_run_again(parts, run, monkeypatch):
  config, settings, real = parts
  folder, first = run

  def refuse(*_, **__):
    raise AssertionError("a step was taken again")

  monkeypatch.setattr(trainer.parallel, "make_program", lambda *_, **__: refuse)
  again = shadows.run_shadows(
    config, settings, config.accuracy_evaluation, real, folder / "shadows", Watch(folder)
  )
  for name, logits in first.logits.items():
    np.testing.assert_array_equal(again.logits[name], logits)


def test_baselines_of_the_same_splits_are_trained_once(parts, run, tmp_path, monkeypatch):
  config, settings, real = parts
  noise = settings.copy_and_resolve_references()
  noise.init = "noise"
  labels, train = [], fit.host.fit_networks
  monkeypatch.setattr(
    fit.host,
    "fit_networks",
    lambda *args, **own: labels.append(own["label"]) or train(*args, **own),
  )
  found = shadows.run_shadows(config, noise, config.accuracy_evaluation, real, tmp_path / "s")
  assert labels == ["mlp on distilled"]
  for name in ("random_subset", "full"):
    np.testing.assert_array_equal(found.logits[name], run[1].logits[name])
  assert np.abs(found.logits["distilled"] - run[1].logits["distilled"]).max() > 1e-3


def test_baselines_hold_members_only(parts, tmp_path):
  config, settings, real = parts
  job = shadows.prepare(
    shadows.shadow_config(config, settings),
    tmp_path,
    shadows.make_pool(real, config.data),
  )
  sets = shadows._baselines(job)
  pool = np.asarray(
    job.real.preprocessing.forward(job.real.train_images / np.float32(job.real.max_value))
  )
  for name in ("random_subset", "full"):
    for mask, images in zip(np.asarray(job.data.mask), sets[name].images):
      for image in images:
        row = np.abs(pool - image).reshape(len(pool), -1).max(axis=1).argmin()
        assert mask[row], name
  assert sets["full"].images.shape[1] == job.data.mask[0].sum()


def test_factors_reach_the_distillation(parts):
  config, settings, _ = parts
  changed = settings.copy_and_resolve_references()
  changed.update(dict(ipc=3, init="noise", num_steps=7))
  own = shadows.shadow_config(config, changed)
  assert (own.synthetic.ipc, own.synthetic.init, own.outer.num_steps) == (3, "noise", 7)
  assert own.shares_draws and own.num_replicas == _SPLITS
  assert config.synthetic.ipc == 1
  changed.init = "saved"
  with pytest.raises(ValueError, match="every split with the same images"):
    shadows.shadow_config(config, changed)


def test_costly_methods_are_cut_short_and_the_report_says_so(parts, run):
  config, settings, real = parts
  assert shadows.shadow_config(config, settings).outer.num_steps == 3
  limited = settings.copy_and_resolve_references().unlock()
  limited.max_steps.dm = 2
  assert shadows.shadow_config(config, limited).outer.num_steps == 2
  limited.num_steps = 7  # as the user says
  assert shadows.shadow_config(config, limited).outer.num_steps == 7
  half, whole = len(run[1].labels) // 2, len(real.train_labels)
  (sentence,) = evaluate._differences(run[1].settings, config, {"step": 5}, real)
  assert f"3 steps (the set: 5); {half} real examples (the set: {whole})" in sentence
  assert "images per class" not in sentence
  (sentence,) = evaluate._differences(
    run[1].settings, config, {"step": 5, "member_hash": "a"}, real
  )
  assert "real examples" not in sentence
  other = {"step": 3, "real_data_hash": "another"}
  assert evaluate._differences(run[1].settings, config, other, real) == []


def test_each_split_of_mtt_has_few_experts(parts):
  config = get_config("configs/mtt.py:fake,ipc=1,experts=3")
  assert shadows.shadow_config(config, parts[1]).experts.num_experts == 2
  assert config.experts.num_experts == 3


@pytest.mark.parametrize("method", ["kip", "label_solve", "coreset"])
def test_whatever_the_method_asks_for_a_small_pool_serves_it(parts, tmp_path, method):
  """Target batches and blocks larger than the pool, and a method without steps."""
  _, settings, real = parts
  config = get_config(f"configs/{method}.py:fake,ipc=1,smoke")
  config.num_devices = 1
  if method == "kip":
    config.outer.num_steps = 2
  if method != "coreset":
    config.outer.target_batch_size = real.info.num_train
    config.kernel.update(dict(family="fc", engine="closed_form"))
  else:
    config.coreset.update(dict(network="mlp", width=1))
  config.accuracy_evaluation.update(
    dict(networks=("mlp",), width=2, num_epochs=1, augmentation="none")
  )
  smaller = settings.copy_and_resolve_references()
  smaller.max_examples = 32
  found = shadows.run_shadows(config, smaller, config.accuracy_evaluation, real, tmp_path / "s")
  assert found.is_member.shape == (_SPLITS, 32)
  assert "32 examples: a stratified part of the" in found.settings["pool"]


def test_kip_is_attacked_through_its_kernel(parts):
  kip = get_config("configs/kip.py:fake,ipc=1,smoke")
  assert shadows.predictor_of(kip, parts[1]) == "kernel"
  assert shadows.predictor_of(parts[0], parts[1]) == "networks"


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (dict(num_splits=3), "privacy.num_splits=3"),
    (dict(member_fraction=1.0), "privacy.member_fraction=1.0"),
    (dict(predictor="trees"), "'trees'"),
  ],
)
def test_impossible_settings_are_refused(parts, fields, message):
  config, settings, real = parts
  changed = settings.copy_and_resolve_references()
  changed.update(fields)
  with pytest.raises(ValueError, match=message):
    shadows.run_shadows(config, changed, config.accuracy_evaluation, real, None)
