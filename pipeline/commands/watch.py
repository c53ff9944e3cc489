"""`headrace watch`: sees new spans and a model gone stale, and runs the pipeline for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from rich.console import Console

from monitoring.alerts import tell
from monitoring.report import Decision
from pipeline.commands.canary import conclude_trial
from pipeline.commands.rollback import rollback
from pipeline.config import PipelineConfig
from pipeline.processes import interruptible
from pipeline.reports import monitor_folder
from pipeline.watching.arrivals import Source
from pipeline.watching.beginning import watch_folder, watch_lock
from pipeline.watching.judge import Judge, Look, RollBack
from pipeline.watching.loop import Watch
from pipeline.watching.run import MonitorLook, PipelineRun
from pipeline.watching.telling import Teller
from schema.errors import ConfigError, ExitCode, UsageError

_OUTPUT = "output.txt"
_LOOK = "look.txt"
_SETTLE_SECONDS = 10.0


@dataclass(frozen=True)
class WatchOptions:
    """What `headrace watch` was asked for."""

    pipeline: str
    is_once: bool = False
    every: float | None = None
    """Seconds between two looks; None: `monitor.watch_seconds`."""
    from_span: int | None = None
    on: str | None = None
    """Where runs and looks have their Beam jobs; None: on this machine."""


def watch_pipeline(console: Console, config: PipelineConfig, options: WatchOptions) -> ExitCode:
    """`watch` with the real monitor, rollback and webhook; a trial that is under way goes on with each look."""
    monitor = MonitorLook(options.pipeline, monitor_folder(config), watch_folder(config.home) / _LOOK, on=options.on)

    def look(config: PipelineConfig) -> Decision | None:
        decision = monitor(config)
        conclude_trial(console, config)
        return decision

    def go_back(config: PipelineConfig, decision: Decision) -> None:
        if decision.to_version is None:
            raise UsageError("The decision names no version to go back to", received=decision.headline)
        rollback(console, config, to=decision.to_version, reason=decision.headline, by="headrace watch")

    def alert(text: str) -> None:
        if config.monitor.webhook is None:
            return
        delivery = tell(config.monitor.webhook, config.name, text)
        if not delivery.is_delivered:
            console.print(f"The webhook was not told: {delivery.detail}", soft_wrap=True, markup=False)

    return watch(console, config, options, look, go_back, alert)


def watch(
    console: Console,
    config: PipelineConfig,
    options: WatchOptions,
    look: Look,
    roll_back: RollBack,
    alert: Callable[[str], None],
) -> ExitCode:
    """Watches until the process is interrupted; with `is_once`, for one cycle.

    Args:
        console: Where events are told, one line each.
        config: The pipeline. Its runs read the YAML anew; the watch itself does when it is started again.
        options: What was asked for.
        look: Judges the served model.
        roll_back: Goes back to an earlier version.
        alert: Receives what a person has to see to.

    Raises:
        ConfigError: The pipeline has no spans to watch, or its newest span is fixed.
        LockedError: Another watch of this pipeline is under way.
        KeyboardInterrupt: On Ctrl-C or SIGTERM, after the run under way has been ended.
    """
    window = config.data.window
    if window is None or window.newest != "latest":
        raise ConfigError(
            "This pipeline cannot be watched for new spans",
            where="data.window",
            expected="a window of spans whose newest is `latest`",
            received="data.split" if window is None else f"newest: {window.newest}",
            mend="Give the data a window, or run the pipeline on schedule with `headrace run`.",
        )

    def show(text: str) -> None:
        told = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ} {text}"
        console.print(told, soft_wrap=True, markup=False, highlight=False)

    every = options.every or config.monitor.watch_seconds
    teller = Teller(show, alert)
    with interruptible(), watch_lock(config.home):
        watched = Watch(
            home=config.home,
            train=window.train,
            triggers=config.monitor.policy.retrain_on,
            source=Source(config.data.source, min(every, _SETTLE_SECONDS), time.monotonic),
            judge=Judge(config, look, roll_back, teller, time.monotonic, every),
            run=PipelineRun(options.pipeline, watch_folder(config.home) / _OUTPUT, every, on=options.on),
            teller=teller,
            clock=time.monotonic,
            sleep=time.sleep,
            every=every,
            from_span=options.from_span,
        )
        if not options.is_once:
            teller.event(f"watches {config.data.source.path} every {every:g} s")
            watched.forever()
        return watched.once()
