"""`headrace canary`: a new version is tried on a share of the requests, compared, and promoted or dropped."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import datetime

from rich.console import Console

from monitoring.sequential import Arm, Comparison, Verdict, compare
from pipeline.config import PipelineConfig
from pipeline.reports import last_report
from schema.errors import ConfigError, ExitCode, UsageError
from serving import canary as trials
from serving.canary import CONFIG_FILE, Canary
from storage.places import Place, at

MONITOR = "the monitor"
"""Who decided, in the mark of a version that `conclude` drops."""


def canary(
    console: Console,
    config: PipelineConfig,
    start: int | None = None,
    drop: str | None = None,
    arms: Mapping[int, Arm] | None = None,
) -> ExitCode:
    """Shows the candidate that is being tried, or starts or drops one. `promote` is a command of its own.

    Args:
        console: Where to print.
        config: The pipeline.
        start: Try this version: the newest, or one that was rolled back.
        drop: Why the candidate is to be rolled back.
        arms: What the request log knows, see `compare_on_log`; None for what the last look at it knew.

    Raises:
        UsageError: Both start and drop are given, or what is asked for cannot be done.
        ConfigError: A version is to be tried, and the YAML has no `monitor.canary`.
    """
    base_path = at(config.push.path)
    if start is not None and drop is not None:
        raise UsageError("Both --start and --drop are given", expected="one of them")
    if start is not None:
        _require_canary(config)
        found = trials.start(base_path, start)
        update_labels(config, base_path)
        _tell(console, config, found)
    elif drop is not None:
        _drop(console, config, drop, "a person", None)
    else:
        update_labels(config, base_path)
        state = trials.under_way(base_path)
        if state is None:
            console.print(f"{config.name}: no version is being tried.", soft_wrap=True)
            return ExitCode.OK
        _tell(console, config, state)
        known = arms_of(config, state) if arms is None else arms
        _tell_comparison(console, compare_on_log(config, state, known))
    return ExitCode.OK


def compare_on_log(config: PipelineConfig, state: Canary, arms: Mapping[int, Arm]) -> Comparison:
    """What the request log says about the candidate.

    Args:
        config: The pipeline; its `monitor.canary` has the false-alarm rate, its `monitor.policy.worse_by` what a loss
            may be larger by, relative to the stable version's.
        state: The trial.
        arms: Of each number in the log the losses of the rows that it answered *since the trial began*
            (`state.candidate.since`); the candidate's number is `state.candidate.number`. A number without rows may be
            left out.

    Raises:
        ConfigError: The YAML has no `monitor.canary`.
    """
    rate = _require_canary(config)
    stable = arms.get(state.stable, Arm())
    margin = config.monitor.policy.worse_by * abs(stable.mean) if stable.rows else 0.0
    return compare(stable, arms.get(state.candidate.number, Arm()), rate, margin)


def arms_of(config: PipelineConfig, state: Canary) -> dict[int, Arm]:
    """What the last look at the log knows of the two versions, as `compare_on_log` takes it."""
    report = last_report(config)
    if report is None or report.created < state.candidate.since:
        return {}
    numbers = {state.stable: state.stable, state.candidate.version: state.candidate.number}
    return {
        numbers[each.version]: Arm(each.loss.rows, each.loss.total, each.loss.total_of_squares)
        for each in report.versions
        if each.version in numbers
    }


def conclude(console: Console, config: PipelineConfig, state: Canary, arms: Mapping[int, Arm]) -> Verdict:
    """Promotes the candidate if it is not worse than the stable version, drops it if it is, else goes on trying.

    Args:
        console: Where to print.
        config: As for `compare_on_log`.
        state: The trial that the log was read for.
        arms: As for `compare_on_log`.

    Raises:
        UsageError: The trial ended meanwhile; nothing is changed then.
    """
    comparison = compare_on_log(config, state, arms)
    version = state.candidate.version
    if comparison.verdict is Verdict.NOT_WORSE:
        promote_candidate(console, config, version)
    elif comparison.verdict is Verdict.WORSE:
        _drop(console, config, _told(comparison), MONITOR, version)
    else:
        _tell(console, config, state)
    _tell_comparison(console, comparison)
    return comparison.verdict


def conclude_trial(console: Console, config: PipelineConfig) -> None:
    """Goes on with the trial that is under way, if one is, by what the last look at the log knows."""
    state = trials.under_way(at(config.push.path)) if config.monitor.canary is not None else None
    if state is not None:
        conclude(console, config, state, arms_of(config, state))


def promote_candidate(console: Console, config: PipelineConfig, version: int | None = None) -> None:
    """Gives the candidate all the traffic, and says so.

    Raises:
        UsageError: None, or another one, is being tried.
    """
    base_path = at(config.push.path)
    ended = trials.promote(base_path, version)
    update_labels(config, base_path)
    console.print(
        f"Promoted version {ended.candidate.version} of {config.name}: servers answer all requests from it once they "
        f"have looked again and loaded it; until then from version {ended.stable}.",
        soft_wrap=True,
    )


def update_labels(config: PipelineConfig, base_path: Place) -> None:
    """Brings `models.config` up to date, where servers use one: with `monitor.canary`, or if one was used before."""
    if config.monitor.canary is not None or (base_path / CONFIG_FILE).is_file():
        trials.configure(base_path, config.name)


def _drop(console: Console, config: PipelineConfig, reason: str, by: str, version: int | None) -> None:
    if not reason.strip():
        raise UsageError("The reason is empty", where="--drop", expected="why the candidate is dropped")
    base_path = at(config.push.path)
    ended = trials.drop(base_path, reason.strip(), by, version)
    update_labels(config, base_path)
    console.print(
        f"Dropped version {ended.candidate.version} of {config.name}: version {ended.stable} answers all requests "
        "once servers have looked again. The same model is not pushed again.",
        soft_wrap=True,
    )


def _require_canary(config: PipelineConfig) -> float:
    """The false-alarm rate."""
    if config.monitor.canary is None:
        raise ConfigError(
            "Nothing is to be tried on a share of the traffic",
            where=f"{config.name}: monitor.canary",
            expected="a section such as canary: {share: 0.1}",
            mend="Add it, and start the server again, so that it reads the labels.",
        )
    return config.monitor.canary.false_alarm_rate


def _tell(console: Console, config: PipelineConfig, state: Canary) -> None:
    trial = state.candidate
    since = datetime.fromtimestamp(trial.since).strftime("%Y-%m-%d %H:%M:%S")
    hours = max(time.time() - trial.since, 0) / 3600
    share = f"{config.monitor.canary.share:.0%} of the requests of clients" if config.monitor.canary else "clients"
    console.print(
        f"{config.name}: version {trial.version} is tried since {since} ({hours:.1f} h) beside version "
        f"{state.stable}, under the label {trials.CANARY} and the number {trial.number}.",
        soft_wrap=True,
    )
    console.print(
        f"It is meant for {share} with a canary_share; all others are answered by version {state.stable}. "
        f"To end it: headrace promote {config.argument}, or headrace canary {config.argument} --drop REASON.",
        soft_wrap=True,
    )


def _tell_comparison(console: Console, comparison: Comparison) -> None:
    verdict = {
        Verdict.NOT_WORSE: "The candidate is not worse",
        Verdict.WORSE: "The candidate is worse",
        Verdict.UNDECIDED: "Not decided yet",
    }[comparison.verdict]
    console.print(f"{verdict}: {_told(comparison)}.", soft_wrap=True)


def _told(comparison: Comparison) -> str:
    if not math.isfinite(comparison.low):
        return f"{comparison.rows} rows are too few to compare"
    return (
        f"its loss is {comparison.difference:+.4f} against the stable version's, between {comparison.low:+.4f} and "
        f"{comparison.high:+.4f}, over {comparison.rows} rows"
    )
