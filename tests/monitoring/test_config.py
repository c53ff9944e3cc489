"""The `monitor:` section: what is refused, and what holds without it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from monitoring.config import MonitorConfig, Trigger


def test_without_a_word_it_judges_and_joins_nothing() -> None:
    config = MonitorConfig()
    assert (config.identifier, config.labels, config.webhook, config.canary) == ((), None, None, None)
    assert config.policy.retrain_on == (Trigger.NEW_SPAN, Trigger.DRIFT, Trigger.QUALITY, Trigger.AGE)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"false_alarm_rate": 0}, "false_alarm_rate"),
        ({"false_alarm_rate": 1}, "false_alarm_rate"),
        ({"window_hours": 0}, "window_hours"),
        ({"fewest_rows": 49}, "fewest_rows"),
        ({"identifier": [""]}, "identifier"),
        ({"labels": {"path": "x", "format": "json"}}, "format"),
        ({"metrics_url": "file:///etc/passwd"}, "metrics_url"),
        ({"webhook": {"url": "ftp://host"}}, "url"),
        ({"webhook": {"url": "http://host", "attempts": 0}}, "attempts"),
        ({"webhook": {"url": "http://host", "on": ["fire"]}}, "on"),
        ({"policy": {"retrain_on": ["mood"]}}, "retrain_on"),
        ({"policy": {"worse_by": -0.1}}, "worse_by"),
        ({"canary": {"share": 1.0}}, "share"),
        ({"treshold": 1}, "treshold"),
    ],
)
def test_refused(section: dict, key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        MonitorConfig.model_validate(section)
