"""CONTRIBUTING.md followed literally, in a copy of the project: a method, an evaluator, a task."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]

_METHOD = '''"""Shrink: a set of real images that fades a little with every step."""

import jax
import jax.numpy as jnp

from ddjax.distillers import synthetic
from ddjax.types import DistilledSet, Distiller, DistillState


def make_shrink(config, info, axis_name=None) -> Distiller:
  """Builds the method."""

  def init(rng, data):
    init_rng, step_rng = jax.random.split(rng)
    start = synthetic.init_synthetic(
      init_rng, data, info, ipc=config.synthetic.ipc, init="real", is_centred=False
    )
    return DistillState(jnp.int32(0), step_rng, start, ())

  def step(state, data, shard):
    images = 0.99 * state.synthetic.images
    new = state.synthetic.replace(images=images)
    return state.replace(step=state.step + 1, synthetic=new), {"loss": jnp.mean(images**2)}

  def extract(state):
    return DistilledSet(state.synthetic.images, state.synthetic.labels)

  return Distiller(init, step, extract)
'''

_METHOD_CONFIG = '''"""Shrink.

  python -m ddjax.main --config=configs/shrink.py:digits,ipc=1
"""

from ml_collections import ConfigDict

from ddjax.config import arguments, groups


def get_config(arg=None) -> ConfigDict:
  """Builds the config for `arg`."""
  args = arguments.parse_argument(arg, dict(dataset="digits", ipc=1, seed=0), flags=("smoke",))
  config = groups.base("shrink", args["dataset"])
  config.seed = args["seed"]
  config.synthetic = ConfigDict(dict(ipc=args["ipc"]))
  config.outer = ConfigDict(dict(num_steps=20))
  config.evaluators = ("accuracy",)
  config.curve.models = "none"
  config.accuracy_evaluation.update(dict(networks=("mlp",), width=4, num_epochs=2, num_seeds=2))
  return config
'''

_METHODS_HEAD = "A method needs name, config, published, measured.\n"
_METHOD_ENTRY = """
[[method]]
name = "Shrink"
config = "configs/shrink.py:digits,ipc=1"
published = {}
measured = []
"""

_EVALUATOR = '''"""How bright the images of a set are."""

import numpy as np

from ddjax.types import Report


def make_brightness_evaluator(config, info):
  """Builds the evaluator from its group of the config."""

  def measure(models, dataset, rng, context):
    images = np.asarray(context.sets["distilled"].images)
    pixels = dataset.preprocessing.inverse(images.reshape(-1, *images.shape[2:]))
    bright = float(np.mean(np.asarray(pixels) > config.threshold))
    settings = {"threshold": config.threshold}
    return Report("brightness", {"bright_pixels": bright}, {}, {}, {}, {}, settings)

  return measure
'''

_TASK = '''"""The task "count": how many train images the classes of a data set have."""

import numpy as np

from ddjax.data.load import load_real_data
from ddjax.stages.estimate import Estimate
from ddjax.tasks.task import Outcome


def estimate(config):
  """What `run` would cost."""
  return Estimate({}, {}, None, "a second")


def run(config, workdir, *, overwrite=False):
  """Counts them."""
  real = load_real_data(config.data)
  counts = np.bincount(real.train_labels).tolist()
  return Outcome(workdir, None, f"{real.info.name}: {counts}")
'''

_TASK_CONFIG = '''"""Counts.

  python -m ddjax.main --config=configs/count.py:digits
