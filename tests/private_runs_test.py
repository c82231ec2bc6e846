"""Private runs from config to card: what is refused on a resume, and where the secret may stand."""

import json
import logging

import jax
import numpy as np
import pytest

import ddjax
from ddjax import errors
from ddjax.api import get_config
from ddjax.data.pool import make_pool
from ddjax.io.export import export_set
from ddjax.stages import shadows
from ddjax.stages.prepare import load, prepare
from ddjax.stages.run_folder import RunFolderError, default_workdir
from ddjax.tasks import distill, evaluate, start
from ddjax.training import trainer

_SECRET = 1234567890123456789


def _config(method="dp_kip", **changes):
  config = get_config(f"configs/{method}.py:fake,ipc=1,smoke")
  small = {
    "num_devices": 1, "evaluators": ("kernel",), "num_random_subsets": 2,
    "trainer.tensorboard": False, "kernel_evaluation.num_bootstrap": 20, "curve.models": "none",
    "guarantee.noise_seed": _SECRET,
  }  # fmt: skip
  changes = {name.replace("__", "."): value for name, value in changes.items()}
  config.update_from_flattened_dict(small | changes)
  return config


@pytest.mark.parametrize(
  "changes, message",
  [
    (dict(guarantee__epsilon=0.0), "guarantee.epsilon=0.0"),
    (dict(synthetic__init="real"), "synthetic.init='real'"),
    (dict(data__preprocessing="zca_kip"), "data.preprocessing='zca_kip'"),
    (dict(synthetic__init="kmeans"), "synthetic.init='kmeans'"),
    (dict(choose_by="kernel", data__validation_fraction=0.2), "choose_by='kernel'"),
    (dict(resume_from="elsewhere"), "resume_from='elsewhere'"),
  ],
)
def test_what_would_break_the_guarantee_is_refused_before_data_are_read(
  tmp_path, monkeypatch, changes, message
):
  monkeypatch.setattr("ddjax.stages.prepare.load_real_data", None)
  with pytest.raises(errors.EXPECTED, match=message):
    distill.run(_config(**changes), tmp_path / "run")
  assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """The folder of a finished run and what it returned."""
  folder = tmp_path_factory.mktemp("private") / "run"
  return folder, distill.run(_config(), folder)


def test_a_report_holds_the_guarantee_and_the_private_random_set(finished):
  report = json.loads((finished[0] / "report.json").read_text())
  kernel = report["reports"]["kernel"]
  assert 0 <= kernel["scalars"]["private_random_accuracy"] <= 1
  gain = kernel["scalars"]["test_accuracy"] - kernel["scalars"]["private_random_accuracy"]
  assert kernel["scalars"]["gain_over_private_random_test_accuracy"] == pytest.approx(gain)
  found = ddjax.load(finished[0]).info["guarantee"]
  assert found["epsilon"] == 10.0 and 9.9 <= found["spent_epsilon"] <= 10.0
  assert "private random set" in (finished[0] / "report.html").read_text()


def test_the_card_states_the_guarantee(finished, tmp_path):
  export_set(finished[0], tmp_path / "out", "npz")
  card = (tmp_path / "out" / "README.md").read_text()
  privacy = card.split("## Privacy\n")[1].split("## Licence")[0]
  for words in (
    "1e-05)-differentially private",
    "added or removed",
    "Not covered",
    "cryptographic",
  ):
    assert words in privacy, words
  assert str(_SECRET) not in card


def test_the_secret_stands_in_the_config_of_the_run_alone(finished):
  holders = [
    path.name
    for path in finished[0].rglob("*")
    if path.is_file() and str(_SECRET).encode() in path.read_bytes()
  ]
  assert holders == ["config.json"]
  info = ddjax.load(finished[0]).info
  assert info["config"]["guarantee"]["noise_seed"] is None
  assert info["guarantee"]["has_secret_noise_seed"]


def test_no_hash_of_the_real_images_is_published(finished):
  real = load(_config())
  holders = {
    path.relative_to(finished[0]).parts[0]
    for path in finished[0].rglob("*")
    if path.is_file() and real.fingerprint.encode() in path.read_bytes()
  }
  assert holders <= {"report.json", "report.html"}  # which the guarantee does not cover
  for path in (finished[0], finished[0] / "distilled" / "steps" / "00000000"):
    info = ddjax.load(path).info
    assert info["real_data_hash"] is None and info["member_hash"] is None


