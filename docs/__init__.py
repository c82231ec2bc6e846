"""Sources of the documentation site; `docs.tools` makes its tables and its reference."""
