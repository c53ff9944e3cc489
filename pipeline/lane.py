"""The two dependency lanes, and everything in which they differ.

| lane | Python | glibc | TFX | TensorFlow |
| --- | --- | --- | --- | --- |
| tfx-1.16 | 3.10 | any | 1.16 | 2.16 |
| tfx-1.21 | 3.11 to 3.13 | 2.39 or newer | 1.21 | 2.21 |
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Lane:
    """A set of versions that were tried together; the exact ones are in uv.lock."""

    name: str
    tfx: str
    python: str
    """Of the images that are made in it."""
    beam: str
    oldest_glibc: tuple[int, int]


TFX_116 = Lane("tfx-1.16", "1.16.0", "3.10", "2.65.0", (2, 17))
TFX_121 = Lane("tfx-1.21", "1.21.0", "3.13", "2.73.0", (2, 39))


def current_lane() -> Lane:
    """The lane of the running interpreter."""
    return TFX_116 if sys.version_info < (3, 11) else TFX_121


def glibc_version() -> tuple[int, int] | None:
    """The C library's version, or None where it is not glibc."""
    name, version = platform.libc_ver()
    if name != "glibc":
        return None
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
