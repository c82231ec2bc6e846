"""What pyproject.toml cannot say: `configs/` is installed as the folder `ddjax/configs/`."""

from setuptools import find_packages, setup

setup(
  packages=[*find_packages(include=["ddjax", "ddjax.*"]), "ddjax.configs"],
  package_dir={"ddjax.configs": "configs"},
)
