"""Bad input, counted: what is passed over is in the report, whatever its amount."""

from __future__ import annotations

from monitoring.report import Problem


class Problems:
    """How often each problem was met, and where first."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, what: str, where: str, count: int = 1) -> None:
        """Counts a problem.

        Args:
            what: The kind, in words: problems of the same words are one.
            where: The place; that of the first is kept.
            count: How many of them.
        """
        before, first = self._found.get(what, (0, where))
        self._found[what] = (before + count, first)

    def merge(self, other: Problems) -> None:
        """Adds what another has counted, as met later."""
        for what, (count, where) in other._found.items():
            self.add(what, where, count)

    def found(self) -> tuple[Problem, ...]:
        """As the report holds them, in the order in which each kind was first met."""
        return tuple(Problem(what=what, count=count, where=where) for what, (count, where) in self._found.items())
