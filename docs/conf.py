"""The documentation site: `python -m sphinx -W --keep-going docs OUT` from the checkout's root."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from docs.tools import fields, notebooks, reference  # noqa: E402

project = "ddjax"
author = "the authors of ddjax"
copyright = "2026, the authors of ddjax"
release = reference.version(ROOT)
extensions = ["myst_parser", "docs.tools.mathml"]
exclude_patterns = ["tools", "_build"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# Types in signatures are linked by their last name, which several modules may have.
suppress_warnings = ["ref.python"]

html_math_renderer = "mathml"

html_theme = "furo"
html_title = f"ddjax {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def write_made_pages(app):
  """Pages that are made from the code and from notebooks; git does not hold them."""
  rooms = app.config.reference_rooms.split(",") if app.config.reference_rooms else None
  made = {
    "reference": reference.pages(ROOT, rooms) | fields.pages(ROOT),
    "notebooks": notebooks.pages(ROOT),
  }
  for part, pages in made.items():
    folder = pathlib.Path(app.srcdir) / part / "made"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
      path = folder / f"{name}.md"
      if not path.exists() or path.read_text() != text:
        path.write_text(text)


def setup(app):
  """Makes those pages before anything is read.

  `-D reference_rooms=distillers,kernels` writes out these folders only, for a quick build.
  """
  app.add_config_value("reference_rooms", "", "env")
  app.connect("builder-inited", write_made_pages)
