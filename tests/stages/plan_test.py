"""The evaluators of a run are planned before anything is spent."""

import importlib.util

import pytest

from benchmarks.accelerator import check
from ddjax.api import get_config
from ddjax.data.load import load_real_data
from ddjax.registry import EVALUATORS
from ddjax.stages.evaluate import MissingPackageError
from ddjax.tasks import distill


@pytest.fixture
def lacking(monkeypatch):
  """Makes packages missing: (name, ...)."""
  plain = importlib.util.find_spec

  def lack(*names):
    monkeypatch.setattr(
      importlib.util, "find_spec", lambda name, *rest: None if name in names else plain(name, *rest)
    )

  return lack


def test_a_missing_package_is_refused_before_anything_is_computed(lacking, tmp_path):
  lacking("jax_privacy")
  config = get_config("configs/kip.py:fake,smoke")
  config.evaluators = ("kernel", "privacy")
  with pytest.raises(MissingPackageError, match="'privacy' needs jax_privacy, which is not inst"):
    distill.run(config, tmp_path / "run")
  assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("colour_bias,needed", [(None, ()), (0.9, ("fairlearn",))])
def test_fairness_needs_fairlearn_where_there_are_groups(colour_bias, needed):
  config = get_config("configs/kip.py:digits,smoke")
  if colour_bias is not None:
    config.data.colour_bias = colour_bias
  assert EVALUATORS["fairness"].needs(load_real_data(config.data)) == needed


def test_the_check_names_what_it_leaves_out(lacking):
  lacking("jax_privacy")
  row = check.run_row("evaluator privacy", {})
  assert row == {"ok": False, "problem": "left out: jax_privacy is not installed", "done": False}
