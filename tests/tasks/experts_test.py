"""`configs/experts.py` as a run: trained, tested, reported, extended by the same command."""

import json

import numpy as np
import pytest

from ddjax.api import get_config
from ddjax.tasks import distill
from ddjax.tasks import experts as task
from ddjax.tasks.experts import summary
from ddjax.training.metrics import read_metrics, series


def _config(tmp_path, num_experts=2, num_epochs=2, network="mlp"):
  config = get_config(f"configs/experts.py:fake,experts={num_experts},epochs={num_epochs}")
  config.update_from_flattened_dict(
    {
      "network.name": network,
      "augmentation": "none",
      "experts.path": str(tmp_path / "experts"),
      "accuracy_evaluation.num_bootstrap": 20,
      "num_devices": 1,
    }
  )
  return config


def test_experts_are_trained_tested_and_extended_in_one_folder(tmp_path):
  report = task.run(_config(tmp_path), tmp_path / "run").report
  told = report["run"]["experts"]
  assert (told["num_experts"], told["num_epochs"]) == (2, 2)
  assert len(report["reports"]["accuracy"]["per_model"]["mlp"]) == 2
  assert "2 experts of 2 epochs" in summary(report)
  before = {path.name: path.read_bytes() for path in (tmp_path / "experts" / "chunks").iterdir()}
  report = task.run(_config(tmp_path, 3, 4), tmp_path / "run").report
  assert report["run"]["experts"]["num_epochs"] == 4
  after = {path.name: path.read_bytes() for path in (tmp_path / "experts" / "chunks").iterdir()}
  assert before.items() < after.items()
  steps, losses = series(read_metrics(tmp_path / "run"), "train/loss")
  assert steps.tolist() == [1, 2, 3, 4] and losses.shape == (4, 3) and np.isfinite(losses).all()
  assert (tmp_path / "run" / "figures" / "experts.png").exists()
  stamp = (tmp_path / "run" / "report.json").stat().st_mtime_ns
  assert task.run(_config(tmp_path, 3, 4), tmp_path / "run").report == json.loads(
    (tmp_path / "run" / "report.json").read_text()
  )
  assert (tmp_path / "run" / "report.json").stat().st_mtime_ns == stamp  # finished: nothing to do


def test_networks_of_ncfm_are_trained_by_its_own_recipe(tmp_path):
  """As a study asks for them: its config under the task "experts"."""
  config = get_config("configs/ncfm.py:fake,experts=2,epochs=2")
  config.task, config.method = "experts", "experts"
  config.update_from_flattened_dict(
    {
      "network.name": "mlp",
      "experts.path": str(tmp_path / "experts"),
      "accuracy_evaluation.num_bootstrap": 20,
    }
  )
  told = task.run(config, tmp_path / "run").report["run"]["experts"]
  assert (told["num_experts"], told["num_epochs"]) == (2, 2)
  assert told["training"]["mix"] == "cutmix" and told["training"]["augmentation_mode"] == "idc"
  assert told["identity"]["drop_epochs"] == [1, 2] and told["identity"]["drop_factor"] == 0.2
  config.task, config.method = "distill", "ncfm"
  config.experts.path = str(tmp_path / "experts")
  estimate = distill.estimate(config)  # finds them: nothing to train
  assert "experts" not in estimate.seconds


def test_all_devices_train_experts(tmp_path):
  config = _config(tmp_path, num_experts=3, num_epochs=1)
  config.num_devices = 0
  report = task.run(config, tmp_path / "run").report
  assert report["run"]["experts"]["num_experts"] == 3
  assert len(report["reports"]["accuracy"]["per_model"]["mlp"]) == 3


def test_a_part_of_the_train_set_is_left_to_mtt(tmp_path):
  config = _config(tmp_path)
  config.member_fraction = 0.5
  with pytest.raises(ValueError, match="num_replicas must be 1 and member_fraction 1.0"):
    task.run(config, tmp_path / "run")
