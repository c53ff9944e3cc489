"""Fingerprints of our own code, so that a change to it is never answered from the cache."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_PROJECT = Path(__file__).parent.parent


@cache
def code_fingerprint(*parts: str) -> str:
    """A short SHA-256 over the Python sources of modules or packages, given as paths below the project.

    Args:
        parts: Such as `models` or `serving/push.py`.
    """
    digest = hashlib.sha256()
    for part in parts:
        path = _PROJECT / part
        for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(source.relative_to(_PROJECT).as_posix().encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]
