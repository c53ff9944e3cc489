"""When a span whose run failed is tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.watching.arrivals import Signature

_DELAYS = (60.0, 300.0, 900.0, 3600.0)
"""Seconds after the first failure, the second, …; the last for every one after it."""


@dataclass
class Retries:
    """Counts the failures of one span at a time: those after it wait for it.

    A restarted watch, and one that sees other files, begins anew: somebody may have mended the cause.

    Args:
        clock: Seconds, never going back.
    """

    clock: Callable[[], float]
    failures: int = 0
    _subject: tuple[int, Signature] | None = None
    _next: float = float("-inf")

    def seconds_left(self, span: int, files: Signature) -> float:
        """Until the next attempt; 0 if it is time."""
        if self._subject != (span, files):
            return 0.0
        return max(0.0, self._next - self.clock())

    def failed(self, span: int, files: Signature) -> float:
        """Counts a failure.

        Args:
            span: Whose run failed.
            files: That lay in the source when it began, up to this span.

        Returns:
            Seconds until the next attempt.
        """
        self.failures = self.failures + 1 if self._subject == (span, files) else 1
        self._subject = span, files
        delay = _DELAYS[min(self.failures, len(_DELAYS)) - 1]
        self._next = self.clock() + delay
        return delay
