"""What `ddjax` does besides running a config: `list`, `show`, `completion`."""

from ddjax.commands.command import run

__all__ = ["run"]
