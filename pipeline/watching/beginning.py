"""Where a watch began, and that there is one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.runners.lock import run_lock
from pipeline.runners.report import RunReport
from pipeline.watching.arrivals import Arrival
from pipeline.watching.standing import newest_done
from schema.errors import LockedError

_FIRST_SPAN = "first_span"


def watch_folder(home: Path) -> Path:
    """Holds the lock, the first span, and what the last run printed."""
    return home / "watch"


@contextmanager
def watch_lock(home: Path) -> Iterator[None]:
    """Holds the pipeline for one watch. The kernel frees the lock when the process ends, however it ends.

    Raises:
        LockedError: Another watch holds it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(run_lock(watch_folder(home)))
        except LockedError as error:
            raise LockedError(
                "Another watch of this pipeline is under way",
                where=error.where,
                received=error.received,
                mend="One is enough. Stop it first, to watch with other options.",
            ) from None
        yield


def is_run_under_way(home: Path) -> bool:
    """Whether a run holds the pipeline."""
    try:
        with run_lock(home):
            return False
    except LockedError:
        return True


def first_span(home: Path, arrivals: Sequence[Arrival], reports: Sequence[RunReport], given: int | None) -> int:
    """The span before which nothing becomes due: the one given, now or to an earlier watch, or the latest.

    What is chosen for a pipeline that has done nothing is written down, so that a watch which is killed before its
    first span is done does not begin at a later one.
    """
    path = watch_folder(home) / _FIRST_SPAN
    if given is None and path.is_file():
        return int(path.read_text())
    if given is None and newest_done(reports)[0] is not None:
        return 0
    number = arrivals[-1].number if given is None else given
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(str(number))
    unfinished.replace(path)
    return number
