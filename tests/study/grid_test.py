"""The grid of a study: which cells its axes stand for."""

from ml_collections import ConfigDict
import pytest

from ddjax.api import get_config
from ddjax.study import grid
from ddjax.tasks.registry import RUNS


@pytest.fixture
def config():
  return get_config("configs/study.py:smoke")


def _names(config, role=None):
  return [cell.name for cell in grid.cells_of(config) if role in (None, cell.role)]


def test_every_combination_is_a_cell_once_and_a_method_without_a_start_has_one(config):
  config.axes.init, config.axes.seed = ("real", "noise"), (0, 1)
  assert sorted(_names(config, "method")) == sorted(
    f"{method}-digits-ipc1-{init}-seed{seed}"
    for method in ("kip", "dm")
    for init in ("real", "noise")
    for seed in (0, 1)
  )
  assert _names(config, "baseline") == ["random-digits-ipc1-seed0", "random-digits-ipc1-seed1"]


def test_cells_come_after_what_they_need(config):
  config.pack_data = True
  before = set()
  for cell in grid.cells_of(config):
    assert set(cell.needs) <= before, cell.name
    before.add(cell.name)
  assert "full-digits-seed0" in before and "data-digits" in before


def test_a_cell_is_the_methods_own_run_judged_as_all_are(config):
  cells = {cell.name: cell for cell in grid.cells_of(config)}
  cell = cells["dm-digits-ipc1-real-seed1"]
  own = get_config("configs/dm.py:digits,ipc=1,smoke,seed=1")
  assert cell.config.outer.to_dict() == own.outer.to_dict() and cell.config.seed == 1
  shared = config.accuracy_evaluation.to_dict() | {"full_set": "train"}
  assert cell.config.accuracy_evaluation.to_dict() == shared
  assert cell.estimated_config.accuracy_evaluation.full_set == "cached"
  assert cell.config.evaluators == ("accuracy", "fairness")  # a kernel for kernel methods alone
  assert cells["kip-digits-ipc1-real-seed1"].config.evaluators == (
    "kernel", "accuracy", "fairness"
  )  # fmt: skip


def test_some_evaluators_are_for_the_first_seed_alone(config):
  config.evaluators, config.first_seed_only = ("accuracy", "privacy"), ("privacy",)
  found = {
    cell.factors["seed"]: cell.config.evaluators
    for cell in grid.cells_of(config)
    if cell.factors["method"] == "dm"
  }
  assert found == {0: ("accuracy", "privacy"), 1: ("accuracy",)}


def test_only_keeps_what_the_chosen_cells_need(config):
  config.only = "method=dm,seed=1"
  assert _names(config) == ["full-digits-seed1", "dm-digits-ipc1-real-seed1"]


def test_exclude_leaves_combinations_out(config):
  config.exclude = ("method=kip,seed=0", "method=dm,seed=1")
  assert sorted(_names(config, "method")) == [
    "dm-digits-ipc1-real-seed0", "kip-digits-ipc1-real-seed1",
  ]  # fmt: skip


def test_any_field_is_an_axis(config):
  config.axes.method, config.vary = ("dm",), ("outer.learning_rate=(0.1, 1.0)",)
  rates = {
    cell.factors["outer.learning_rate"]: cell.config.outer.learning_rate
    for cell in grid.cells_of(config)
    if cell.role == "method"
  }
  assert rates == {0.1: 0.1, 1.0: 1.0}
  assert "dm-digits-ipc1-real-outer.learning_rate=0.1-seed0" in _names(config)


def test_random_subsets_of_further_sizes_and_trainings_of_so_many_steps(config):
  config.axes.seed = (0,)
  assert _names(config, "curve") == [f"random-digits-ipc{ipc}-seed0" for ipc in (2, 5, 20)]
  steps = [cell for cell in grid.cells_of(config) if cell.role == "steps"]
  assert [cell.config.accuracy_evaluation.full_steps for cell in steps] == [10, 100]
  assert [cell.factors["steps"] for cell in steps] == [10, 100]


