"""What `pip install .` and a Dataflow worker get is the whole project."""

from __future__ import annotations

from projects import REPOSITORY
from setuptools import find_packages

ROOMS = ("data", "models", "pipeline", "schema", "serving")


def test_every_package_is_installed() -> None:
    folders = {
        ".".join(path.parent.relative_to(REPOSITORY).parts)
        for room in ROOMS
        for path in (REPOSITORY / room).rglob("__init__.py")
    }
    assert set(find_packages(str(REPOSITORY), include=[f"{room}*" for room in ROOMS])) == folders


def test_every_folder_with_code_is_a_package() -> None:
    for room in ROOMS:
        for path in (REPOSITORY / room).rglob("*.py"):
            if path.parent != REPOSITORY / "data" / "flights":  # a script, not a module
                assert (path.parent / "__init__.py").is_file(), path
