"""Settings of a study that cannot be meant: a sentence that names field and value."""

import copy
import functools
import re

from ml_collections import ConfigDict
import pytest

from ddjax.api import get_config
from ddjax.study import grid

PRESETS = (
  *(f"study.py:{name}" for name in ("smoke", "digits", "mnist", "cifar10", "kernels", "privacy")),
  "study.py:digits,methods=dm+frepo+random,ipc=1,seeds=1",
  "study.py:cifar10,methods=dm+random,ipc=1",
  "kernel_ablation.py:fake,smoke",
  "privacy.py:digits,smoke",
)


@pytest.fixture(scope="module")
def smoke():
  return get_config("configs/study.py:smoke")


def _changed(config, **changes):
  config = copy.deepcopy(config).unlock()  # with the types of absent fields
  for name, value in changes.items():
    *groups, last = name.split("__")
    group = functools.reduce(lambda one, part: one[part], groups, config)
    if last in group:
      del group[last]  # whatever its type
    group[last] = value
  return config


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_cells_in_smaller_grids_too(name):
  config = get_config(f"configs/{name}")
  assert grid.cells_of(config)
  for axis in ("method", "ipc", "init", "num_classes", "seed"):
    for values in (config.axes[axis][:1], config.axes[axis][-1:]):
      assert grid.cells_of(_changed(config, **{f"axes__{axis}": values})), (axis, values)


def test_what_a_user_leaves_out_comes_besides_what_the_preset_leaves_out():
  config = get_config("configs/study.py:digits,seeds=1")
  names = {cell.name for cell in grid.cells_of(config)}
  config.exclude = ("method=mtt,init=noise",)
  left = {cell.name for cell in grid.cells_of(config)}
  assert left < names and all("mtt" in name and "noise" in name for name in names - left)


