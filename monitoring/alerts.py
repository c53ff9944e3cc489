"""What a report tells the world: a webhook, a line for a log collector, gauges for Prometheus."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from pydantic_core import to_json

from monitoring.config import WebhookConfig
from monitoring.exchange import NoAnswerError, exchange, origin
from monitoring.report import Action, Check, QualityPoint, Report, State

_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30.0
_TOO_MANY_REQUESTS = 429
_SLACK_TEXT = 3000
"""Characters of a section; a message has 50 blocks (https://docs.slack.dev/reference/block-kit/blocks)."""
_SLACK_ALARMS = 40
_BARE = re.compile(r"[\w.:/+-]+", re.ASCII)


@dataclass(frozen=True)
class Delivery:
    """What became of a message."""

    is_delivered: bool
    attempts: int
    """0: the webhook does not ask for this action."""
    detail: str
    """What happened, in words; holds the webhook's scheme and host alone, as the rest of its address is a secret."""


def post(webhook: WebhookConfig, report: Report, report_path: str) -> Delivery:
    """Posts a report's decision, if it is one of `webhook.on`; see `tell` for what is tried.

    A message may arrive twice: `created` and `version` tell it is the same.

    Args:
        webhook: Whom to tell, and how.
        report: What is told.
        report_path: Where the whole report is, for whoever reads the message.

    Returns:
        Whether it was delivered, or why not; never raises.
    """
    if report.decision.action.value not in webhook.on:
        return Delivery(False, 0, f"{origin(webhook.url)} is not told of {report.decision.action.value}")
    make = _slack if webhook.format == "slack" else _plain
    return _deliver(webhook, make(report, report_path))


def tell(webhook: WebhookConfig, pipeline: str, text: str) -> Delivery:
    """Posts a sentence: what a person has to see to.

    Tries again, after a wait that doubles, when the webhook cannot be reached, is too slow, or answers 429 or 5xx; no
    other answer changes by asking again. No redirect is followed. Costs at most `attempts` times `timeout_seconds`,
    and the waits.

    Returns:
        Whether it was delivered, or why not; never raises.
    """
    if webhook.format == "slack":
        return _deliver(webhook, {"text": _slack_cut(_slack_escaped(f"{pipeline}: {text}"))})
    return _deliver(webhook, {"pipeline": pipeline, "message": text})


def _deliver(webhook: WebhookConfig, message: dict[str, Any]) -> Delivery:
    host = origin(webhook.url)
    body = to_json(message, inf_nan_mode="null")
    reason = ""
    for attempt in range(1, webhook.attempts + 1):
        wait = min(_FIRST_WAIT_SECONDS * 2 ** (attempt - 1), _LONGEST_WAIT_SECONDS)
        try:
            answer = exchange("POST", webhook.url, webhook.timeout_seconds, body=body)
        except NoAnswerError as error:
            reason = str(error)
        else:
            if 200 <= answer.status < 300:
                return Delivery(True, attempt, f"{host} answered with HTTP {answer.status}")
            reason = f"HTTP {answer.status}" + (", a redirect" if 300 <= answer.status < 400 else "")
            if answer.status != _TOO_MANY_REQUESTS and answer.status < 500:
                return Delivery(False, attempt, f"{host} did not take the message: {reason}")
            wait = max(wait, _asked_to_wait(answer.headers.get("Retry-After", "")))
        if attempt < webhook.attempts:
            time.sleep(wait)
    return Delivery(
        False, webhook.attempts, f"{host} did not take the message in {webhook.attempts} attempts: {reason}"
    )


def _asked_to_wait(header: str) -> float:
    return min(float(header), _LONGEST_WAIT_SECONDS) if header.isascii() and header.isdigit() else 0.0


def _plain(report: Report, report_path: str) -> dict[str, Any]:
    return {
        "pipeline": report.pipeline,
        "version": report.version,
        "decision": report.decision.action.value,
        "to_version": report.decision.to_version,
        "headline": report.decision.headline,
        "reasons": report.decision.reasons,
        "alarms": [check.model_dump(mode="json", exclude={"distribution"}) for check in report.alarms],
        "rows": report.rows,
        "start": report.start,
        "end": report.end,
        "created": report.created,
        "report": report_path,
    }


def _slack(report: Report, report_path: str) -> dict[str, Any]:
    decision = report.decision
    action = decision.action.value.replace("_", " ")
    parts = [f"*{action}: {_slack_escaped(decision.headline)}*"]
    if decision.reasons:
        parts.append("\n".join(f"• {_slack_escaped(reason)}" for reason in decision.reasons))
    parts += [_slack_escaped(_in_words(check)) for check in report.alarms[:_SLACK_ALARMS]]
    if len(report.alarms) > _SLACK_ALARMS:
        parts.append(f"and {len(report.alarms) - _SLACK_ALARMS} more alarms")
    where = f"{report.pipeline} version {report.version}, {report.rows:,} rows, {_utc(report.created)}: {report_path}"
    parts.append(_slack_escaped(where))
    # `verbatim`: an address or a name in a feature's value becomes neither a link nor a mention.
    blocks = [
        {"type": "section", "text": {"type": "mrkdwn", "text": _slack_cut(part), "verbatim": True}} for part in parts
    ]
    return {"text": _slack_cut(_slack_escaped(f"{action}: {decision.headline}")), "blocks": blocks}


def _slack_escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _slack_cut(text: str) -> str:
    if len(text) <= _SLACK_TEXT:
        return text
    return re.sub(r"&\w*$", "", text[: _SLACK_TEXT - 1]) + "…"  # never within an escape


def _in_words(check: Check) -> str:
    what = f"{check.subject}, {check.aspect}: {check.measure} {check.value:.3g}, threshold {check.threshold:.3g}"
    return f"{what} ({check.comparison.value} against {check.against})" + (
        f"; {check.diagnosis}" if check.diagnosis else ""
    )


def log_line(report: Report) -> str:
    """The report as one line of `key=value`; a value of more than a word is a JSON string."""
    alarms = report.alarms
    fields = {
        "created": _utc(report.created),
        "pipeline": report.pipeline,
        "version": str(report.version),
        "action": report.decision.action.value,
        "to_version": "" if report.decision.to_version is None else str(report.decision.to_version),
        "headline": report.decision.headline,
        "start": _utc(report.start),
        "end": _utc(report.end),
        "rows": str(report.rows),
        "checks": str(len(report.checks)),
        "alarms": str(len(alarms)),
        "undecided": str(sum(check.state is State.UNDECIDED for check in report.checks)),
        "first_alarm": f"{alarms[0].subject}/{alarms[0].aspect}" if alarms else "",
        "problems": str(sum(problem.count for problem in report.problems)),
    }
    return " ".join(f"{key}={_quoted(value)}" for key, value in fields.items() if value)


def _quoted(value: str) -> str:
    return value if _BARE.fullmatch(value) else json.dumps(value)


def _utc(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def gauges(report: Report) -> str:
    """The report in Prometheus' text format, for node_exporter's textfile collector.

    A feature's aspect that was compared more than once has the comparison that is furthest beyond its threshold; a
    metric of the live model has its newest window. Prometheus refuses a file in which two lines have the same labels.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(report))
    return str(generate_latest(registry).decode())


class _Families:
    """What prometheus_client collects."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._whose = (report.pipeline, str(report.version))

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """All gauges."""
        report = self._report
        chosen = report.decision.action
        actions = [((action.value,), float(action is chosen)) for action in Action]
        yield self._family("monitor_decision", "1 for the action decided upon", ("action",), actions)
        yield self._family("monitor_rows", "Rows of requests that were judged", (), [((), report.rows)])
        yield self._family("monitor_last_seconds", "When it was judged, since 1970", (), [((), report.created)])
        problems: dict[tuple[str, ...], float] = {}
        for problem in report.problems:
            problems[(problem.what,)] = problems.get((problem.what,), 0) + problem.count
        yield self._family("monitor_problems", "Bad input that was passed over", ("what",), problems.items())
        yield from self._of_checks()
        yield from self._of_quality()

    def _of_checks(self) -> Iterable[GaugeMetricFamily]:
        worst: dict[tuple[str, ...], Check] = {}
        for check in self._report.checks:
            key = (check.comparison.value, check.subject, check.aspect)
            if key not in worst or _severity(check) > _severity(worst[key]):
                worst[key] = check
        labels = ("comparison", "feature", "aspect")
        alarms = [(key, float(check.state is State.ALARM)) for key, check in worst.items()]
        values = [(key, check.value) for key, check in worst.items()]
        thresholds = [(key, check.threshold) for key, check in worst.items()]
        yield self._family("monitor_check_value", "Of the measure", labels, values)
        yield self._family("monitor_check_threshold", "Of the measure, beyond which it alarms", labels, thresholds)
        yield self._family("monitor_check_alarm", "1 if it alarms", labels, alarms)

    def _of_quality(self) -> Iterable[GaugeMetricFamily]:
        newest: dict[tuple[str, ...], QualityPoint] = {}
        for point in sorted(self._report.quality, key=lambda point: point.end):
            newest[(point.metric, point.slice, "estimate" if point.is_estimate else "measured")] = point
        for name, help_text, field in (
            ("", "A metric of the live model", "value"),
            ("_low", "Lower end of its 95% confidence interval", "low"),
            ("_high", "Upper end of its 95% confidence interval", "high"),
            ("_reference", "The same metric on the evaluation span", "reference"),
        ):
            values = ((key, getattr(point, field)) for key, point in newest.items())
            cells = [(key, value) for key, value in values if value is not None]
            yield self._family(f"live_quality{name}", help_text, ("metric", "slice", "kind"), cells)

    def _family(
        self, name: str, help_text: str, labels: tuple[str, ...], cells: Iterable[tuple[tuple[str, ...], float]]
    ) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"headrace_{name}", help_text, labels=("pipeline", "version", *labels))
        for key, value in cells:
            family.add_metric((*self._whose, *key), value)
        return family


def _severity(check: Check) -> tuple[bool, float]:
    return check.state is State.ALARM, check.excess
