"""Evaluation of a set from disk, of the full set, and the choice of a snapshot; on fake data."""

import numpy as np
import pytest

from ddjax import registry
from ddjax.api import get_config
from ddjax.config import foreign_group
from ddjax.data.load import load_real_data
from ddjax.evaluators.kernel import make_kernel_fit
from ddjax.fitting.host import Watch
from ddjax.fitting.predictions import predict_classes
from ddjax.io.distilled import load_distilled, save_distilled
from ddjax.io.foreign.foreign_set import split_options
from ddjax.stages import evaluate
from ddjax.stages.prepare import prepare_saved
from ddjax.stages.run_folder import RunFolderError
from ddjax.stages.shadows import Shadows
from ddjax.tasks import distill, full_set
from ddjax.tasks import evaluate as task
from ddjax.types import DistilledSet, Report

_SMALL = dict(networks=("mlp",), width=2, num_epochs=2, num_seeds=2, augmentation="none")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("DDJAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    yield


def _config(file, **fields):
  config = get_config(f"configs/{file}")
  config.num_devices = 1
  config.accuracy_evaluation.update(_SMALL)
  config.update(fields)
  return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A distillation of fake data that holds out a validation split."""
  config = _config("kip.py:fake,ipc=2,smoke", choose_by="kernel", evaluators=("kernel",))
  config.data.validation_fraction = 0.25
  config.kernel.engine = "closed_form"  # neural-tangents takes a third of a run to trace
  folder = tmp_path_factory.mktemp("runs") / "kip"
  return config, folder, distill.run(config, folder).report


def test_the_validation_split_chooses_and_last_and_chosen_are_reported(run):
  config, folder, report = run
  real = load_real_data(config.data)
  assert len(real.validation_labels) == report["run"]["num_held_out"] > 0
  fit = make_kernel_fit(config, real.info, real.preprocessing)
  accuracies = {}
  for path in sorted((folder / "distilled" / "steps").iterdir()):
    saved = load_distilled(path)
    batch = DistilledSet(saved.images[None], saved.labels[None], saved.info)
    models = fit({"snapshot": batch})["snapshot"]["kernel"]
    classes = predict_classes(models, real.validation_images, real.max_value)
    accuracies[int(path.name)] = (classes == real.validation_labels).mean()
  best = max(accuracies, key=accuracies.get)
  assert report["run"]["chosen_steps"] == [best]
  assert report["run"]["chosen_by"] == "kernel"
  scalars = report["reports"]["kernel"]["scalars"]
  assert scalars["test_accuracy"] is not None and scalars["chosen_test_accuracy"] is not None
  assert "gain_over_random_chosen_test_accuracy" in scalars


def test_networks_choose_a_snapshot_while_robust_scores_are_asked_for(tmp_path):
  config = _config("kip.py:fake,ipc=2,smoke", choose_by="accuracy", evaluators=("accuracy",))
  config.data.validation_fraction = 0.25
  config.kernel.engine = "closed_form"
  config.curve.steps = (0, 20)
  config.accuracy_evaluation.use_robust_scores = True
  report = distill.run(config, tmp_path / "run").report
  assert report["run"]["chosen_steps"][0] in (0, 20)
  scalars = report["reports"]["accuracy"]["scalars"]
  assert scalars["augmentation_robust_score_mlp"] is not None
  assert scalars["label_robust_score_mlp"] is None  # there is no full set to compare with
  training = report["reports"]["accuracy"]["settings"]
  assert training["loss_by_label_kind"]["centred"] == "mse"
  assert "flip" not in training["training"].get("augmentation", "")


@pytest.mark.parametrize(
  "fields,message",
  [
    (dict(choose_by="kernel"), "validation_fraction"),
    (dict(choose_by="accuracy", evaluators=("kernel",)), "choose_by='accuracy'"),
    (dict(coreset_baselines=("herdin",)), "'herdin'"),
  ],
)
def test_impossible_choices_are_refused_before_anything_is_spent(tmp_path, fields, message):
  with pytest.raises(ValueError, match=message):
    distill.run(_config("kip.py:fake,smoke", **fields), tmp_path / "run")


def test_a_saved_set_beside_the_full_set_under_two_architectures(run, tmp_path):
  full = _config("full_set.py:fake,epochs=1")
  alone = full_set.run(full, tmp_path / "full").report
  accuracy = alone["reports"]["accuracy"]["scalars"]["mlp"]

  saved = load_distilled(run[1])
  info = dict(saved.info)
  del info["preprocessing"]
  whole = load_real_data(full.data)
  save_distilled(tmp_path / "whole", saved, info, whole.preprocessing)
  path = str(tmp_path / "whole")
  config = _config("evaluate.py:fake", distilled=path, coreset_baselines=("k_center",))
  config.accuracy_evaluation.full_epochs = 1
  config.accuracy_evaluation.networks = ("mlp", "mlp(width=3)")
  report = task.run(config, tmp_path / "one").report
  scalars = report["reports"]["accuracy"]["scalars"]
  assert scalars["full_mlp"] == accuracy  # from the cache: the same networks
  assert scalars["relative_mlp"] == pytest.approx(scalars["mlp"] / accuracy)
  assert scalars["k_center_mlp"] is not None and "gain_over_k_center_mlp" in scalars
  assert report["run"]["method"] == "kip" and report["run"]["ipc"] == 2
  again = task.run(config, tmp_path / "one").report
  assert again["reports"] == report["reports"]

  lines = (tmp_path / "one" / "architectures.csv").read_text().splitlines()
  assert lines[0] == "set,architecture,accuracy,low,high"
  assert [line.split(",")[:2] for line in lines[1:]] == [
    [name, network]
    for name in ("distilled", "random subset", "k-centre", "full set")
    for network in ("mlp", "mlp(width=3)")
    if (name, network) != ("full set", "mlp(width=3)")
  ]
  assert (tmp_path / "one" / "figures" / "architectures.png").stat().st_size > 0

  own = _config("evaluate.py:fake", distilled=str(run[1]))  # whose preprocessing is another one
  own.accuracy_evaluation.full_epochs = 1
  report = task.run(own, tmp_path / "own").report
  assert report["reports"]["accuracy"]["scalars"]["full_mlp"] is None

  changed = DistilledSet(saved.images + 1, saved.labels)
  save_distilled(run[1].parent / "other", changed, info, whole.preprocessing)
  config.distilled = str(run[1].parent / "other")
  with pytest.raises(RunFolderError, match="distilled"):
    task.run(config, tmp_path / "one")


def test_sets_that_do_not_suit_the_data_are_refused(run, tmp_path):
  saved = load_distilled(run[1])
  info = dict(saved.info)
  preprocessing = info.pop("preprocessing")
  wide = DistilledSet(saved.images, np.pad(saved.labels, ((0, 0), (0, 1))))
  save_distilled(tmp_path / "wide", wide, info, preprocessing)
  cases = {
    "evaluate.py:fake": (str(tmp_path / "wide"), "labels are 5 wide; fake has 4"),
    "evaluate.py:digits": (str(run[1]), "labels are 4 wide; digits has 10"),
  }
  for file, (path, message) in cases.items():
    with pytest.raises(ValueError, match=message):
      task.run(_config(file, distilled=path), tmp_path / "run")
  small = DistilledSet(saved.images[:, :4], saved.labels)
  save_distilled(tmp_path / "small", small, info, preprocessing)
  with pytest.raises(ValueError, match=r"\[4, 8, 1\].*\(8, 8, 1\)"):
    task.run(_config("evaluate.py:fake", distilled=str(tmp_path / "small")), tmp_path / "run")
  with pytest.raises(FileNotFoundError, match="nowhere"):
    task.run(_config("evaluate.py:fake", distilled="nowhere"), tmp_path / "run")
  with pytest.raises(ValueError, match="config.distilled is missing"):
    task.run(_config("evaluate.py:fake"), tmp_path / "run")
  config = _config("evaluate.py:fake", distilled=str(run[1]))
  config.accuracy_evaluation.protocol = "dcc"
  with pytest.raises(ValueError, match="'dcc'"):
    task.run(config, tmp_path / "run")


@pytest.fixture(scope="module")
def audited(run, tmp_path_factory):
  """An audit of two sets on fake data, one of them another project's file."""
  folder = tmp_path_factory.mktemp("audit")
  saved = load_distilled(run[1])
  pixels = np.asarray(saved.info["preprocessing"].inverse(saved.images))
  classes = saved.labels.argmax(axis=1)
  np.savez(folder / "theirs.npz", images=np.clip(pixels, 0, 1), labels=classes)
  config = _config("evaluate.py:fake,audit", distilled=f"{run[1]},{folder / 'theirs.npz'}")
  config.foreign.update(dict(preprocessing="standardise", space="pixels"))
  config.accuracy_evaluation.update(dict(full_epochs=1, full_seeds=1))
  config.evaluators = ("accuracy", "privacy", "fairness", "features")
  config.privacy.update(dict(num_splits=8, num_steps=3, full_epochs=1, num_bootstrap=20))
  config.privacy.attacks = ("loss", "lira")
  config.features.update(dict(num_real_shown=20, perplexity=3.0, num_permutations=19))
  return config, folder, task.run(config, folder / "run").report


def test_each_of_several_files_has_options_of_its_own(run, tmp_path):
  saved = load_distilled(run[1])
  pixels = np.clip(saved.info["preprocessing"].inverse(saved.images), 0, 1)
  classes = saved.labels.argmax(axis=1)
  np.savez(tmp_path / "pixels.npz", images=np.asarray(pixels), labels=classes)
  np.savez(tmp_path / "network.npz", images=np.asarray(saved.images), labels=classes)
  config = _config("evaluate.py:fake")
  config.distilled = (
    f"{run[1]},{tmp_path / 'pixels.npz'}#preprocessing=standardise#space=pixels,"
    f"{tmp_path / 'network.npz'}#preprocessing=none#space=network"
  )
  sources = task._sources_of(config)
  assert list(sources) == ["kip", "pixels.npz", "network.npz"]
  opened = task._open(sources, config)
  assert [label for label, one in opened.items() if one is None] == ["kip"]
  sets = task._load(sources, opened, load_real_data(config.data), config)
  kinds = {label: one.info["preprocessing"].kind for label, one in sets.items()}
  assert (kinds["pixels.npz"], kinds["network.npz"]) == ("standardise", "none")
  np.testing.assert_array_equal(sets["network.npz"].images, saved.images)


def test_networks_that_learned_nothing_are_told_with_what_to_look_at():
  settings = {"architectures": ["convnet", "mlp", "vgg11"]}
  scalars = {"convnet": 0.124, "mlp": 0.126, "vgg11": None}
  reports = {"accuracy": Report("accuracy", scalars, {}, {}, {}, {}, settings)}
  (sentence,) = task.near_chance(reports, 10)
  assert sentence.startswith("convnet learned next to nothing from the set: accuracy 0.124, chance")
  assert all(f"foreign.{field}" in sentence for field in ("preprocessing", "space", "label_kind"))
  assert task.near_chance({}, 10) == []
  (sentence,) = task.near_chance(reports, 10, {"step": 2})
  assert "distilled for 2 steps" in sentence and "foreign" not in sentence


@pytest.mark.parametrize(
  "text, words",
  [
    ("a.pt#preprocesing=none", "Did you mean 'preprocessing'"),
    ("a.pt#decode_factor=two", "decode_factor='two'"),
    ("a.pt#use_average=yes", "use_average='yes'"),
    ("a.pt#space=", "space=''"),
    ("a.pt#ipc=one", "ipc='one'"),
  ],
)
def test_wrong_options_of_a_file_are_named(text, words):
  with pytest.raises(ValueError, match=words):
    task._sources_of(_config("evaluate.py:fake", distilled=text))


def test_options_are_read_as_what_they_are_and_a_path_may_hold_the_sign(tmp_path):
  options = "#decode_factor=2#experiment=3#use_average=True#layout=npz"
  expected = {"decode_factor": 2, "experiment": 3, "use_average": True, "layout": "npz"}
  assert split_options("a.pt" + options) == ("a.pt", expected)
  (tmp_path / "b#space=pixels").touch()
  assert split_options(str(tmp_path / "b#space=pixels")) == (str(tmp_path / "b#space=pixels"), {})


def test_an_audit_puts_two_sets_side_by_side(audited):
  _, folder, report = audited
  assert [one["label"] for one in report["sets"]] == ["kip", "theirs.npz"]
  assert report["reports"] == report["sets"][0]["reports"]
  ours, theirs = (one["reports"] for one in report["sets"])
  assert set(ours) == set(theirs) == {"accuracy", "privacy", "fairness", "features"}
  for reports in (ours, theirs):
    for key in ("worst_class_accuracy", "accuracy_gap"):
      assert {key, f"random_subset_{key}", f"full_{key}"} <= set(reports["fairness"]["scalars"])
    assert reports["privacy"]["scalars"]["random_subset_loss_auc"] is not None
  assert ours["privacy"]["scalars"]["lira_auc"] is not None
  assert theirs["privacy"]["scalars"]["lira_auc"] is None
  assert "cannot be distilled again" in theirs["privacy"]["settings"]["left_out"]["lira"]
  page = (folder / "run" / "report.html").read_text()
  assert "theirs.npz" in page and "cannot be distilled again" in page
  assert "Test accuracy by class, with 95 % intervals: theirs.npz" in page
  assert "kip beside theirs.npz, on fake" in page and "difference" in page
  assert report["run"]["method"] == "kip, unknown" and report["run"]["ipc"] == 2
  assert report["run"]["sets"]["theirs.npz"]["preprocessing"] == "standardise"
  figures = {path.stem for path in (folder / "run" / "figures").iterdir()}
  alone = ("closest_pairs", "fairness", "features")  # what shows one set, a figure for each
  for label in ("kip", "theirs.npz"):
    assert {f"{name}-of-{label}" for name in alone} <= figures
    assert any(name.startswith("set_images") and name.endswith(label) for name in figures)
  assert "membership" in figures
  lines = (folder / "run" / "architectures.csv").read_text().splitlines()
  names = [line.split(",")[0] for line in lines[1:]]
  assert names[0] == "kip" and "theirs.npz" in names and "random subset of theirs.npz" in names
  assert not (folder / "run" / "fits").exists()
  with np.load(folder / "run" / "scores" / "kip" / "privacy.npz") as scores:
    assert scores["distilled/lira"].shape == scores["is_member"].shape
  assert not (folder / "run" / "scores" / "theirs.npz").exists()  # it cannot be distilled again


def test_a_finished_audit_is_not_run_again(audited, monkeypatch):
  config, folder, report = audited

  def refuse(*_, **__):
    raise AssertionError("a finished evaluation was run again")

  monkeypatch.setattr(task, "evaluate_saved", refuse)
  assert task.run(config, folder / "run").report == report


def test_the_kernel_that_a_set_was_made_for_is_attacked_too(run):
  saved = load_distilled(run[1])
  config = _config("evaluate.py:fake,audit")
  own = task._with_own_kernel(config, saved)
  assert own.evaluators[0] == "kernel" and own.ridge == run[0].ridge
  assert own.kernel.to_dict() == saved.info["config"]["kernel"]
  foreign = saved.replace(info=saved.info | {"config": {}})
  assert task._with_own_kernel(config, foreign).evaluators == config.evaluators
  config.evaluators = ("accuracy", "privacy")
  assert task._with_own_kernel(config, saved).evaluators == config.evaluators


@pytest.mark.parametrize(
  "networks, kinds",
  [((), ("kernel",)), (("mlp",), ("networks",)), (("kernel", "mlp"), ("kernel", "networks"))],
)
def test_what_is_named_is_fitted_to_be_attacked(networks, kinds):
  config = _config("evaluate.py:fake,audit")
  config.evaluators = ("kernel", "robustness")
  config.robustness.networks = networks
  assert registry.EVALUATORS["robustness"].kinds(config) == kinds


def test_finished_parts_of_an_audit_are_not_made_again(audited, run, tmp_path, monkeypatch):
  config, _, whole = audited
  config = config.copy_and_resolve_references()
  config.distilled, config.foreign = str(run[1]), foreign_group.foreign()

  def killed(config, info):
    def measure(*_):
      raise KeyboardInterrupt

    return measure

  broken = registry.EVALUATORS["features"]._replace(make=killed)
  with monkeypatch.context() as patch:
    patch.setitem(registry.EVALUATORS, "features", broken)
    with pytest.raises(KeyboardInterrupt):
      task.run(config, tmp_path / "run")
  assert len(list((tmp_path / "run" / "fits").glob("part-*.json"))) == 3

  def refuse(*_, **__):
    raise AssertionError("shadow runs were started again")

  monkeypatch.setattr(evaluate.shadows, "run_shadows", refuse)
  again = task.run(config, tmp_path / "run").report
  assert again["reports"] == whole["reports"]


@pytest.mark.parametrize(
  ("distilled", "message"),
  [(",", "config.distilled is missing"), ("a.npz,a.npz", "names a set twice")],
)
def test_lists_of_sets_that_make_no_sense_are_refused(distilled, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    task.run(_config("evaluate.py:fake", distilled=distilled), tmp_path / "run")


def test_every_set_has_shadow_runs_of_its_own(run, monkeypatch, tmp_path):
  config = _config("evaluate.py:fake,audit")
  real = load_real_data(config.data)
  saved = load_distilled(run[1])
  job = prepare_saved(config, tmp_path, real, saved)
  folders = []
  names = ("num_steps", "ipc", "init", "num_experts", "target_batch_size", "num_members")
  nothing = Shadows({}, None, None, dict.fromkeys(names))
  monkeypatch.setattr(
    evaluate.shadows, "run_shadows", lambda *args: folders.append(args[4]) or nothing
  )
  origin = evaluate.origin_of(saved)
  for changes in ({}, {"seed": 1}, {"ridge": 1e-3}, {}):
    other = origin.copy_and_resolve_references().unlock()
    other.update(changes)
    evaluate._context(job, {"distilled": saved}, Watch(), other).run_shadows()
  assert folders[0] == folders[3] and len(set(folders)) == 3


def test_a_set_of_an_older_version_is_not_distilled_again(run, tmp_path):
  config = _config("evaluate.py:fake,audit")
  saved = load_distilled(run[1])
  job = prepare_saved(config, tmp_path, load_real_data(config.data), saved)
  origin = evaluate.origin_of(saved)
  del origin.curve
  context = evaluate._context(job, {}, Watch(), origin)
  assert context.run_shadows is None and "another version" in context.why_not


def test_a_set_that_began_with_a_saved_one_is_distilled_again_from_another_start(run, tmp_path):
  config = _config("evaluate.py:fake,audit")
  saved = load_distilled(run[1])
  job = prepare_saved(config, tmp_path, load_real_data(config.data), saved)
  origin = get_config("configs/dm.py:fake,ipc=2")
  origin.synthetic.update(dict(init="saved", init_from="/gone"))
  context = evaluate._context(job, {}, Watch(), origin)
  assert context.run_shadows is None and "began with a saved one" in context.why_not
  job.config.privacy.init = "real"
  assert evaluate._context(job, {}, Watch(), origin).run_shadows is not None
  own = evaluate.shadows.shadow_config(origin, job.config.privacy)
  assert (own.synthetic.init, own.synthetic.init_from) == ("real", None)


def test_grids_are_decoded_for_the_copy_check_and_its_pictures(run, tmp_path):
  saved = load_distilled(run[1])
  info = {name: value for name, value in saved.info.items() if name != "preprocessing"}
  info |= {"decode_factor": 2, "config": {}}
  save_distilled(tmp_path / "grids", saved, info, saved.info["preprocessing"])
  config = _config("evaluate.py:fake", distilled=str(tmp_path / "grids"), evaluators=("privacy",))
  report = task.run(config, tmp_path / "run").report["reports"]["privacy"]
  pairs = report["settings"]["closest_pairs_pixels"]
  assert max(pair["synthetic"] for pair in pairs) >= len(saved.images)  # of four times as many
  assert report["scalars"]["loss_auc"] is not None
