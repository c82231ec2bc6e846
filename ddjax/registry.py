"""Names to factories: to add a method, add its line here."""

from typing import Callable

from ddjax.config.arguments import nearest
from ddjax.distillers.coreset import make_coreset
from ddjax.distillers.dm import make_dm
from ddjax.distillers.dsa import make_dsa
from ddjax.distillers.idc import make_idc
from ddjax.distillers.kip import make_kip
from ddjax.distillers.label_solve import make_label_solve
from ddjax.distillers.mtt import make_mtt
from ddjax.types import Distiller

DISTILLERS: dict[str, Callable[..., Distiller]] = {
  "coreset": make_coreset,
  "dc": make_dsa,
  "dm": make_dm,
  "dsa": make_dsa,
  "idc": make_idc,
  "kip": make_kip,
  "label_solve": make_label_solve,
  "mtt": make_mtt,
}


def look_up(table: dict, name: str, what: str):
  """The entry `name`; ValueError with the nearest known name where there is none."""
  if name not in table:
    raise ValueError(f"Unknown {what} {name!r}. {nearest(name, table)}")
  return table[name]
