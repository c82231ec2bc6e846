"""Bad input: a sentence that names the value, exit code non-zero, earlier results intact.

Most cases call the same code as the command line does, in this process; one starts the real thing.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import ddjax
from ddjax import errors
from ddjax.api import get_config
from ddjax.files import atomic
from ddjax.tasks import distill
from ddjax.training.trainer import NonFiniteLossError

pytestmark = pytest.mark.usefixtures("unrendered_figures")
SMALL = {
  "num_devices": 1,
  "kernel.engine": "closed_form",  # neural-tangents takes a third of a run to trace
  "evaluators": ("kernel",),
  "outer.schedule": "constant",
  "outer.num_steps": 4,
  "trainer.tensorboard": False,
}


def _config(argument="fake,ipc=2", **changes):
  config = get_config(f"configs/kip.py:{argument}")
  changes = {name.replace("__", "."): value for name, value in changes.items()}
  config.update_from_flattened_dict(SMALL | changes)
  return config


@pytest.mark.parametrize(
  "changes, message",
  [
    (dict(data__name="cifar11"), "'cifar11'.*cifar10"),
    (dict(kernel__family="fcn"), "'fcn'.*fc"),
    (dict(kernel__kind="ntkk"), "'ntkk'.*ntk"),
    (dict(method="kipp"), "'kipp'.*kip"),
    (dict(evaluators=("acuracy",)), "'acuracy'.*accuracy"),
    (dict(synthetic__ipc=99), "ipc=99 is larger than class '0' of fake, which has 16"),
    (dict(synthetic__ipc=0), "ipc=0"),
    (dict(synthetic__init="reel"), "'reel'.*real"),
    (dict(outer__target_batch_size=33), "target_batch_size=33.*4 classes"),
    (dict(outer__target_batch_size=640), "target_batch_size=640.*64 train examples"),
    (dict(num_devices=3, outer__target_batch_size=32), "32 does not divide over 3 devices"),
    (dict(num_devices=64), "num_devices=64"),
    (dict(outer__schedule="cosin"), "'cosin'.*cosine"),
    (dict(outer__num_steps=0), "num_steps=0"),
    (dict(ridge=0.0), "ridge=0"),
    (dict(precision="float16"), "'float16'"),
    (dict(augment__fraction=1.5), "fraction=1.5"),
    (dict(augment__max_shift=8, augment__fraction=0.5), "max_shift=8"),
    (dict(data__preprocessing="zca"), "'zca'"),
    (dict(data__validation_fraction=1.0), "validation_fraction"),
    (dict(trainer__steps_per_call=0), "steps_per_call=0"),
    (dict(trainer__log_every_steps=0), "log_every_steps=0"),
    (dict(evaluators=("accuracy",), accuracy_evaluation__protocol="quik"), "'quik'"),
    (dict(evaluators=("accuracy",), accuracy_evaluation__networks=("vggg",)), "'vggg'"),
    (dict(num_random_subsets=0), "num_random_subsets=0"),
    (dict(num_replicas=0), "num_replicas=0"),
    (dict(resume_from="nowhere"), "'nowhere'"),
    (dict(memory_budget_gb=1e-9), "memory budget"),
    (dict(seed=-1), "seed=-1 must lie"),
    (dict(outer__learning_rate=float("nan")), "outer.learning_rate=nan must be finite"),
    (dict(precision="bfloat16"), "precision='bfloat16'.*kip has none"),
    (dict(data__image_size=0, data__name="folder", data__path="."), "data.image_size=0"),
  ],
)
def test_impossible_settings_are_refused_with_their_value(tmp_path, changes, message):
  with pytest.raises(errors.EXPECTED, match=message):
    distill.run(_config(**changes), tmp_path / "run")
  assert (tmp_path / "run").exists() == ("resume_from" in changes)  # nothing left where refused


def test_an_unknown_word_or_name_behind_the_colon():
  with pytest.raises(ValueError, match="'smokey'.*smoke"):
    get_config("configs/kip.py:digits,smokey")
  with pytest.raises(ValueError, match="'icp'.*ipc"):
    get_config("configs/kip.py:digits,icp=3")
  with pytest.raises(ValueError, match="ipc='ten'.*int"):
    get_config("configs/kip.py:digits,ipc=ten")


def test_a_data_folder_without_the_set_and_no_network(tmp_path):
  config = _config("svhn_cropped", data__data_dir=str(tmp_path), data__download=False)
  with pytest.raises(errors.EXPECTED, match=f"svhn_cropped.*{tmp_path}|{tmp_path}.*svhn_cropped"):
    distill.run(config, tmp_path / "run")


def test_nan_in_images_names_the_image(tmp_path):
  images = np.random.default_rng(0).random((40, 4, 4, 1), np.float32)
  images[7, 2, 2] = np.nan
  np.savez(tmp_path / "mine.npz", images=images, labels=np.arange(40) % 2)
  config = _config(data__name="npz", data__path=str(tmp_path / "mine.npz"))
  with pytest.raises(errors.EXPECTED, match="7"):
    distill.run(config, tmp_path / "run")


def test_an_unwritable_workdir(tmp_path):
  (tmp_path / "file").write_text("in the way")
  with pytest.raises(errors.EXPECTED, match=str(tmp_path / "file")):
    distill.run(_config(), tmp_path / "file" / "run")


def test_a_full_disk_leaves_the_earlier_results(tmp_path, monkeypatch):
  distill.run(_config(), tmp_path)
  before = {
    path: path.read_bytes() for path in tmp_path.rglob("*") if path.suffix in (".npz", ".html")
  }

  def full(*_):
    raise OSError(28, "No space left on device")

  with monkeypatch.context() as patch:
    patch.setattr(atomic.os, "fsync", full)
    with pytest.raises(errors.EXPECTED, match="No space left on device"):
      distill.run(_config(outer__num_steps=8), tmp_path)
  for path, content in before.items():
    assert path.read_bytes() == content, path
  assert ddjax.load(tmp_path).info["step"] == 4
  distill.run(_config(outer__num_steps=8), tmp_path)
  assert ddjax.load(tmp_path).info["step"] == 8


def test_a_diverging_run_stops_and_keeps_what_it_had(tmp_path):
  distill.run(_config(), tmp_path)
  with pytest.raises(NonFiniteLossError, match="at step .*Last good checkpoint"):
    config = _config(outer__learning_rate=1e30)
    distill.run(config, tmp_path / "other")
  assert ddjax.load(tmp_path).info["step"] == 4


@pytest.mark.parametrize(
  "images, message",
  [
    (np.full((40, 4, 4), 77, np.uint8), "mine.npz: all 32 train images are equal|all 40"),
    (np.arange(40, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2) // 2 * 6, "the same"),
  ],
)
def test_images_that_tell_nothing_are_refused_before_anything_is_computed(
  tmp_path, images, message
):
  np.savez(tmp_path / "mine.npz", images=images, labels=np.arange(40) % 2)
  with pytest.raises(errors.EXPECTED, match=message):
    distill.run(_config("npz", data__path=str(tmp_path / "mine.npz")), tmp_path / "run")


def test_equal_images_of_a_class_are_a_singular_kernel(tmp_path):
  labels = np.arange(40) % 2
  images = np.full((40, 4, 4), 77, np.uint8) + labels[:, None, None].astype(np.uint8)
  np.savez(tmp_path / "mine.npz", images=images, labels=labels)
  config = _config("npz", data__path=str(tmp_path / "mine.npz"), ridge=1e-30)
  with pytest.raises(NonFiniteLossError, match="kernel matrix may be singular.*--config.ridge"):
    distill.run(config, tmp_path / "run")


def test_a_damaged_report_is_made_again(tmp_path):
  first = distill.run(_config(), tmp_path)
  for content in ("{", "[]", '{"run": 3}'):
    (tmp_path / "report.json").write_text(content)
    again = distill.run(_config(), tmp_path)
    on_disk = json.loads((tmp_path / "report.json").read_text())
    assert on_disk == json.loads(json.dumps(again.report))
    assert again.report["reports"]["kernel"] == first.report["reports"]["kernel"]


@pytest.mark.parametrize("fault", ["len(3)", "{}['gone']", "None.name"])
def test_a_config_file_that_fails_is_one_sentence(tmp_path, fault):
  (tmp_path / "mine.py").write_text(f"def get_config(arg=None):\n  return {fault}\n")
  done = _command(f"--config={tmp_path / 'mine.py'}", "--config.seed=1")
  assert done.returncode == 2 and "Traceback" not in done.stderr
  assert any(word in done.stderr for word in ("len()", "gone", "name"))


def test_two_processes_in_one_folder(tmp_path):
  with distill.RunFolder(tmp_path), pytest.raises(errors.EXPECTED, match="Another process"):
    distill.run(_config(), tmp_path)


@pytest.mark.parametrize(
  "arguments, message",
  [
    (["--config=configs/kop.py"], "kop.py"),
    (["--config=configs/kip.py:fake", "--config.outer.lerning_rate=1.0"], "learning_rate"),
    (["--config=configs/kip.py:fake", "--config.ridge=abc"], "abc"),
    (
      ["--config=configs/kip.py:fake", "--config.method.num_steps=300"],
      "unknown config field 'method.num_steps': method is 'kip', no group. Did you mean outer.num_",
    ),
    (
      ["--config=configs/study.py:smoke", "--config.axes.methd=('dm',)"],
      "unknown config field 'axes.methd'. Did you mean 'method'? Known: dataset, init, ipc,",
    ),
    (["--config=configs/kip.py:fake,ipc=99", "--workdir={tmp}"], "ipc=99"),
    ([], "--config"),
  ],
)
def test_the_command_line_says_it_in_one_sentence_and_fails(tmp_path, arguments, message):
  done = _command(*(argument.format(tmp=tmp_path) for argument in arguments))
  assert done.returncode != 0
  assert message in done.stderr + done.stdout
  assert "Traceback" not in done.stderr


def test_what_a_config_says_while_flags_are_read_is_shown_unless_asked_for_less():
  arguments = ["--config=configs/dsa.py:digits,ipc=5", "--dry_run"]
  words = "No settings for digits with ipc 5: those of ipc 1."
  assert words in _command(*arguments).stderr
  quiet = _command(*arguments, "--verbosity=-1")
  assert quiet.returncode == 0 and words not in quiet.stderr


def _command(*arguments):
  return subprocess.run(
    [sys.executable, "-m", "ddjax.main", *arguments],
    capture_output=True,
    text=True,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    cwd=pathlib.Path(__file__).parents[1],
  )
