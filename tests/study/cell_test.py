"""Cells and their names."""

from ml_collections import ConfigDict

from ddjax.study.cell import AXES, Cell, name_of

_NOTHING = dict.fromkeys((*AXES, "preprocessing"))


def test_a_name_holds_the_factors_that_apply_and_is_a_folder_anywhere():
  factors = _NOTHING | {"method": "dm", "dataset": "digits", "ipc": 1, "seed": 0}
  assert name_of(factors) == "dm-digits-ipc1-seed0"
  assert (
    name_of(factors | {"init": "noise", "num_classes": 5}) == "dm-digits-ipc1-noise-5classes-seed0"
  )
  assert name_of(factors | {"outer.learning_rate": 0.1}) == (
    "dm-digits-ipc1-outer.learning_rate=0.1-seed0"
  )
  assert "/" not in name_of(factors | {"variant": "a/b c"})


def test_preprocessing_is_in_the_names_of_cells_that_are_of_no_method():
  factors = _NOTHING | {"dataset": "mnist", "seed": 0, "preprocessing": "published"}
  assert name_of(factors | {"method": "full"}) == "full-mnist-published-seed0"
  assert name_of(factors | {"method": "steps10"}) == "steps10-mnist-published-seed0"
  assert name_of(factors | {"method": "dm", "ipc": 1}) == "dm-mnist-ipc1-seed0"


def test_cells_that_differ_in_the_seed_alone_cost_the_same():
  config = ConfigDict({"evaluators": ("accuracy",)})
  one, two, other = (
    Cell("name", "method", "distill", {"method": "dm", "seed": seed, "ipc": ipc}, config)
    for seed, ipc in ((0, 1), (1, 1), (0, 10))
  )
  assert one.cost_key == two.cost_key != other.cost_key