"""

from ddjax.config import arguments, groups


def get_config(arg=None):
  """Builds the config for `arg`."""
  args = arguments.parse_argument(arg, dict(dataset="digits"))
  return groups.evaluation("count", args["dataset"])
'''


_EVALUATOR_TEST = '''"""Brightness of images that are known."""

import types

import numpy as np

from ddjax.evaluators.brightness import make_brightness_evaluator


def test_a_half_of_the_pixels_is_bright():
  images = np.zeros((1, 2, 1, 2, 1), np.float32)
  images[..., 0, :] = 1.0
  dataset = types.SimpleNamespace(preprocessing=types.SimpleNamespace(inverse=lambda x: x))
  context = types.SimpleNamespace(sets={"distilled": types.SimpleNamespace(images=images)})
  measure = make_brightness_evaluator(types.SimpleNamespace(threshold=0.5), None)
  assert measure(None, dataset, None, context).scalars == {"bright_pixels": 0.5}
'''

_TASK_TEST = '''"""Counts of the digits."""

from ddjax.api import get_config
from ddjax.tasks import count


def test_every_class_is_counted(tmp_path):
  outcome = count.run(get_config("configs/count.py:digits"), tmp_path)
  assert outcome.summary.startswith("digits: [")
'''


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
  """The project as git would have it, in another folder."""
  folder = tmp_path_factory.mktemp("copy") / "ddjax"
  skipped = shutil.ignore_patterns("__pycache__", ".git", ".venv", "runs", "docs", "benchmarks")
  shutil.copytree(ROOT, folder, ignore=skipped)
  (folder / "docs/results").mkdir(parents=True)
  shutil.copy(ROOT / "docs/results/methods.toml", folder / "docs/results")
  return folder


class _Hand:
  """Someone who adds files and lines, and keeps account of which files he touches."""

  def __init__(self, folder):
    self.folder, self.touched = folder, []

  def file(self, name, content):
    assert not (self.folder / name).exists()
    (self.folder / name).write_text(content)
    self.touched.append(name)

  def line(self, name, after, *lines):
    path = self.folder / name
    text = path.read_text()
    assert text.count(after) == 1, f"{after!r} stands {text.count(after)} times in {name}"
    path.write_text(text.replace(after, "".join([after, *lines])))
    self.touched.append(name)


def _paragraph(title):
  """The files that a paragraph of CONTRIBUTING.md names."""
  text = (ROOT / "CONTRIBUTING.md").read_text()
  paragraph = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.M | re.S).group(1)
  return set(re.findall(r"`([\w/]+\.(?:py|md|toml))`", paragraph))


def _check_touched(hand, title, **words):
  named = _paragraph(title)
  for word, value in words.items():
    named = {name.replace(word, value) for name in named}
  assert set(hand.touched) <= named, set(hand.touched) - named


def _run(folder, *arguments):
  result = subprocess.run(
    [sys.executable, "-m", "ddjax.main", *arguments], cwd=folder, capture_output=True, text=True
  )
  assert result.returncode == 0, result.stderr[-2000:]
  return result.stdout


def _test(folder, *arguments):
  """Tests of the copy pass, those of the house among them: no file without a test."""
  command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *arguments]
  result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
  assert result.returncode == 0, result.stdout[-3000:]


def test_a_new_method_and_a_new_evaluator(copy, tmp_path):
  hand = _Hand(copy)
  hand.file("ddjax/distillers/shrink.py", _METHOD)
  hand.line("ddjax/registry.py", '  "mtt": make_mtt,\n', '  "shrink": make_shrink,\n')
  hand.line(
    "ddjax/registry.py",
    "from ddjax.distillers.mtt import make_mtt\n",
    "from ddjax.distillers.shrink import make_shrink\n",
  )
  hand.file("configs/shrink.py", _METHOD_CONFIG)
  hand.line(
    "tests/distillers/cases.py", '  Case("kip", "kip", {}),\n', '  Case("shrink", "shrink", {}),\n'
  )
  hand.line("docs/results/methods.toml", _METHODS_HEAD, _METHOD_ENTRY)
  _check_touched(hand, "A new distillation method", METHOD="shrink")

  hand = _Hand(copy)
  hand.file("ddjax/evaluators/brightness.py", _EVALUATOR)
  hand.line(
    "ddjax/registry.py",
    "EVALUATORS: dict[str, Evaluator] = {\n",
    '  "brightness": Evaluator(\n'
    "    lambda config, info: make_brightness_evaluator(config.brightness, info)\n  ),\n",
  )
  hand.line(
    "ddjax/registry.py",
    "from ddjax.evaluators.accuracy import make_accuracy_evaluator\n",
    "from ddjax.evaluators.brightness import make_brightness_evaluator\n",
  )
  hand.line(
    "ddjax/config/audit.py",
    '    "privacy": privacy(is_full),\n',
    '    "brightness": ConfigDict(dict(threshold=0.5)),\n',
  )
  hand.file("tests/evaluators/brightness_test.py", _EVALUATOR_TEST)
  _check_touched(hand, "A new evaluator", AXIS="brightness")
  _test(copy, "tests/evaluators/brightness_test.py", "tests/house_test.py")

  _run(
    copy, "--config=configs/shrink.py:fake", f"--workdir={tmp_path}",
    "--config.evaluators=('accuracy','brightness')", "--config.brightness.threshold=0.25",
  )  # fmt: skip
  report = json.loads((tmp_path / "report.json").read_text())["reports"]
  assert 0 < report["brightness"]["scalars"]["bright_pixels"] < 1
  assert report["brightness"]["settings"]["threshold"] == 0.25
  assert report["accuracy"]["scalars"]["mlp"] > 0
  page = (tmp_path / "report.html").read_text()
  assert "bright pixels" in page.lower()


def test_a_new_task(copy):
  hand = _Hand(copy)
  hand.file("ddjax/tasks/count.py", _TASK)
  hand.line(
    "ddjax/tasks/registry.py",
    '  "pack": Task(pack.estimate, pack.run),\n',
    '  "count": Task(count.estimate, count.run),\n',
  )
  hand.line(
    "ddjax/tasks/registry.py",
    "from ddjax.tasks.task import Task\n",
    "from ddjax.tasks import count\n",
  )
  hand.file("configs/count.py", _TASK_CONFIG)
  hand.file("tests/tasks/count_test.py", _TASK_TEST)
  _check_touched(hand, "A new task", TASK="count")
  _test(copy, "tests/tasks/count_test.py", "tests/house_test.py")
  assert re.search(r"digits: \[\d+(, \d+){9}\]", _run(copy, "--config=configs/count.py:digits"))


@pytest.mark.slow
def test_the_row_of_a_new_method_runs_through_every_protocol_test(copy):
  _test(copy, "tests/distillers/protocol_test.py", "-k", "shrink")
