"""What the looks at the served model say: the decision in force."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from monitoring.report import Action, Decision
from pipeline.config import PipelineConfig
from pipeline.watching.telling import Teller, one_line
from schema.errors import ExitCode, HeadraceError

Look = Callable[[PipelineConfig], Decision | None]
"""Judges the served model. None: there is no model yet. What it raises is told, and it is asked again next time."""

RollBack = Callable[[PipelineConfig, Decision], None]
"""Does what a decision to roll back says; if that is done already, nothing."""

_CODES = {Action.RETRAIN: ExitCode.RETRAIN, Action.ROLL_BACK: ExitCode.ROLL_BACK, Action.BLOCK: ExitCode.BLOCK}


@dataclass
class Judge:
    """Asks for decisions and keeps the last.

    Args:
        config: The pipeline.
        look: Makes the decision.
        roll_back: Goes back to an earlier version.
        teller: Is told each new decision and each failure.
        clock: Seconds, never going back.
        every: Seconds between two looks.
    """

    config: PipelineConfig
    look: Look
    roll_back: RollBack
    teller: Teller
    clock: Callable[[], float]
    every: float
    decision: Decision | None = None
    """The one in force. Only a block outlives a failed look: wrong data stays wrong until a look says otherwise."""
    failure: ExitCode = ExitCode.OK
    """Why there is no newer decision."""
    _asked: float = field(default=float("-inf"))

    @property
    def action(self) -> Action | None:
        """Of the decision in force."""
        return self.decision.action if self.decision else None

    @property
    def holds_spans(self) -> bool:
        """Whether what arrived must not be trained on. Wrong requests alone do not say that."""
        return self.action is Action.BLOCK and self.decision is not None and not self.decision.is_of_requests

    @property
    def has_no_model(self) -> bool:
        """Whether the last look found no model to judge."""
        return self.decision is None and self.failure is ExitCode.OK

    @property
    def code(self) -> ExitCode:
        """What a cron job is told when nothing else happened."""
        return self.failure or (_CODES.get(self.decision.action, ExitCode.OK) if self.decision else ExitCode.OK)

    def ask_if_time(self) -> None:
        """Asks if the last look is long enough ago."""
        if self.clock() - self._asked >= self.every:
            self.ask()

    def ask(self) -> None:
        """Looks, and rolls back at once if that is the decision: no training is worth waiting for then."""
        self._asked = self.clock()
        try:
            decision = self.look(self.config)
        except Exception as error:  # whatever breaks a look must not end the watch
            self.failure = error.exit_code if isinstance(error, HeadraceError) else ExitCode.INTERNAL
            self.decision = self.decision if self.action is Action.BLOCK else None
            text = f"the look at the served model failed: {type(error).__name__}: {one_line(error)}"
            self.teller.state("look", text, is_alert=True)
            return
        self.failure, self.decision = ExitCode.OK, decision
        self.teller.state("look", None)
        self.teller.state("decision", decision.headline if decision else None)
        if decision is not None and decision.action is Action.ROLL_BACK:
            self._go_back(decision)

    def _go_back(self, decision: Decision) -> None:
        try:
            self.roll_back(self.config, decision)
        except Exception as error:  # tried again at the next look
            self.teller.state("rollback", f"the rollback failed: {one_line(error)}", is_alert=True)
        else:
            self.teller.state("rollback", None)
