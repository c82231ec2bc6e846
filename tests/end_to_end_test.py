"""Whole runs on the fake data set: what lies in the folder, and what a second start does."""

import json

import numpy as np
import pytest

import ddjax
from ddjax.api import get_config
from ddjax.stages.run_folder import RunFolderError
from ddjax.tasks import distill
from ddjax.training.metrics import read_metrics


def _config(argument="kip.py:fake,ipc=2", **changes):
  config = get_config(f"configs/{argument}")
  config.update_from_flattened_dict(
    {
      "num_devices": 1,
      "accuracy_evaluation.num_seeds": 2,
      "accuracy_evaluation.width": 4,
      "accuracy_evaluation.networks": ("mlp",),
      "trainer.tensorboard": False,
    }
    | {name.replace("__", "."): value for name, value in changes.items()}
  )
  return config


_FAST = {"kernel__engine": "closed_form"}  # neural-tangents takes a third of a run to trace


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("run")
  return distill.run(_config(num_replicas=2, outer__schedule="constant"), workdir)


def test_a_run_leaves_all_that_it_promises(finished):
  for name in (
    "config.json", "versions.txt", "metrics.jsonl", "checkpoints", "report.json", "report.html",
    "distilled/distilled.npz", "distilled/info.json", "distilled/replica_1/distilled.npz",
    "distilled/steps/00000000/distilled.npz", "figures/images.png", "figures/curves.png",
    "figures/confusion.png",
  ):  # fmt: skip
    assert (finished.workdir / name).exists(), name


def test_report_json_has_the_promised_figures(finished):
  report = json.loads((finished.workdir / "report.json").read_text())
  kernel, accuracy = report["reports"]["kernel"], report["reports"]["accuracy"]
  for key in ("test_accuracy", "random_subset_accuracy", "initial_accuracy"):
    assert 0 <= kernel["scalars"][key] <= 1
    low, high = kernel["interval"][key]
    assert low <= kernel["scalars"][key] <= high
    assert len(kernel["per_class"][key]) == 4
  for key in ("mlp", "random_subset_mlp", "initial_mlp", "gain_over_random_mlp"):
    assert key in accuracy["scalars"]
  assert len(kernel["per_model"]["test_accuracy"]) == 2  # replicas
  assert len(accuracy["per_model"]["mlp"]) == 4  # replicas x seeds
  assert len(kernel["per_model"]["random_subset_accuracy"]) == 5
  assert "2 distillations" in kernel["settings"]["interval_over"]["test_accuracy"]
  assert kernel["scalars"]["test_accuracy"] == pytest.approx(
    np.mean(kernel["per_model"]["test_accuracy"])
  )
  assert report["run"]["config"]["outer"]["num_steps"] == 20


def test_the_published_set_evaluates_to_the_same_accuracy(finished):
  loaded = ddjax.load(finished.workdir)
  assert loaded.info["method"] == "kip" and loaded.info["step"] == 20
  config = _config(num_replicas=2, outer__schedule="constant")
  reports = ddjax.evaluate(finished.workdir, config)
  whole = {name: report["per_model"] for name, report in finished.report["reports"].items()}
  assert reports["kernel"].scalars["test_accuracy"] == whole["kernel"]["test_accuracy"][0]
  networks = reports["accuracy"].per_model["mlp"]
  assert len(networks) == 2 and networks == whole["accuracy"]["mlp"][:2]
  assert reports["kernel"].scalars["initial_accuracy"] is None


def test_a_finished_run_is_not_run_again(finished):
  before = (finished.workdir / "report.html").stat().st_mtime_ns
  again = distill.run(_config(num_replicas=2, outer__schedule="constant"), finished.workdir)
  assert again.report == json.loads((finished.workdir / "report.json").read_text())
  assert (finished.workdir / "report.html").stat().st_mtime_ns == before


def test_a_field_that_alters_the_trajectory_is_refused_by_name(finished):
  before = (finished.workdir / "report.json").read_bytes()
  with pytest.raises(RunFolderError, match="outer.learning_rate: 0.04 -> 0.5"):
    changed = _config(
      num_replicas=2,
      outer__schedule="constant",
      outer__learning_rate=0.5,
      trainer__tensorboard=True,
    )
    distill.run(changed, finished.workdir)
  assert (finished.workdir / "report.json").read_bytes() == before


def test_a_longer_run_extends_a_shorter_one_bit_for_bit(tmp_path):
  constant = dict(outer__schedule="constant", evaluators=("kernel",)) | _FAST
  distill.run(_config(**constant, outer__num_steps=10), tmp_path / "run")
  extended = distill.run(_config(**constant), tmp_path / "run")
  whole = distill.run(_config(**constant), tmp_path / "whole")
  np.testing.assert_array_equal(
    ddjax.load(extended.workdir).images, ddjax.load(whole.workdir).images
  )
  steps = [record["step"] for record in read_metrics(extended.workdir / "metrics.jsonl")]
  assert steps == sorted(steps) and steps[-1] == 20