def test_fewer_classes_have_no_curves_of_their_own_beside_all_classes(config):
  config.axes.num_classes = (0, 5)
  of_five = [cell.role for cell in grid.cells_of(config) if cell.factors["num_classes"] == 5]
  assert set(of_five) == {"full", "method", "baseline"}


def test_target_batches_of_fewer_classes_are_as_large_as_these_allow(config):
  """KIP's 1000 of digits are more than the train examples of five of its classes."""
  config.axes.num_classes = (0, 5)
  found = {
    cell.factors["num_classes"]: cell.config.outer.target_batch_size
    for cell in grid.cells_of(config)
    if cell.factors["method"] == "kip" and cell.role == "method"
  }
  assert found == {None: 1000, 5: 0}


def test_experts_are_one_cell_for_all_that_follow_them():
  config = get_config("configs/study.py:digits,seeds=1")
  config.axes.method = ("mtt",)
  (experts,) = [cell for cell in grid.cells_of(config) if cell.role == "experts"]
  longest = max(
    config.plans[f"mtt-digits-ipc{ipc}"].outer.max_start_epoch
    + config.plans[f"mtt-digits-ipc{ipc}"].outer.expert_epochs
    for ipc in (1, 10)
  )
  assert experts.config.experts.num_epochs == longest
  followers = [cell for cell in grid.cells_of(config) if cell.role == "method"]
  assert len(followers) == 4 and all(experts.name in cell.needs for cell in followers)


def test_experts_of_datm_are_a_cell_that_can_be_run():
  config = get_config("configs/study.py:digits,seeds=1,methods=datm+mtt")
  cells = [cell for cell in grid.cells_of(config) if cell.role == "experts"]
  assert sorted(cell.name.split("-")[1] for cell in cells) == ["datm", "mtt"]
  of = {cell.name.split("-")[1]: cell.config for cell in cells}
  assert of["datm"].experts.num_epochs >= config.plans["datm-digits-ipc1"].synthetic.start_epoch
  for cell in cells:
    assert "train" in RUNS["experts"].estimate(cell.config).seconds


def test_networks_of_ncfm_are_a_cell_that_can_be_run():
  config = get_config("configs/study.py:digits,seeds=1,methods=ncfm")
  cells = grid.cells_of(config)
  (experts,) = [cell for cell in cells if cell.role == "experts"]
  assert experts.config.experts.num_epochs == config.plans["ncfm-digits-ipc1"].outer.network_epochs
  followers = [cell for cell in cells if cell.role == "method"]
  assert {cell.factors["init"] for cell in followers} == {"real", "noise"}
  assert len(followers) == 4 and all(experts.name in cell.needs for cell in followers)
  assert "train" in RUNS["experts"].estimate(experts.config).seconds


def test_baselines_come_once_for_every_kind_of_preprocessing():
  cells = grid.cells_of(get_config("configs/study.py:cifar10,seeds=1,methods=dm+mtt+random,ipc=1"))
  kinds = {
    (cell.role, cell.factors["preprocessing"]): cell.config.data.preprocessing for cell in cells
  }
  assert len(kinds) > 4
  of = {cell.factors["method"]: cell.factors["preprocessing"] for cell in cells}
  assert of["dm"] != of["mtt"]
  for role in ("full", "steps", "curve", "baseline"):
    assert {kind for name, kind in kinds if name == role} == {of["dm"], of["mtt"]}, role
  assert all(kind == made for (role, kind), made in kinds.items() if role != "data")
  names = [cell.name for cell in cells]
  assert len(set(names)) == len(names)
  assert all(
    cell.factors["preprocessing"] is None
    for cell in grid.cells_of(get_config("configs/study.py:digits,seeds=1"))
  )


def test_words_behind_the_colon_choose_methods_data_and_ipc():
  config = get_config("configs/study.py:smoke,methods=dm+herding,ipc=1+3,data=fake,seeds=1")
  names = [cell.name for cell in grid.cells_of(config) if cell.role in ("method", "baseline")]
  assert names == [
    "dm-fake-ipc1-real-seed0", "herding-fake-ipc1-seed0", "dm-fake-ipc3-real-seed0",
    "herding-fake-ipc3-seed0",
  ]  # fmt: skip


