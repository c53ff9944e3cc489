"""Checks of what a user gives: refused here with the platform's rule, not there after an upload."""

from __future__ import annotations

import re

from schema.errors import UsageError


def require_matching(text: str, pattern: str, where: str, expected: str, mend: str | None = None) -> str:
    """The text itself, if all of it matches.

    Args:
        text: What was given.
        pattern: A regular expression of the platform.
        where: The option, or the name that was made from one.
        expected: The rule in words.
        mend: What to do about it.

    Raises:
        UsageError: It does not.
    """
    if re.fullmatch(pattern, text) is None:
        raise UsageError("The platform refuses this text", where=where, expected=expected, received=text, mend=mend)
    return text


def require_replicas(fewest: int, most: int) -> None:
    """Refuses bounds that no number of replicas is between.

    Raises:
        UsageError: The most are fewer than the fewest.
    """
    if most < fewest:
        raise UsageError(
            "The most replicas are fewer than the fewest",
            where="--max-replicas",
            expected=f"{fewest} or more",
            received=str(most),
        )


def beside(push_path: str, platform: str) -> str:
    """A folder of the same bucket for what a platform wants otherwise than it was pushed."""
    url = push_path.rstrip("/")
    is_whole_bucket = url.count("/") < 3
    return f"{url}/{platform}" if is_whole_bucket else f"{url}-{platform}"
