"""The watch itself: look, run what is due, tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from monitoring.config import Trigger
from monitoring.report import Action
from pipeline.runners.report import load_reports
from pipeline.watching.arrivals import Signature, Source
from pipeline.watching.beginning import first_span, is_run_under_way
from pipeline.watching.judge import Judge
from pipeline.watching.retries import Retries
from pipeline.watching.run import RunSpan
from pipeline.watching.standing import Standing, standing
from pipeline.watching.telling import Teller, one_line
from schema.errors import ExitCode, HeadraceError, disk_error

_GATES = (ExitCode.DATA_GATE, ExitCode.QUALITY_GATE, ExitCode.INFRA_GATE)
_LOCK_SECONDS = 1.0
_LOUD = 3
"""From so many failures in a row on, a person is alerted."""


@dataclass
class Watch:
    """One pipeline, watched.

    A span whose run fails is tried again, more and more rarely, for as long as it is due, and the spans after it wait:
    their windows train on it, so what breaks its run would break theirs, and a model of an older span must never
    replace a newer one's. `from_span` is the way past a span that nobody can mend.

    Args:
        home: The pipeline's folder.
        train: How many spans a run trains on.
        triggers: What may start a run.
        source: Where the spans arrive.
        judge: Decides about the served model.
        run: Runs the pipeline for a span.
        teller: Is told all that happens.
        clock: Seconds, never going back.
        sleep: Waits for so many seconds.
        every: Seconds from the end of one cycle to the next.
        from_span: No span before it becomes due; None: where an earlier watch began, or the latest.
    """

    home: Path
    train: int
    triggers: tuple[Trigger, ...]
    source: Source
    judge: Judge
    run: RunSpan
    teller: Teller
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    every: float
    from_span: int | None = None
    _retries: Retries = field(init=False)

    def __post_init__(self) -> None:
        self._retries = Retries(self.clock)

    def forever(self) -> NoReturn:
        """One cycle after another, until the process is interrupted."""
        while True:
            self.cycle()
            self.sleep(self.every)

    def once(self) -> ExitCode:
        """One cycle. Waits first, if need be, until a span that is complete can be told from one being written."""
        try:
            if self._standing().unsettled is not None:
                self.sleep(self.source.settle_seconds)
        except (HeadraceError, OSError):
            pass  # the cycle will tell it
        return self.cycle()

    def cycle(self) -> ExitCode:
        """Looks at the model and at the source, and runs what is due.

        Returns:
            The first that is not OK: of the runs, else of the source, else of the decision, if nothing came of it.
        """
        self.judge.ask()
        try:
            now = self._standing()
            self._tell(now)
            reason = self._reason(now)
            self.teller.state("trouble", None)
            if now.due and reason is not None:
                return self._catch_up(now.due, reason)
        except (HeadraceError, OSError) as error:  # nothing that can be mended from outside ends the watch
            self.teller.state("trouble", one_line(error), is_alert=True)
            known = error if isinstance(error, HeadraceError) else disk_error(error, "the watch")
            return known.exit_code if known else ExitCode.INTERNAL
        return self.judge.code

    def _standing(self) -> Standing:
        arrivals, reports = self.source.look(), load_reports(self.home)
        first = first_span(self.home, arrivals, reports, self.from_span)
        return standing(arrivals, reports, self.train, first, self.source.content)

    def _reason(self, now: Standing) -> str | None:
        """Why what is due is run; None if it is not."""
        decision = self.judge.decision
        if self.judge.holds_spans:
            return None
        if Trigger.NEW_SPAN in self.triggers:
            return "new data"
        if decision is not None and decision.action is Action.RETRAIN:
            return decision.headline
        return "there is no model yet" if now.done is None or self.judge.has_no_model else None

    def _tell(self, now: Standing) -> None:
        state = self.teller.state
        unsettled = f"span {now.unsettled} is still being written: waits for it" if now.unsettled is not None else None
        state("unsettled", unsettled)
        changed = f"{_spans(now.changed)} changed after span {now.done} was done" if now.changed else None
        state("changed", changed)
        late = (
            f"{_spans(now.late)} arrived after span {now.done} was done: not run, since an older span's model would "
            "replace a newer one's; later runs train on it"
            if now.late
            else None
        )
        state("late", late, is_alert=True)
        waiting = None
        if now.due and self._reason(now) is None:
            why = self.judge.decision.headline if self.judge.decision else "a new span alone is no trigger"
            waiting = f"{_spans(now.due)} held: {why}"
        elif self.judge.action is Action.RETRAIN and not now.due and now.unsettled is None:
            waiting = f"nothing new to train on since span {now.done}"
        state("waiting", waiting)

    def _catch_up(self, due: tuple[int, ...], reason: str) -> ExitCode:
        """Runs what was due at the look, oldest first; what arrives meanwhile waits for the next."""
        code = ExitCode.OK
        for span in due:
            ended = self._bring(span, reason)
            code = code or ended
            if ended not in (ExitCode.OK, *_GATES):
                break
        return code or (ExitCode.OK if self.judge.action is Action.RETRAIN else self.judge.code)

    def _bring(self, span: int, reason: str) -> ExitCode:
        """Runs one span, if it is time and no other run has done it by then."""
        if self._retries.seconds_left(span, self.source.files(span)) > 0:
            return ExitCode.NODE
        while is_run_under_way(self.home):
            self.teller.state("lock", f"span {span} waits for another run of this pipeline to end")
            self.sleep(_LOCK_SECONDS)
            self.judge.ask_if_time()
        self.teller.state("lock", None)
        if span not in self._standing().due or self.judge.holds_spans:
            return ExitCode.OK
        files, earlier = self.source.files(span), {report.run_id for report in load_reports(self.home)}
        self.teller.event(f"span {span}: runs ({reason})")
        ended = self.run(span, self.judge.ask_if_time)
        if ended.code == ExitCode.LOCKED:  # another run was faster
            return ExitCode.LOCKED
        self.source.forget_contents()  # a run takes long; files may have changed without a trace in size and time
        own = [each for each in load_reports(self.home) if each.run_id not in earlier and each.newest == span]
        if not own or not own[-1].has_decided:
            return self._failed(span, files, own[-1].error if own and own[-1].error else ended.words, ended.code)
        is_stopped = own[-1].outcome == "stopped"
        self.teller.event(f"span {span}: {own[-1].headline}", is_alert=is_stopped)
        return ExitCode(ended.code) if is_stopped and ended.code in _GATES else ExitCode.OK

    def _failed(self, span: int, files: Signature, why: str, code: int) -> ExitCode:
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        seconds = self._retries.failed(span, files)
        failures = self._retries.failures
        told = f"span {span}: the run ended {how} (attempt {failures}; the next in {seconds:.0f} s; later spans wait)"
        self.teller.event(f"{told}: {why}", is_alert=failures >= _LOUD)
        return ExitCode(code) if code in set(ExitCode) - {ExitCode.OK} else ExitCode.NODE


def _spans(numbers: tuple[int, ...]) -> str:
    return f"span{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