def test_a_method_of_no_preset_joins_a_study_by_its_name():
  config = get_config("configs/study.py:digits,seeds=1,methods=frepo+random")
  cells = grid.cells_of(config)
  names = [cell.name for cell in cells if cell.role == "method"]
  assert names == [
    f"frepo-digits-ipc{ipc}-{init}-seed0" for ipc in (1, 10) for init in ("real", "noise")
  ]
  config.preset_exclude = ()
  sizes = {
    cell.factors["num_classes"]: cell.config.outer.target_batch_size
    for cell in grid.cells_of(config)
    if cell.role == "method"
  }
  assert sizes == {None: 512, 5: 0}  # five classes have fewer examples


def test_a_kernel_ablation_tests_every_set_under_every_kernel():
  config = get_config("configs/kernel_ablation.py:fake,smoke")
  variants = config.axes.variant
  assert len(variants) == 12 and not any("convnet" in name for name in variants)
  transfers = [cell for cell in grid.cells_of(config) if cell.role == "transfer"]
  assert [cell.factors["variant"] for cell in transfers] == list(variants)
  assert all(len(cell.sets) == 12 for cell in transfers)
  (rbf,) = [cell for cell in transfers if cell.factors["variant"] == "rbf"]
  assert rbf.config.kernel.family == "rbf" and rbf.config.evaluators == ("kernel",)
  made = next(cell for cell in grid.cells_of(config) if cell.factors["variant"] == "fc2-nngp")
  assert (made.config.kernel.family, made.config.kernel.depth) == ("fc", 2)


def test_the_privacy_study_has_a_cell_for_every_method_ipc_and_start():
  config = get_config("configs/privacy.py:digits,splits=16")
  names = _names(config)
  assert len(names) == len(set(names)) == 2 * 2 * 2 + 2
  expected = {"dm-digits-ipc1-real-seed0", "kip-digits-ipc10-noise-seed0"}
  assert expected | {"dm-digits-ipc1-real-5classes-seed0"} <= set(names)
  assert config.privacy.num_splits == 16
  for cell in grid.cells_of(config):
    assert cell.config.outer.num_steps <= 300 and cell.config.privacy.max_experts == 0


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    (dict(only="method=kip,init=None"), "The grid has no cells"),
    (dict(only="methd=dm"), "Unknown axis 'methd'.*Did you mean 'method'"),
    (dict(only="dm"), "'dm' in 'dm' is not of the form AXIS=VALUE"),
    (dict(exclude=("ipc=1",)), "The grid has no cells"),
    (dict(axes=dict(seed=())), "The grid has no cells: axes.seed is empty"),
    (dict(axes=dict(ipc=(3,))), "no plan 'kip-digits-ipc3'; methods, data sets and ipcs"),
    (
      dict(vary=("outer.learning_rat=(1,)",)),
      "a field 'outer.learning_rat' to vary. Did you mean one of 'outer.learning_rate', .{,90}$",
    ),
    (dict(vary=("outer.learning_rate=1",)), "not of the form FIELD="),
    (dict(vary=("outer.learning_rate=(__import__('os'),)",)), "not of the form FIELD="),
  ],
)
def test_impossible_grids_are_refused(config, changes, words):
  config.subset_ipcs = config.real_steps = ()
  config.update(changes)
  with pytest.raises(ValueError, match=words):
    grid.cells_of(config)


def test_unknown_axes_methods_and_variants_are_refused(config):
  with config.axes.unlocked():
    config.axes.method = ("dm", "frepo")
  with pytest.raises(ValueError, match="no plan 'frepo-digits-ipc1'"):
    grid.cells_of(config)
  config.axes.method, config.axes.variant = ("dm",), ("wide",)
  with pytest.raises(ValueError, match="Unknown variant 'wide'"):
    grid.cells_of(config)
  config.axes = ConfigDict(config.axes.to_dict() | {"variant": "wide"})
  with pytest.raises(ValueError, match=r"axes.variant='wide' must be a tuple"):
    grid.cells_of(config)
