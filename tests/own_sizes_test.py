"""A user's own photographs of 64, 96 and 128 pixels: a few steps of every method, a report."""

import numpy as np
from PIL import Image
import pytest

from ddjax.api import get_config
from ddjax.tasks import distill

COMMON = {
  "num_devices": 1,
  "evaluators": ("accuracy",),
  "num_random_subsets": 1,
  "evaluate_initial": False,
  "curve.models": "none",
  "accuracy_evaluation.networks": ("convnet",),
  "accuracy_evaluation.width": 4,
  "accuracy_evaluation.num_seeds": 2,
  "accuracy_evaluation.num_epochs": 2,
  "accuracy_evaluation.num_bootstrap": 20,
  "outer.num_steps": 2,
  "trainer.tensorboard": False,
}
_NETWORK = {"network.width": 4, "outer.real_batch_size": 4}
CHANGES = {
  "kip": {"evaluators": ("kernel", "accuracy"), "outer.target_batch_size": 12},
  "dm": _NETWORK,
  "dc": _NETWORK | {"outer.outer_loop": 2, "outer.inner_loop": 1, "outer.network_batch_size": 8},
  "dsa": _NETWORK | {"outer.outer_loop": 2, "outer.inner_loop": 1, "outer.network_batch_size": 8},
  "idc": _NETWORK,
  "ncfm": _NETWORK
  | {"experts.num_experts": 1, "outer.network_epochs": 1, "outer.num_frequencies": 16},
  "frepo": {"network.width": 4, "outer.target_batch_size": 8, "pool.num_networks": 2},
  "mtt": {
    "network.width": 4,
    "experts.num_experts": 1,
    "experts.num_epochs": 3,
    "outer.max_start_epoch": 2,
    "outer.expert_epochs": 1,
    "outer.student_steps": 2,
  },
}


_NETWORKS = {64: "convnet(depth=4)", 96: "convnet", 128: "convnet(depth=5)"}
"""{side: network}, a block for each halving down to 4 pixels, as papers have them."""


@pytest.mark.slow
@pytest.mark.parametrize("side", _NETWORKS)
@pytest.mark.parametrize("method", CHANGES)
def test_own_photographs_run_to_a_report(tmp_path, method, side):
  rng = np.random.default_rng(0)
  for label in range(3):
    (folder := tmp_path / "photos" / f"class {label}").mkdir(parents=True)
    for index in range(10):
      pixels = rng.integers(0, 120, (side, side + 8 * (index % 2), 3)) + 60 * label
      Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
  config = get_config(f"configs/{method}.py:folder")
  network = _NETWORKS[side]
  own = {"accuracy_evaluation.networks": (network,)}
  own |= {"network.name": network} if "network" in config else {}
  changes = known_fields(config, COMMON | CHANGES[method] | own)
  config.update_from_flattened_dict(
    changes | {"data.path": str(tmp_path / "photos"), "data.image_size": side, "synthetic.ipc": 1}
  )
  report = distill.run(config, tmp_path / "run").report
  assert np.isfinite(report["reports"]["accuracy"]["scalars"][network])
  assert (tmp_path / "run" / "report.html").exists()


def test_the_report_says_that_photographs_were_resized(tmp_path):
  rng = np.random.default_rng(0)
  for label, name in enumerate(("<b>a</b>".replace("/", "-"), "b. c")):
    (folder := tmp_path / "my photos v1.2" / name).mkdir(parents=True)
    for index in range(6):
      pixels = rng.integers(0, 120, (12 + index, 16, 3)) + 60 * label
      Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.x.png")
  config = get_config("configs/kip.py:folder")
  changes = COMMON | {"evaluators": ("kernel",), "outer.target_batch_size": 4, "synthetic.ipc": 1}
  own = {"data.path": str(tmp_path / "my photos v1.2"), "data.image_size": 8}
  config.update_from_flattened_dict(known_fields(config, changes) | own)
  report = distill.run(config, tmp_path / "run").report
  assert report["run"]["data_version"] == "own, central squares resized to 8 x 8 px"
  page = (tmp_path / "run" / "report.html").read_text()
  assert "own, central squares resized to 8 x 8 px" in page
  assert "&lt;b&gt;a&lt;-b&gt;" in page and "b. c" in page and "<b>a" not in page


def known_fields(config, changes):
  """The changes of dotted fields but those of another method's loop, which this one has not."""
  known = config.to_dict()
  return {
    name: value for name, value in changes.items() if name.split(".")[-1] in _group(known, name)
  }


def _group(config, name):
  """The fields beside a dotted one."""
  for part in name.split(".")[:-1]:
    config = config[part]
  return config
