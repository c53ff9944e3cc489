"""The one exception of the client, and retries."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

UNAVAILABLE = "UNAVAILABLE"
DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
INVALID_ARGUMENT = "INVALID_ARGUMENT"
FAILED_PRECONDITION = "FAILED_PRECONDITION"
NOT_FOUND = "NOT_FOUND"
UNKNOWN = "UNKNOWN"

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


class ClientError(Exception):
    """A request that has no answer.

    Args:
        code: A status of gRPC by name, over REST too: UNAVAILABLE, INVALID_ARGUMENT, …
        message: The server's, or what kept the client from asking it.
        where: The address and the model.
        attempts: How often it was sent: 0 if the rows were refused before, more than 1 if it was retried.
        row: The row that was refused, counted from 0.
        feature: The feature that was refused.
    """

    def __init__(
        self,
        code: str,
        message: str,
        where: str = "",
        attempts: int = 0,
        row: int | None = None,
        feature: str | None = None,
    ) -> None:
        super().__init__(code, message, where, attempts, row, feature)
        self.code, self.message, self.where, self.attempts = code, message, where, attempts
        self.row, self.feature = row, feature

    def __str__(self) -> str:
        sent = "not sent" if not self.attempts else f"{self.attempts} attempts" if self.attempts > 1 else ""
        about = ", ".join(filter(None, (self.where, sent)))
        return f"{self.code}: {self.message}" + (f" ({about})" if about else "")


class Failure(Exception):
    """One attempt that failed.

    Args:
        code: As for `ClientError`.
        message: As for `ClientError`.
        may_pass: Whether the same may succeed in a moment, if the code is UNAVAILABLE.
    """

    def __init__(self, code: str, message: str, may_pass: bool = True) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message
        self.may_pass = may_pass and code == UNAVAILABLE


def attempt(ask: Callable[[float], Answer], timeout: float, retries: int, where: str) -> Answer:
    """Asks until there is an answer, a failure other than UNAVAILABLE, no retry left, or no time.

    Predictions change nothing on the server, so that asking again is harmless even if the first answer was lost.

    Args:
        ask: Is given the seconds that are left.
        timeout: Of all attempts and pauses together.
        retries: The most attempts after the first.
        where: For the error.

    Raises:
        ClientError: See above.
    """
    end = time.monotonic() + timeout
    for number in range(retries + 1):
        try:
            return ask(max(end - time.monotonic(), 0.001))
        except Failure as failure:
            # Half of the pause is random: clients that were cut off together should not come back together.
            pause = min(_FIRST_PAUSE * 2**number, _LONGEST_PAUSE) * (0.5 + random.random() / 2)  # noqa: S311
            if not failure.may_pass or number == retries or time.monotonic() + pause >= end:
                raise ClientError(failure.code, failure.message, where, number + 1) from None
        time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")
