"""Pages of notebooks: cells, outputs and links as Markdown."""

import json

import pytest

from docs.tools import notebooks
from tests.docs import pages


def _write(folder, *cells):
  path = folder / "a.ipynb"
  path.write_text(json.dumps({"cells": [{"metadata": {}, **cell} for cell in cells]}))
  return path


def _code(*outputs, source="x", count=1):
  return {"cell_type": "code", "source": [source], "execution_count": count, "outputs": outputs}


def _data(**kinds):
  data = {name.replace("_", "/"): [text] for name, text in kinds.items()}
  return {"output_type": "execute_result", "data": data}


_TITLE = {"cell_type": "markdown", "source": ["# T\n", "[a](../docs/x/y.md) [b](other.ipynb)"]}


def test_cells_links_and_outputs_become_markdown(tmp_path):
  stream = {"output_type": "stream", "name": "stdout", "text": ["one\n", "two\n"]}
  table = _data(text_html='<b>1</b> <a href="runs/x/report.html">Report</a>', text_plain="no")
  picture = _data(image_png="iVBOR\nw0KG", text_plain="<Picture>")
  path = _write(tmp_path, _TITLE, _code(stream, table), _code(picture, _data(text_plain="'w'")))
  assert notebooks.page(path).splitlines() == [
    "# T", "[a](../../x/y.md) [b](other.md)", "",
    "*This page is the notebook* `notebooks/a.ipynb`*.*", "",
    "`````python", "x", "`````", "",
    "`````text", "one", "two", "`````", "",
    "`````{raw} html", '<div class="notebook-output">', "<b>1</b> Report", "</div>", "`````", "",
    "`````python", "x", "`````", "",
    "`````{raw} html", '<div class="notebook-output">',
    '<img src="data:image/png;base64,iVBORw0KG" alt="&lt;Picture&gt;">', "</div>", "`````", "",
    "`````text", "'w'", "`````",
  ]  # fmt: skip


def test_a_cell_that_was_not_run_or_failed_is_named(tmp_path):
  with pytest.raises(ValueError, match="a.ipynb: the cell `import ddjax` was not run"):
    notebooks.page(_write(tmp_path, _TITLE, _code(source="import ddjax", count=None)))
  error = {"output_type": "error", "ename": "KeyError", "evalue": "'x'"}
  with pytest.raises(ValueError, match="a.ipynb: a cell ends in KeyError: 'x'"):
    notebooks.page(_write(tmp_path, _TITLE, _code(error)))


def test_every_notebook_has_a_page_that_the_index_names():
  index = (pages.ROOT / "docs/notebooks/index.md").read_text()
  made = notebooks.pages(pages.ROOT)
  assert set(made) == {"quickstart", "audit_a_set", "add_a_method"}
  for name, text in made.items():
    assert index.count(f"made/{name}") == 2 and text.count("`````python") > 5
