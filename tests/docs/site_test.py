"""The site builds without a network, and warnings are errors."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from tests.docs import pages

_NEEDED = ("sphinx", "myst_parser", "furo", "latex2mathml")
_ABSENT = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(_ABSENT), reason=f"{_ABSENT} of requirements-docs.txt absent")


def _build(tmp_path, *options) -> str:
  nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
  command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-E",
             "-d", str(tmp_path / "trees"), *options, "docs", str(tmp_path / "site")]  # fmt: skip
  result = subprocess.run(
    command, cwd=pages.ROOT, capture_output=True, text=True, env=os.environ | nowhere
  )
  assert result.returncode == 0, result.stderr[-3000:]
  return (tmp_path / "site/index.html").read_text()


def _check(tmp_path, html):
  assert "<title>ddjax" in html and "First runs" in html
  kip = (tmp_path / "site/methods/kip.html").read_text()
  assert "<math" in kip and "<mfrac" in kip and "$$" not in kip
  assert ".525 [.516, .535]" in kip
  for page in (html, kip):
    loaded = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"([^\"]+)\"", page)
    assert loaded and not [link for link in loaded if link.startswith(("http", "//"))]


def test_the_site_builds_with_one_folder_of_the_reference(tmp_path):
  html = _build(tmp_path, "-D", "reference_rooms=distillers")
  _check(tmp_path, html)
  made = (tmp_path / "site/reference/made/distillers.html").read_text()
  assert "make_dm" in made


@pytest.mark.slow
def test_the_whole_site_builds(tmp_path):
  _check(tmp_path, _build(tmp_path))
  assert "clopper_pearson" in (tmp_path / "site/reference/made/statistics.html").read_text()


@pytest.mark.parametrize("latex", [r"\frac{1}{2} \lVert x \rVert", r"\theta_{i+1}"])
def test_formulas_become_mathml(latex):
  from docs.tools import mathml

  made = mathml.convert(latex, "inline")
  assert made.startswith("<math") and "\\" not in made


@pytest.mark.parametrize("latex", [r"\arg x", r"\left( x"])
def test_a_wrong_formula_stops_the_build(latex):
  from sphinx.errors import ExtensionError

  from docs.tools import mathml

  with pytest.raises(ExtensionError, match="formula"):
    mathml.convert(latex, "block")
