"""Links between pages, to files and to headings, and paths that are named."""

import pathlib
import re
from typing import Iterator

import pytest

from tests.docs import pages

ROOT = pages.ROOT
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_PATH = re.compile(r"(?:ddjax|configs|tests|docs|launch|benchmarks)/[\w./-]*\w")
_NOT_YET = ("docs/_build", "ddjax/x")
_CAPITALS = re.compile(r"(?<![A-Za-z])(?:METHOD|AXIS|TASK|NAME|TASKS|OUT)(?![A-Za-z])")


def _prose(text: str) -> str:
  return re.sub(r"`[^`\n]*`", lambda span: "x" * len(span[0]), pages.FENCE.sub("", text))


def _links(text: str) -> list[str]:
  """Targets of links and pictures, code left out."""
  joined = re.sub(r"\[([^\]\n]*)\n\s*([^\]]*)\]", r"[\1 \2]", _prose(text))
  return _LINK.findall(joined)


def _slugs(text: str) -> set[str]:
  """Anchors of the headings, as GitHub and MyST make them."""
  found: dict[str, int] = {}
  anchors = set()
  for heading in re.findall(r"^#{1,6} (.+)$", pages.FENCE.sub("", text), re.M):
    plain = re.sub(r"`|\*\*|\\", "", heading.strip()).lower()
    slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
    anchors.add(f"{slug}-{found[slug]}" if slug in found else slug)
    found[slug] = found.get(slug, 0) + 1
  return anchors


def _target_text(path: pathlib.Path) -> str | None:
  """What a link's path leads to: its text, also of pages that the build makes; None for nothing."""
  name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
  if name in pages.made_pages():
    return pages.made_pages()[name]
  if not path.exists():
    return None
  return path.read_text() if path.suffix == ".md" else ""


def _dead(path: pathlib.Path, text: str) -> Iterator[str]:
  """The links of a file that lead nowhere."""
  for link in _links(text):
    if link.startswith(("https://", "http://")):
      if re.search(r"example\.|localhost", link):
        yield link
      continue
    target, _, anchor = link.partition("#")
    found = _target_text((path.parent / target).resolve()) if target else text
    if found is None or (anchor and anchor not in _slugs(found)):
      yield link


def test_no_link_is_dead():
  texts = {path: path.read_text() for path in pages.sources()}
  texts |= {ROOT / name: text for name, text in pages.made_pages().items() if "/notebooks/" in name}
  dead = {str(path.relative_to(ROOT)): list(_dead(path, text)) for path, text in texts.items()}
  assert {name: links for name, links in dead.items() if links} == {}
  assert sum(len(_links(text)) for text in texts.values()) > 150


@pytest.mark.parametrize(
  "text",
  [
    "[a](nothing.md)",
    "[a](docs/index.md#nothing)",
    "![a](docs/images/nothing.png)",
    "[two\nlines](nothing.md)",
    "[a](docs/reference/made/nothing.md)",
  ],
)
def test_a_dead_link_is_found(text):
  assert len(list(_dead(ROOT / "README.md", text))) == 1


def test_living_links_are_not_dead():
  text = "[a](docs/start/own_data.md#one-file) [b](#c-d) `[no](link.md)`\n\n# C: d\n"
  assert list(_dead(ROOT / "README.md", text)) == []
  assert _slugs("## The study's page, `x_y`\n## A\n## A\n") == {"the-studys-page-x_y", "a", "a-1"}


def test_paths_in_code_spans_exist():
  gone = set()
  for path in pages.sources():
    if path.name == "reproduction.md":  # tells of files as they were
      continue
    for span in pages.spans(path.read_text()):
      if _PATH.fullmatch(span) and not _CAPITALS.search(span) and not span.startswith(_NOT_YET):
        if not (ROOT / span).exists():
          gone.add((str(path.relative_to(ROOT)), span))
  assert gone == set()


def test_pages_that_the_code_names_exist():
  gone = set()
  for folder in ("ddjax", "configs", "launch", "benchmarks"):
    for path in [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.sh")]:
      for name in re.findall(r"\bdocs/[\w./-]+\.(?:md|json|toml|png)\b", path.read_text()):
        if not (ROOT / name).exists():
          gone.add((str(path.relative_to(ROOT)), name))
  assert gone == set()


def test_every_page_is_in_the_table_of_contents():
  index = (ROOT / "docs/index.md").read_text()
  assert re.search(r"^made/\*$", (ROOT / "docs/reference/index.md").read_text(), re.M)
  for path in pages.sources():
    name = path.relative_to(ROOT).with_suffix("")
    if name.parts[0] == "docs" and name.name != "index":
      assert re.search(rf"^{re.escape('/'.join(name.parts[1:]))}$", index, re.M), name
