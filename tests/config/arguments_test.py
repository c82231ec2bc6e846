"""What stands behind the colon, the tables, and what a resumed run may change."""

import pytest

from ddjax.api import get_config
from ddjax.config import arguments, compare, tables
from ddjax.stages.run_folder import default_workdir

DEFAULTS = dict(dataset="digits", ipc=10, rate=0.5)


def test_words_and_values():
  parsed = arguments.parse_argument("cifar10, ipc=50,smoke", DEFAULTS, ("smoke", "curve"))
  assert parsed == dict(dataset="cifar10", ipc=50, rate=0.5, smoke=True, curve=False)
  assert arguments.parse_argument(None, DEFAULTS) == DEFAULTS
  assert arguments.parse_argument("ipc=3", DEFAULTS)["dataset"] == "digits"


@pytest.mark.parametrize(
  "argument, message",
  [
    ("cifar10,ipc=ten", "ipc='ten'"),
    ("cifar10,icp=3", "'icp'.*Did you mean 'ipc'"),
    ("cifar10,mnist", "'mnist'"),
    ("ipc=1,ipc=2", "'ipc' stands twice"),
  ],
)
def test_wrong_words_are_named(argument, message):
  with pytest.raises(ValueError, match=message):
    arguments.parse_argument(argument, DEFAULTS)


def test_tables_go_from_general_to_special_and_take_the_nearest_ipc():
  table = {
    (None, None): dict(a=1, b=1, c=1),
    ("mnist", None): dict(b=2, c=2),
    ("mnist", 1): dict(c=3),
    ("mnist", 50): dict(c=4),
  }
  assert tables.settings_for(table, "cifar10", 1) == dict(a=1, b=1, c=1)
  assert tables.settings_for(table, "mnist", 1) == dict(a=1, b=2, c=3)
  assert tables.settings_for(table, "mnist", 40) == dict(a=1, b=2, c=4)


def test_lengths_are_free_unless_a_schedule_depends_on_them():
  old = compare.plain(get_config("configs/kip.py:digits"))
  new = compare.plain(get_config("configs/kip.py:digits"))
  new["outer"]["num_steps"], new["trainer"]["log_every_steps"] = 7, 3
  assert compare.differing_fields(old, new) == []
  new["outer"]["schedule"] = old["outer"]["schedule"] = "cosine"
  assert compare.differing_fields(old, new) == ["outer.num_steps: 300 -> 7"]
  new["ridge"] = 0.5
  assert "ridge: 1e-06 -> 0.5" in compare.differing_fields(old, new)
  del new["augment"]
  assert "augment.flip: False -> None" in compare.differing_fields(old, new)


def test_run_folders_are_named_by_what_sets_them_apart():
  config = get_config("configs/kip.py:mnist,ipc=1,seed=3")
  assert str(default_workdir(config)) == "runs/kip-mnist-ipc1-seed3"
  curve = get_config("configs/kip.py:cifar10,ipc=10,curve")
  assert str(default_workdir(curve)) == "runs/kip-cifar10-ipc10-curve-seed0"
  config.ridge = 0.1
  one = default_workdir(config, ["ridge"])
  config.ridge = 0.2
  other = default_workdir(config, ["ridge"])
  assert one != other and one.name.startswith("kip-mnist-ipc1-seed3-")
  assert default_workdir(config, ["seed", "evaluators"]).name == "kip-mnist-ipc1-seed3"


def test_words_of_a_derived_config_are_taken_out():
  own, rest = arguments.split_words("mnist, ipc=10,base = dm,smoke,bias=0.9", ("base", "bias"))
  assert own == "base = dm,bias=0.9" and rest == "mnist,ipc=10,smoke"
  assert arguments.split_words(None, ("base",)) == ("", "")
  assert arguments.split_words("base", ("base",)) == ("", "base")  # a data set of that name
