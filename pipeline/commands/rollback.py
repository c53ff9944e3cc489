"""`headrace rollback`: servers answer from an older version again, and the newer ones never win again."""

from __future__ import annotations

from rich.console import Console

from pipeline.commands.canary import update_labels
from pipeline.config import PipelineConfig
from schema.errors import ExitCode, UsageError
from serving.rollback import PERSON, roll_back
from storage.places import at


def rollback(
    console: Console, config: PipelineConfig, to: int | None = None, reason: str = "none was given", by: str = PERSON
) -> ExitCode:
    """Rolls back every version that is newer than one; a candidate that is being tried as well.

    What acts by itself names the version that it goes back to: repeated, it changes nothing more, whereas without one
    each call goes back by another version.

    Args:
        console: Where to print.
        config: The pipeline.
        to: The version to go back to; None for the one before the newest.
        reason: Why, to be kept with the versions.
        by: Who or what decided, to be kept with them.

    Raises:
        UsageError: There is no such version to go back to, or the reason is empty.
    """
    base_path = at(config.push.path)
    if not reason.strip():
        raise UsageError("The reason is empty", where="--reason", expected="why the version is rolled back")
    done = roll_back(base_path, to, reason.strip(), by)
    update_labels(config, base_path)
    if not done.versions:
        console.print(
            f"Version {done.to} of {config.name} is the newest already; nothing was rolled back.", soft_wrap=True
        )
        return ExitCode.OK
    told = ", ".join(map(str, done.versions))
    which = f"version {told}" if len(done.versions) == 1 else f"versions {told}"
    console.print(
        f"Rolled back {which} of {config.name}: servers answer from version {done.to} once they have looked again "
        "and loaded it.",
        soft_wrap=True,
    )
    console.print(
        "The same model is not pushed again. "
        f"To bring it back: headrace promote {config.argument} {done.versions[-1]}.",
        soft_wrap=True,
    )
    return ExitCode.OK