@pytest.mark.parametrize(
  ("changes", "sentence"),
  [
    (dict(max_minutes=-1.0), "max_minutes=-1.0 must be at least 0."),
    (dict(max_cell_minutes=-0.5), "max_cell_minutes=-0.5 must be at least 0."),
    (dict(max_attempts=0), "max_attempts=0 must be at least 1."),
    (dict(patience_seconds=-5.0), "patience_seconds=-5.0 must be at least 1."),
    (dict(patience_seconds=0.0), "patience_seconds=0.0 must be at least 1."),
    (dict(num_random_subsets=0), "num_random_subsets=0 must be at least 1."),
    (dict(estimate_for="h2"), "Unknown estimate_for='h2'. Did you mean 'h200'?"),
    (dict(accuracy_evaluation__full_set="trained"), "Unknown accuracy_evaluation.full_set='tra"),
    (dict(accuracy_evaluation__full_epochs=-3), "accuracy_evaluation.full_epochs=-3 must be at "),
    (dict(fairness__num_bootstrap=1), "fairness.num_bootstrap=1 must be at least 2."),
    (dict(privacy__num_splits=3), "privacy.num_splits=3 must be at least 4."),
    (dict(privacy__member_fraction=0.0), "privacy.member_fraction=0.0 must be positive."),
    (dict(privacy__member_fraction=1.0), "privacy.member_fraction=1.0 must be less than 1."),
    (dict(privacy__max_steps=ConfigDict(dict(dm=-1))), "privacy.max_steps.dm=-1 must be at least"),
    (dict(privacy__init="noies"), "Unknown privacy.init='noies'. Did you mean 'noise'?"),
    (dict(privacy__predictor="kernels"), "Unknown privacy.predictor='kernels'. Did you mean"),
    (dict(robustness__index_weight=1.5), "robustness.index_weight=1.5 must be at most 1."),
    (dict(robustness__pgd__relative_step=0.0), "robustness.pgd.relative_step=0.0 must be"),
    (dict(axes__num_classes=(3.5, -1)), "axes.num_classes=(3.5, -1): 3.5 must be a whole number"),
    (dict(axes__num_classes=(5, -1)), "axes.num_classes=(5, -1): -1 must be a whole number from 0"),
    (dict(axes__num_classes=(0, None)), "axes.num_classes=(0, 0) names 0 twice."),
    (dict(axes__ipc=(0,)), "axes.ipc=(0,): 0 must be a whole number from 1."),
    (dict(axes__ipc=(True,)), "axes.ipc=(True,): True must be a whole number from 1."),
    (dict(axes__ipc=("1",)), "axes.ipc=('1',): '1' must be a whole number from 1."),
    (dict(axes__ipc=(1, 1)), "axes.ipc=(1, 1) names 1 twice."),
    (dict(axes__seed=(-1,)), "axes.seed=(-1,): -1 must be a whole number from 0."),
    (dict(axes__seed=(0, 0)), "axes.seed=(0, 0) names 0 twice."),
    (dict(axes__method=(1,)), "axes.method=(1,): 1 must be a name."),
    (dict(axes__method=("dm", "dm")), "axes.method=('dm', 'dm') names 'dm' twice."),
    (dict(axes__dataset=(None,)), "axes.dataset=(None,): None must be a name."),
    (dict(axes__init=("real", 2)), "axes.init=('real', 2): 2 must be a name."),
    (dict(axes__variant=(1,)), "axes.variant=(1,): 1 must be a name."),
    (dict(axes__steps=(1,)), "Unknown axis 'steps'. "),
    (dict(real_steps=(-5,)), "real_steps=(-5,): -5 must be a whole number from 1."),
    (dict(real_steps=(10, 10)), "real_steps=(10, 10) names 10 twice."),
    (dict(subset_ipcs=(0,)), "subset_ipcs=(0,): 0 must be a whole number from 1."),
    (dict(subset_ipcs=(2.5,)), "subset_ipcs=(2.5,): 2.5 must be a whole number from 1."),
    (dict(evaluators=("acuracy",)), "Unknown name 'acuracy' in evaluators. Did you mean"),
    (dict(first_seed_only=("xx",)), "Unknown name 'xx' in first_seed_only. "),
    (dict(claims_attacks=("lora",)), "Unknown name 'lora' in claims_attacks. Did you mean 'lira'?"),
    (dict(privacy__attacks=("los",)), "Unknown name 'los' in privacy.attacks. Did you"),
    (dict(robustness__attacks=("pgd",)), "Unknown name 'pgd' in robustness.attacks. "),
    (dict(robustness__corruptions=("blr",)), "Unknown name 'blr' in robustness.corruptions. "),
    (dict(evaluators=(3,)), "evaluators=(3,): 3 must be a text."),
    (dict(exclude=(5,)), "exclude=(5,): 5 must be a text."),
    (dict(vary=(5,)), "vary=(5,): 5 must be a text."),
    (dict(exclude=("method=dmm",)), "exclude='method=dmm': no cell has method=dmm. Did"),
    (dict(exclude=("method=dm,seed=7",)), "no cell has seed=7. Known: 0, 1."),
    (dict(exclude=("method=full set",)), "no cell has method=full set. "),
    (dict(exclude=(" ",)), "' ' names no axis; a filter has the form AXIS=VALUE."),
    (dict(only="method=mtt"), "only='method=mtt': no cell has method=mtt. "),
    (dict(only="steps=11"), "only='steps=11': no cell has steps=11. "),
    (dict(only=","), "',' names no axis; a filter has the form AXIS=VALUE."),
  ],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(smoke, changes, sentence):
  with pytest.raises(ValueError, match="(^|: )" + re.escape(sentence)):
    grid.cells_of(_changed(smoke, **changes))


@pytest.mark.parametrize(
  ("texts", "sentence"),
  [
    (['outer.learning_rate=("a",)'], "vary: outer.learning_rate=('a',): 'a' must be a float."),
    (["outer.learning_rate=(True,)"], "outer.learning_rate=(True,): True must be a float."),
    (["outer.learning_rate=(None, 0.1)"], "(None, 0.1): None cannot be varied"),
    (["outer.learning_rate=(1e999,)"], "(inf,): inf must be finite."),
    (["outer.learning_rate=(1, 1.0)"], "(1, 1.0) names 1.0 twice."),
    (["outer.num_steps=(2.5,)"], "vary: outer.num_steps=(2.5,): 2.5 must be an int."),
    (["data.channels=(3,)"], "(3,): 3 must be a str."),  # a field without a value
    (["accuracy_evaluation.num_epochs=(0.5,)"], "(0.5,): 0.5 must be an int."),
    (["outer.schedule=(1,)"], "(1,): 1 must be a str."),
    (["data.download=(1,)"], "(1,): 1 must be a bool."),
    (
      ["outer.learning_rate=(0.1,)", "outer.learning_rate=(1.0,)"],
      "vary names 'outer.learning_rate' twice; give it all values at once.",
    ),
    (['data.name=("mnist",)'], "data.name=('mnist',): an axis sets that field; use axes.dataset."),
    (["data.num_classes=(5,)"], "an axis sets that field; use axes.num_classes."),
    (["synthetic.ipc=(2,)"], "an axis sets that field; use axes.ipc."),
    (['synthetic.init=("noise",)'], "an axis sets that field; use axes.init."),
    (["seed=(1,)"], "an axis sets that field; use axes.seed."),
    (['method=("kip",)'], "an axis sets that field; use axes.method."),
    (['coreset.method=("herding",)'], "an axis sets that field; use axes.method."),
    (["num_replicas=(2,)"], "num_replicas=(2,): the study sets that field of its cells itself."),
    (['accuracy_evaluation.full_set=("none",)'], "the study sets that field of its cells itself."),
  ],
)
def test_further_axes_that_cells_cannot_take_are_refused(smoke, texts, sentence):
  with pytest.raises(ValueError, match=re.escape(sentence)):
    grid.cells_of(_changed(smoke, vary=tuple(texts)))


def test_further_axes_take_values_of_the_fields_type(smoke):
  texts = ("outer.learning_rate=(1, 0.5)", "data.max_train_examples=(100, 200)")
  cells = grid.cells_of(_changed(smoke, vary=texts, axes__method=("dm",), full_set=False))
  rates = {cell.config.outer.learning_rate for cell in cells if cell.role == "method"}
  assert rates == {1.0, 0.5}


def test_a_kind_of_preprocessing_that_is_a_factor_is_no_further_axis():
  text = "data.preprocessing=('none', 'standardise')"
  config = get_config("configs/study.py:cifar10,seeds=1,methods=dm+mtt+random,ipc=1")
  with pytest.raises(ValueError, match="the study sets that field of its cells itself"):
    grid.cells_of(_changed(config, vary=(text,)))
  config = get_config("configs/study.py:smoke,seeds=1")
  assert grid.cells_of(_changed(config, vary=(text,)))


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    (dict(ridge="a"), "variants.mine: ridge='a': 'a' must be a float."),
    (dict(seed=3), "variants.mine: seed=3: an axis sets that field; use axes.seed."),
    (dict(kernel=dict(famly="rbf")), "No method here has a field 'kernel.famly'"),
  ],
)
def test_variants_are_checked_as_further_axes_are(fields, sentence):
  config = get_config("configs/kernel_ablation.py:fake,smoke")
  config = _changed(config, variants=ConfigDict(dict(mine=fields)), axes__variant=("mine",))
  with pytest.raises(ValueError, match=re.escape(sentence)):
    grid.cells_of(config)
  fine = ConfigDict(dict(mine=dict(ridge=0.5)))
  with pytest.raises(ValueError, match="the variant 'mine' sets that field too"):
    grid.cells_of(_changed(config, variants=fine, vary=("ridge=(0.1, 1.0)",)))


def test_filters_name_what_cells_differ_in(smoke):
  """All classes are 0, as in the axis; lengths of trainings are not left out by a filter."""
  for only in ("num_classes=0", "num_classes=None"):
    smoke.only = only
    assert grid.cells_of(smoke)
  smoke.only = ""
  smoke.exclude = ("steps=10",)
  with pytest.raises(ValueError, match="exclude='steps=10': .* left out by real_steps"):
    grid.cells_of(smoke)
