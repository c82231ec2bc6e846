"""`ddjax list`: what there is, one line each.

The lines are those that the code has anyway: the first one of a config file's or an evaluator's
docstring, and the table of data sets. What is added to ddjax appears here by itself.
"""

import importlib.util
import pathlib
from typing import Callable, Mapping

from ddjax.config.find import carried, first_line
from ddjax.config.read import load_file
from ddjax.data.facts import FACTS, Facts
from ddjax.wording import look_up

_OWN_DATA = {
  "npz": "your own images in an npz file: --config.data.path=FILE",
  "folder": "your own images in a folder for each class: --config.data.path=FOLDER",
  "digits": "8x8x1, 10 classes; comes with scikit-learn",
  "fake": "8x8x1, 4 classes; random images, to try things",
}


def methods() -> dict[str, str]:
  """{method that a config file of its name distils with: its line}."""
  from ddjax.registry import DISTILLERS

  return {name: first_line(path) for name, path in carried().items() if name in DISTILLERS}


def tasks() -> dict[str, str]:
  """{config file of another task: its line}; studies among them."""
  of_methods = methods()
  return {name: first_line(path) for name, path in carried().items() if name not in of_methods}


def data() -> dict[str, str]:
  """{data set: its size, and where it comes from}."""
  return {name: _OWN_DATA.get(name) or _facts_line(facts) for name, facts in FACTS.items()}


def _facts_line(facts: Facts) -> str:
  size = "x".join(map(str, facts.image_shape or ()))
  source = f"downloaded by TensorFlow Datasets, {facts.download_mb} MB"
  if facts.folder:
    source = f"the unpacked archive {facts.folder}: --config.data.path=FOLDER"
  return f"{size}, {facts.num_classes} classes; {source}"


def evaluators() -> dict[str, str]:
  """{evaluator: the first line of its module}."""
  from ddjax.registry import EVALUATORS

  found = {}
  for name in EVALUATORS:
    spec = importlib.util.find_spec(f"ddjax.evaluators.{name}")
    found[name] = first_line(pathlib.Path(spec.origin)) if spec and spec.origin else ""
  return found


def studies() -> dict[str, str]:
  """{preset of the config file `study`: its methods and data}."""
  presets = load_file(carried()["study"]).PRESETS
  lines = {name: _study_line(preset) for name, preset in presets.items()}
  return lines | {
    "kernels": first_line(carried()["kernel_ablation"]),
    "privacy": first_line(carried()["privacy"]),
  }


def _study_line(preset: Mapping) -> str:
  ipc = ", ".join(map(str, preset["ipc"]))
  return f"{preset['dataset']}; images a class: {ipc}; methods: {', '.join(preset['methods'])}"


SECTIONS: dict[str, tuple[str, Callable[[], dict[str, str]]]] = {
  "methods": ("Methods: ddjax --config=NAME, or --config=NAME:cifar10,ipc=10", methods),
  "tasks": ("Other tasks: ddjax --config=NAME", tasks),
  "data": ("Data sets: ddjax --config=kip:NAME", data),
  "evaluators": ("Evaluators: --config.evaluators=\"('kernel','accuracy')\"", evaluators),
  "studies": ("Studies: ddjax --config=study:NAME", studies),
}
"""{section: (its heading, () -> {name: line})}."""


def text(section: str = "") -> str:
  """The list for a terminal.

  Args:
    section: of `SECTIONS`; empty for all.
  Raises:
    ValueError: for an unknown section, with the nearest one.
  """
  if section:
    look_up(SECTIONS, section, "part of the list")
  blocks = []
  for name in [section] if section else SECTIONS:
    heading, find = SECTIONS[name]
    lines = find()
    width = max(map(len, lines))
    blocks.append("\n".join([heading, *(f"  {one:{width}}  {lines[one]}" for one in lines)]))
  return "\n\n".join(blocks)
