"""Which requests go to the candidate: a share of them, by the label `canary`."""

from __future__ import annotations

import hashlib
import random
import time

from serving.client.errors import INVALID_ARGUMENT, NOT_FOUND, ClientError

CANARY = "canary"
_UNKNOWN_LABEL = "Unrecognized servable version label"
_PAUSE_SECONDS = 1.0
"""So long is nothing asked of a candidate that was not there: most of the time there is none."""


class Split:
    """Divides requests between the stable version and the candidate.

    Args:
        share: Of the requests that the candidate answers, from 0 to 1.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._absent_until = 0.0

    def takes(self, key: str | bytes | None) -> bool:
        """Whether a request is the candidate's: by its key, whose side never changes, else at random."""
        if time.monotonic() < self._absent_until:
            return False
        return (random.random() if key is None else _position(key)) < self._share  # noqa: S311

    def absent(self, error: ClientError) -> bool:
        """Whether an error says that there is no candidate now, or no longer; it is remembered for a moment."""
        is_absent = error.code == NOT_FOUND or (error.code == INVALID_ARGUMENT and _UNKNOWN_LABEL in error.message)
        if is_absent:
            self._absent_until = time.monotonic() + _PAUSE_SECONDS
        return is_absent


def _position(key: str | bytes) -> float:
    """A number from 0 to 1 that is a key's own, the same in every process."""
    digest = hashlib.blake2b(key.encode() if isinstance(key, str) else key, digest_size=7).digest()
    return int.from_bytes(digest, "big") / (1 << 56)
