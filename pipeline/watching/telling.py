"""Events as lines: each once, until it changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Teller:
    """Tells people what happens.

    Args:
        tell: Receives one line for each event.
        alert: Receives the lines that a person has to see to, after they are told.
    """

    tell: Callable[[str], None]
    alert: Callable[[str], None]
    _last: dict[str, str] = field(default_factory=dict)

    def event(self, text: str, *, is_alert: bool = False) -> None:
        """Tells what happened."""
        self.tell(text)
        if not is_alert:
            return
        try:
            self.alert(text)
        except Exception as error:  # an alert that cannot be sent must not end the watch
            self.tell(f"the alert could not be sent: {one_line(error)}")

    def state(self, subject: str, text: str | None, *, is_alert: bool = False) -> None:
        """Tells how something is, unless it was told in the same words last. None: there is nothing to tell now."""
        if text is None:
            self._last.pop(subject, None)
        elif self._last.get(subject) != text:
            self._last[subject] = text
            self.event(text, is_alert=is_alert)


def one_line(error: BaseException) -> str:
    """An error as text without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
