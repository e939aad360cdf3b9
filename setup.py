"""All metadata are in setup.cfg. Only the list of packages is computed here: `find:` in setup.cfg cannot map the folder
`recipes/`, which is beside the package, to `kerastl.recipes`."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["kerastl", "kerastl.*"]), "kerastl.recipes"])
