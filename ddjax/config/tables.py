"""Settings per (data set, ipc): tables in config files, looked up here."""

from typing import Any, Mapping

from absl import logging

Key = tuple[str | None, int | None]


def settings_for(table: Mapping[Key, Mapping[str, Any]], dataset: str, ipc: int) -> dict[str, Any]:
  """Merges a table's rows for a data set and ipc, the more general ones first.

  Args:
    table: {(dataset or None, ipc or None): {field: value}}; None means any.
    dataset: name.
    ipc: images per class.
  Returns:
    The rows (None, None), (dataset, None) and (dataset, ipc) merged, later ones winning. An ipc
    that the table lacks takes the row of the nearest ipc that it has for the data set.
  """
  known = [key_ipc for name, key_ipc in table if name == dataset and key_ipc is not None]
  nearest_ipc = min(known, key=lambda other: (abs(other - ipc), other), default=None)
  if nearest_ipc not in (None, ipc):
    logging.info("No settings for %s with ipc %d: those of ipc %d.", dataset, ipc, nearest_ipc)
  merged: dict[str, Any] = {}
  for key in dict.fromkeys([(None, None), (dataset, None), (dataset, nearest_ipc)]):
    merged.update(table.get(key, {}))
  return merged
