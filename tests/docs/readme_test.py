"""The README: its length, its first commands, its picture, its table."""

import pathlib
import re
import subprocess
import sys

import pytest

from ddjax.registry import DISTILLERS
from docs.tools import blocks, methods
from tests.docs import pages

_MADE = ["h200 published", *(f"cpu {name}" for name in methods.cpu_tables())]
README = (pages.ROOT / "README.md").read_text()


def test_it_is_short():
  assert len(README.splitlines()) <= 150


def test_the_two_set_up_commands_come_first():
  commands = [command.text for command in pages.commands(pages.ROOT / "README.md")]
  assert commands[:2] == ["bash launch/local.sh --config=configs/kip.py", "bash launch/test.sh"]
  assert README.index(commands[0]) < 600


def test_it_has_one_picture_of_moderate_size():
  pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", README)
  assert len(pictures) == 1 and len(pictures[0][0]) > 20  # with a text for those who do not see it
  content = (pages.ROOT / pictures[0][1]).read_bytes()
  assert content.startswith(b"\x89PNG") and len(content) < 300_000


def test_every_method_has_an_entry():
  shown = {re.match(r"configs/(\w+)\.py", one["config"])[1] for one in methods.methods()}
  assert set(DISTILLERS) <= shown
  names = [one["name"] for one in methods.methods()]
  assert len(names) == len(set(names)) and all(name in README for name in names)
  for one in methods.methods():
    assert f"`{one['config']}`" in README
    if "page" in one:
      assert (pages.ROOT / f"docs/methods/{one['page']}.md").exists()


def test_its_figures_stand_in_the_tables_of_results():
  made = [blocks.made(name) for name in _MADE]
  found = re.findall(r"−?\.\d{3} \[[^\]]+\]", README)
  assert len(found) > 15
  assert [figure for figure in found if not any(figure in table for table in made)] == []


@pytest.mark.slow
def test_its_runs_can_be_estimated(tmp_path):
  commands = [command.text for command in pages.commands(pages.ROOT / "README.md")]
  runs = [text.split()[2:] for text in commands if text.startswith("bash launch/local.sh")]
  distils = [run for run in runs if not any("distilled=" in word for word in run)]
  assert len(distils) >= 3
  for run in distils:
    result = subprocess.run(
      [sys.executable, "-m", "ddjax.main", *run, "--dry_run", f"--workdir={tmp_path}"],
      cwd=pathlib.Path(pages.ROOT), capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-1000:]
    assert "Estimate: " in result.stdout
