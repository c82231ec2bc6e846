"""The list holds everything that can be run, and each has a line."""

import pytest

from ddjax.commands import catalogue
from ddjax.config.find import carried
from ddjax.config.read import load_file
from ddjax.data.facts import FACTS
from ddjax.registry import DISTILLERS, EVALUATORS


def test_everything_has_a_line():
  assert set(catalogue.methods()) == set(DISTILLERS)
  assert set(catalogue.methods()) | set(catalogue.tasks()) == set(carried())
  assert list(catalogue.data()) == list(FACTS)
  assert set(catalogue.evaluators()) == set(EVALUATORS)
  presets = load_file(carried()["study"]).PRESETS
  assert set(catalogue.studies()) == {*presets, "kernels", "privacy"} and "smoke" in presets
  for _, find in catalogue.SECTIONS.values():
    for name, line in find().items():
      assert 15 < len(line) < 120 and "\n" not in line, name


def test_lines_say_what_a_user_needs():
  assert catalogue.data()["cifar10"].startswith("32x32x3, 10 classes; downloaded")
  assert "imagenette2" in catalogue.data()["imagenette"]
  assert "(Nguyen et al. 2021)" in catalogue.methods()["kip"]
  assert catalogue.studies()["smoke"] == "digits; images a class: 1; methods: kip, dm, random"


def test_the_parts_are_those_of_the_text():
  whole = catalogue.text()
  for section, (heading, find) in catalogue.SECTIONS.items():
    part = catalogue.text(section)
    assert part in whole and part.startswith(heading)
    assert part.count("\n") == len(find())
  with pytest.raises(ValueError, match="'dta'. Did you mean 'data'"):
    catalogue.text("dta")
