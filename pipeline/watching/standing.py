"""Where a pipeline stands: read off the reports of its runs and what lies in its source, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.runners.report import RunReport
from pipeline.watching.arrivals import Arrival


@dataclass(frozen=True)
class Standing:
    """What is done, and what is to be done."""

    done: int | None
    """The newest span that a run has ended for, with a push or at a gate."""
    due: tuple[int, ...]
    """Spans to run, in this order: the newest done one if its window's content is another now, then those after it."""
    changed: tuple[int, ...]
    """Spans of the newest done window whose content is another now."""
    unsettled: int | None
    """The span that is still being written and that what would be due next needs."""
    late: tuple[int, ...]
    """Spans that arrived inside the newest done window after it was done."""


def standing(
    arrivals: Sequence[Arrival],
    reports: Sequence[RunReport],
    train: int,
    first: int,
    content: Callable[[Arrival], str],
) -> Standing:
    """Compares what arrived with what was done.

    A span older than the newest done one never becomes due: its model would replace a newer one's.

    Args:
        arrivals: What lies in the source, by number.
        reports: Of all runs.
        train: How many spans a run trains on.
        first: No span before it becomes due.
        content: The fingerprint of a span.
    """
    done, known = newest_done(reports)
    contents = {each.number: content(each) for each in arrivals if each.number in known}
    changed = tuple(number for number in contents if contents[number] != known[number])
    late = tuple(each.number for each in arrivals if known and min(known) < each.number < max(known))
    due: list[int] = []
    unsettled = None
    for position, arrival in enumerate(arrivals):
        number = arrival.number
        is_open = done is None or number > done or (number == done and changed)
        if position == 0 or number < first or not is_open:  # before the first span there is nothing to train on
            continue
        window = arrivals[max(0, position - train) : position + 1]
        needed = (each for each in window if each.number not in known or each.number in changed)
        unsettled = next((each.number for each in needed if not each.is_settled), None)
        if unsettled is not None:
            break
        due.append(number)
    return Standing(done, tuple(due), changed, unsettled, tuple(each for each in late if each not in known))


def newest_done(reports: Sequence[RunReport]) -> tuple[int | None, dict[int, str]]:
    """The newest span that a run has ended for, and the window's contents in the last such run."""
    found = [(report.newest, report) for report in reports if report.has_decided]
    decided = [(newest, report.started, report.spans) for newest, report in found if newest is not None]
    if not decided:
        return None, {}
    newest, _, contents = max(decided, key=lambda each: each[:2])
    return newest, contents
