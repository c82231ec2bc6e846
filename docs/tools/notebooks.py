"""Pages of the notebooks in `notebooks/`, with the outputs that lie in them: nothing is run."""

from html import escape
import json
import pathlib
import re
from typing import Any

_FENCE = "`````"
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_RUN_LINK = re.compile(r'<a href="runs/[^"]*">(.*?)</a>', re.S)


def pages(root: pathlib.Path) -> dict[str, str]:
  """{name: Markdown} of every notebook, for pages in `docs/notebooks/made/`.

  Raises:
    ValueError: for a notebook with a code cell that was not run, or that failed.
  """
  return {path.stem: page(path) for path in sorted((root / "notebooks").glob("*.ipynb"))}


def page(path: pathlib.Path) -> str:
  """One notebook as Markdown; see `pages`."""
  parts = [_cell(cell, path) for cell in json.loads(path.read_text())["cells"]]
  file = f"*This page is the notebook* `notebooks/{path.name}`*.*"
  return "\n\n".join([parts[0], file, *parts[1:]]) + "\n"


def _cell(cell: dict[str, Any], path: pathlib.Path) -> str:
  source = "".join(cell["source"])
  if cell["cell_type"] == "markdown":
    return _LINK.sub(lambda match: f"]({_target(match['target'])})", source)
  if cell["execution_count"] is None:
    raise ValueError(f"{path.name}: the cell `{source.splitlines()[0]}` was not run.")
  outputs = [_output(output, path) for output in cell["outputs"]]
  return "\n\n".join([_block("python", source), *outputs])


def _target(target: str) -> str:
  """A link of a notebook, as seen from its page."""
  if target.startswith("../docs/"):
    return "../../" + target.removeprefix("../docs/")
  return re.sub(r"^(\w+)\.ipynb", r"\1.md", target)


def _output(output: dict[str, Any], path: pathlib.Path) -> str:
  """A picture where there is one, else HTML, else text."""
  if output["output_type"] == "error":
    raise ValueError(f"{path.name}: a cell ends in {output['ename']}: {output['evalue']}")
  if output["output_type"] == "stream":
    return _block("text", "".join(output["text"]))
  data = {kind: "".join(value) for kind, value in output["data"].items()}
  plain = data.get("text/plain", "")
  if "image/png" in data:
    png = data["image/png"].replace("\n", "")
    return _html(f'<img src="data:image/png;base64,{png}" alt="{escape(plain)}">')
  if "text/html" in data:  # the run folder is not part of the site
    return _html(_RUN_LINK.sub(r"\1", data["text/html"]))
  return _block("text", plain)


def _block(kind: str, text: str) -> str:
  return f"{_FENCE}{kind}\n{text.rstrip()}\n{_FENCE}"


def _html(text: str) -> str:
  return _block("{raw} html", f'<div class="notebook-output">\n{text}\n</div>')