def test_evaluators_may_change_afterwards(tmp_path):
  constant = dict(outer__schedule="constant") | _FAST
  distill.run(_config(**constant, evaluators=("kernel",)), tmp_path)
  more = distill.run(_config(**constant), tmp_path)
  assert set(more.report["reports"]) == {"kernel", "accuracy"}


def test_overwrite_starts_anew_but_only_on_a_run(tmp_path):
  small = dict(evaluators=("kernel",)) | _FAST
  distill.run(_config(**small), tmp_path / "run")
  distill.run(_config(**small, seed=1), tmp_path / "run", overwrite=True)
  assert ddjax.load(tmp_path / "run").info["seed"] == 1
  (tmp_path / "mine").mkdir()
  (tmp_path / "mine" / "thesis.txt").write_text("years of work")
  with pytest.raises(RunFolderError, match="not a run"):
    distill.run(_config(), tmp_path / "mine", overwrite=True)
  assert (tmp_path / "mine" / "thesis.txt").exists()


def test_label_solve_goes_once_over_the_train_set(tmp_path):
  config = _config("label_solve.py:fake,ipc=2", evaluators=("kernel",), **_FAST)
  result = distill.run(config, tmp_path)
  loaded = ddjax.load(tmp_path)
  assert loaded.info["step"] == 2  # 64 examples in blocks of 32
  assert result.report["run"]["num_steps"] == 2
  assert np.abs(loaded.labels - (np.repeat(np.eye(4), 2, axis=0) - 0.25)).max() > 0.01


def test_float64_by_config(tmp_path):
  config = _config(evaluators=("kernel",), precision="float64", outer__num_steps=3)
  result = distill.run(config, tmp_path)
  assert result.report["reports"]["kernel"]["settings"]["precision"] == "float64"
  assert ddjax.load(tmp_path).images.dtype == np.float32


def test_many_matching_runs_of_random_halves_say_what_they_share(tmp_path):
  changes = dict(num_replicas=2, member_fraction=0.5, shares_draws=True, augmentation="crop")
  changes |= dict(network__name="mlp", accuracy_evaluation__num_epochs=3)
  config = _config("dm.py:fake,ipc=2,smoke", **changes)
  result = distill.run(config, tmp_path / "run")
  run = result.report["run"]
  assert "augmentation" in run["shared_by_all_distillations"] and "0.5" in run["members"]
  assert run["seconds"]["running curve"] > 0
  folders = (tmp_path / "run" / "distilled", tmp_path / "run" / "distilled" / "replica_1")
  hashes = {ddjax.load(folder).info["member_hash"] for folder in folders}
  assert len(hashes) == 2 and None not in hashes
  records = read_metrics(tmp_path / "run" / "metrics.jsonl")
  curve = [r["eval/running_test_accuracy"] for r in records if "eval/running_test_accuracy" in r]
  assert len(curve) == 4 and all(len(point) == 2 for point in curve)  # steps 0 1 2 5
  assert result.report["reports"]["accuracy"]["scalars"]["mlp"] is not None


@pytest.mark.parametrize(
  "kind,fields,expected",
  [
    ("probabilities", {}, "own"),
    ("probabilities", {"labels": "hard"}, "hard"),
    ("probabilities", {"protocol": "quick"}, None),  # whose labels are their own
    ("centred", {}, None),  # no probabilities
    ("one_hot", {}, None),
  ],
)
def test_networks_train_on_learned_probabilities_unless_told_otherwise(kind, fields, expected):
  config = _config("dsa.py:fake,ipc=1")
  config.accuracy_evaluation.update(fields)
  found = distill._with_learned_labels(config, kind)
  assert found.accuracy_evaluation.labels == expected
  assert config.accuracy_evaluation.labels == fields.get("labels")  # the caller's is as it was


def test_a_run_that_learns_labels_says_how_its_networks_take_them(tmp_path):
  fast = {"network__name": "mlp", "augmentation": "none", "curve__models": "none"}
  config = _config("dsa.py:fake,ipc=1,steps=2", synthetic__learn_labels=True, **fast)
  config.accuracy_evaluation.update(dict(num_epochs=2, augmentation="none"))
  config.update(dict(evaluators=("accuracy",), evaluate_initial=False, num_random_subsets=1))
  workdir = distill.run(config, tmp_path).workdir
  report = json.loads((workdir / "report.json").read_text())
  assert report["reports"]["accuracy"]["settings"]["training"]["labels"] == "own"
