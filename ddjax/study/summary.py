"""STAND-IN"""


def summarise(records, config):
  return {"cells": [{"name": n, **s} for n, s in records]}