def test_a_finished_run_with_a_secret_is_found_finished(finished, caplog):
  before = (finished[0] / "report.json").stat().st_mtime_ns
  distill.run(_config(), finished[0])
  assert (finished[0] / "report.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
  "changes, message",
  [
    (dict(guarantee__epsilon=1.0), r"guarantee.epsilon: 10.0 -> 1.0"),
    (dict(guarantee__delta=1e-6), r"guarantee.delta: 1e-05 -> 1e-06"),
    (dict(guarantee__noise_seed=5), "guarantee.noise_seed: another one"),
    (dict(outer__num_steps=9), r"outer.num_steps: 5 -> 9"),
  ],
)
def test_resumed_with_another_guarantee_is_refused(finished, changes, message):
  with pytest.raises(RunFolderError, match=message) as caught:
    distill.run(_config(**changes), finished[0])
  assert str(_SECRET) not in str(caught.value)


def test_a_stopped_run_goes_on_with_the_noise_of_its_steps(finished, tmp_path, monkeypatch):
  class _Stop:
    """Asks to stop once two steps are done."""

    asked = 0

    def __bool__(self):
      type(self).asked += 1
      return type(self).asked > 2

  changes = dict(trainer__steps_per_call=1)
  with monkeypatch.context() as patch:
    patch.setattr(distill, "distill", _stopping(distill.distill, _Stop()))
    with pytest.raises(trainer.PreemptedError):
      distill.run(_config(**changes), tmp_path)
  distill.run(_config(**changes), tmp_path)
  one, other = ddjax.load(tmp_path), ddjax.load(finished[0])
  np.testing.assert_array_equal(one.images, other.images)


def _stopping(fn, request):
  return lambda job, stop: fn(job, request)


def test_another_secret_is_other_noise_from_the_same_start(finished, tmp_path):
  distill.run(_config(guarantee__noise_seed=5), tmp_path)
  first, other = (ddjax.load(path / "distilled" / "steps" / "00000000") for path in (
    finished[0], tmp_path
  ))  # fmt: skip
  np.testing.assert_array_equal(first.images, other.images)
  assert np.abs(ddjax.load(finished[0]).images - ddjax.load(tmp_path).images).max() > 0.01


@pytest.mark.slow
def test_a_seed_that_is_no_secret_and_a_large_delta_are_warned_of(tmp_path, caplog):
  logging.getLogger("absl").propagate = True
  changes = dict(guarantee__noise_seed=None, guarantee__delta=0.02, outer__num_steps=1)
  with caplog.at_level("WARNING"):
    distill.run(_config(**changes), tmp_path)
  assert "take it away" in caplog.text and "delta=0.02 is above 1/N" in caplog.text


def test_splits_of_an_audit_share_their_draws_but_not_their_noise(tmp_path):
  config = _config()
  config.privacy.num_splits = 4
  real = load(config)
  own = shadows.shadow_config(config, config.privacy)
  job = prepare(own, tmp_path, make_pool(real, own.data))
  state = job.initial_state()
  assert state.rng.shape == () and job.layout.shares_draws
  words = np.asarray(jax.random.key_data(state.extra)).tolist()
  assert len(words) == 4 and len(set(map(tuple, words))) == 4
  guarantee = job.distiller.guarantee
  assert 9.9 <= guarantee["spent_epsilon"] <= 10.0  # of each by itself, as the set has it
  assert guarantee["num_members"] <= 0.6 * job.real.info.num_train
  promise = {"epsilon": guarantee["spent_epsilon"], "delta": guarantee["delta"]}
  assert shadows.promise_of(job) == {"promise": promise}


def test_a_private_set_from_disk_has_its_private_random_set_beside_it(finished, tmp_path):
  config = get_config("configs/evaluate.py:fake")
  changes = {
    "distilled": str(finished[0]), "evaluators": ("kernel",), "num_random_subsets": 2,
    "kernel.engine": "closed_form", "num_devices": 1,
  }  # fmt: skip
  config.update_from_flattened_dict(changes)
  evaluate.run(config, tmp_path)
  found = json.loads((tmp_path / "report.json").read_text())["reports"]["kernel"]["scalars"]
  before = json.loads((finished[0] / "report.json").read_text())["reports"]["kernel"]["scalars"]
  assert found["private_random_accuracy"] == before["private_random_accuracy"]


def test_neither_a_dry_run_nor_the_name_of_the_folder_tells_the_secret(capsys):
  config = _config()
  start.start(config, dry_run=True, overridden=["guarantee.noise_seed"])
  text = capsys.readouterr().out
  assert str(_SECRET) not in text and "(set, and not shown)" in text
  assert config.guarantee.noise_seed == _SECRET
  named = default_workdir(config, ["guarantee.noise_seed"])
  assert named == default_workdir(_config(guarantee__noise_seed=7), ["guarantee.noise_seed"])
  assert named != default_workdir(config)
