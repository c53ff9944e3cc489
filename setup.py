"""Lets `pip install .` and a Dataflow worker build the project; all metadata is in pyproject.toml."""

from setuptools import setup

setup()
