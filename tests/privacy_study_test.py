"""The privacy study on fake data: its cells, its comparisons, and its second start."""

import csv

import numpy as np
import pytest

from ddjax import privacy_study
from ddjax.api import get_config
from ddjax.privacy_study import Cell
from ddjax.statistics.membership_figures import Scores


@pytest.fixture(scope="module")
def config():
  config = get_config("configs/privacy.py:fake,smoke")
  del config.distillations["kip-ipc1"]
  config.factors.num_classes = ()
  config.num_devices = 1
  config.distillations["dm-ipc1"].num_devices = 1
  config.distillations["dm-ipc1"].outer.num_steps = 2
  config.accuracy_evaluation.update(
    dict(networks=("mlp",), width=2, num_epochs=1, augmentation="none")
  )
  config.privacy.attacks = ("loss", "lira_fixed")
  config.claims = ("loss", "lira_fixed")
  return config


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
  folder = tmp_path_factory.mktemp("study") / "run"
  return folder, privacy_study.run(config, folder).report


def test_every_cell_has_its_report_and_pairs_their_difference(run):
  folder, report = run
  assert set(report["reports"]) == {"dm-ipc1-real", "dm-ipc1-noise", "claims"}
  claims = report["reports"]["claims"]
  for attack in ("loss", "lira_fixed"):
    key = f"dm-ipc1-noise minus dm-ipc1-real {attack} auc"
    aucs = [
      report["reports"][f"dm-ipc1-{init}"]["scalars"][f"{attack}_auc"] for init in ("noise", "real")
    ]
    assert claims["scalars"][key] == pytest.approx(aucs[0] - aucs[1], abs=1e-6)
    assert claims["interval"][key][0] <= claims["scalars"][key] <= claims["interval"][key][1]
  with (folder / privacy_study.TABLE_NAME).open() as file:
    rows = list(csv.DictReader(file))
  assert {"distilled", "random_subset", "full"} == {row["set"] for row in rows}
  row = next(row for row in rows if (row["attack"], row["figure"]) == ("lira_fixed", "auc"))
  cell = report["reports"]["dm-ipc1-real"]
  assert float(row["value"]) == pytest.approx(cell["scalars"]["lira_fixed_auc"], abs=1e-4)
  assert (folder / "figures" / "privacy.png").stat().st_size > 0
  assert not (folder / "fits").exists()
  assert "dm-ipc1-noise minus" in privacy_study.summary(report)


def test_finished_cells_are_not_run_again(config, run, monkeypatch):
  folder, report = run

  def refuse(*_, **__):
    raise AssertionError("a cell was run again")

  monkeypatch.setattr(privacy_study.shadows, "run_shadows", refuse)
  assert privacy_study.run(config, folder).report["reports"] == report["reports"]
  (folder / "report.json").unlink()  # killed before the report
  assert privacy_study.run(config, folder).report["reports"] == report["reports"]


def test_cells_are_compared_where_one_factor_differs(config):
  a = Cell("dm-ipc1", "real", 0)
  differs = {
    "init": a._replace(init="noise"),
    "classes": a._replace(num_classes=2),
    None: a._replace(init="noise", num_classes=2),
  }
  for factor, b in differs.items():
    assert privacy_study._single_difference(config, a, b) == factor


def test_differences_of_unequal_pools_are_not_paired(config):
  rng = np.random.default_rng(0)

  def scores(num_examples, shift):
    is_member = np.stack([rng.permutation(num_examples) < num_examples // 2 for _ in range(6)])
    return Scores(rng.normal(size=is_member.shape) + shift * is_member, is_member)

  pair = {"a": scores(60, 0.0), "b": scores(90, 3.0)}
  value, low, high = privacy_study._difference(pair, "a", "b", config, is_paired=False)
  assert 0.4 < value < 0.55 and 0 < low < value < high
