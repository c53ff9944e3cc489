"""`headrace canary`: a candidate is shown, started, compared, and promoted or dropped."""

from __future__ import annotations

import numpy as np
import pytest
from monitor_reports import report
from version_folders import publish, states

from monitoring.report import LossSums, VersionEvidence
from monitoring.sequential import Arm, Verdict
from pipeline.commands.canary import arms_of, canary, compare_on_log, conclude, conclude_trial
from pipeline.reports import monitor_folder
from schema.errors import ConfigError, ExitCode, UsageError
from serving.canary import drop, under_way
from serving.versions import rolled_back


@pytest.fixture
def it(tmp_path):
    return publish(tmp_path, 10, 20, 30, canary={"share": 0.25, "false_alarm_rate": 0.05})


def losses(mean, rows=4000):
    return Arm.of(np.random.default_rng(rows).normal(mean, 0.3, rows))


def test_without_one(it):
    assert canary(it.console, it.config) == ExitCode.OK
    assert it.said == "flights: no version is being tried.\n"
    assert it.labels == {"stable": 30}


def test_started_shown_and_dropped(it):
    assert canary(it.console, it.config, start=30) == ExitCode.OK
    assert it.labels == {"stable": 20, "canary": 19}
    told = it.said
    canary(it.console, it.config)
    assert it.said == f"{told}Not decided yet: 0 rows are too few to compare.\n"
    assert "version 30 is tried since" in told
    assert "beside version 20" in told
    assert "25% of the requests" in told
    canary(it.console, it.config, drop=" it is slow ")
    assert states(it.base_path) == ([10, 20], [30])
    assert rolled_back(it.base_path)[30].reason == "it is slow"
    assert it.labels == {"stable": 20}
    assert "Dropped version 30 of flights: version 20 answers all requests" in it.said


def test_what_the_log_knows_is_shown(it):
    canary(it.console, it.config, start=30)
    canary(it.console, it.config, arms={20: losses(0.4), 19: losses(0.4, rows=200)})
    assert "Not decided yet: its loss is " in it.said
    canary(it.console, it.config, arms={})
    assert "Not decided yet: 0 rows are too few to compare." in it.said


@pytest.mark.parametrize(
    ("candidate", "verdict", "left", "said"),
    [
        (losses(0.2), Verdict.NOT_WORSE, ([10, 20, 30], []), "Promoted version 30"),
        (losses(0.6), Verdict.WORSE, ([10, 20], [30]), "Dropped version 30"),
        (losses(0.4, rows=150), Verdict.UNDECIDED, ([10, 20], []), "version 30 is tried since"),
        (None, Verdict.UNDECIDED, ([10, 20], []), "too few to compare"),
    ],
    ids=["better", "worse", "few", "none"],
)
def test_the_log_decides(it, candidate, verdict, left, said):
    canary(it.console, it.config, start=30)
    arms = {20: losses(0.4), **({19: candidate} if candidate else {})}
    assert conclude(it.console, it.config, under_way(it.base_path), arms) is verdict
    assert states(it.base_path) == left
    assert said in it.said
    if verdict is Verdict.WORSE:
        mark = rolled_back(it.base_path)[30]
        assert mark.by == "the monitor"
        assert mark.reason.startswith("its loss is +0.2")


def test_a_little_worse_is_what_the_policy_says(it):
    canary(it.console, it.config, start=30)
    state = under_way(it.base_path)
    arms = {20: losses(0.4, rows=200_000), 19: losses(0.404, rows=200_001)}
    assert compare_on_log(it.config, state, arms).verdict is Verdict.NOT_WORSE
    policy = it.config.monitor.policy.model_copy(update={"worse_by": 0.0})
    strict = it.config.model_copy(update={"monitor": it.config.monitor.model_copy(update={"policy": policy})})
    assert compare_on_log(strict, state, arms).verdict is not Verdict.NOT_WORSE


def test_a_trial_that_ended_meanwhile_is_not_decided(it):
    canary(it.console, it.config, start=30)
    state = under_way(it.base_path)
    drop(it.base_path, "by hand")
    with pytest.raises(UsageError, match="No version is being tried"):
        conclude(it.console, it.config, state, {20: losses(0.4), 19: losses(0.2)})
    assert rolled_back(it.base_path)[30].reason == "by hand"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"start": 30, "drop": "x"}, "Both --start and --drop"),
        ({"start": 40}, "There is no version 40"),
        ({"drop": "x"}, "No version is being tried"),
        ({"drop": " "}, "The reason is empty"),
    ],
)
def test_what_cannot_be_done(it, options, told):
    with pytest.raises(UsageError, match=told):
        canary(it.console, it.config, **options)
    assert states(it.base_path) == ([10, 20, 30], [])


def test_the_server_must_read_labels(tmp_path):
    it = publish(tmp_path, 10, 20)
    with pytest.raises(ConfigError, match=r"monitor\.canary"):
        canary(it.console, it.config, start=20)
    assert states(it.base_path) == ([10, 20], [])
    canary(it.console, it.config)
    assert not (it.base_path / "models.config").exists()


def look(it, created, **means):
    """The last look at the log knows these versions' losses."""
    arms = {int(name[1:]): losses(mean) for name, mean in means.items()}
    versions = tuple(
        VersionEvidence(
            version=version,
            rows=arm.rows,
            mean_score=0.2,
            loss=LossSums(rows=arm.rows, total=arm.total, total_of_squares=arm.total_of_squares),
        )
        for version, arm in arms.items()
    )
    folder = monitor_folder(it.config)
    folder.mkdir(parents=True, exist_ok=True)
    report(created=created, versions=versions).save(folder)


def test_the_last_look_concludes_a_trial(it):
    canary(it.console, it.config, start=30)
    since = under_way(it.base_path).candidate.since
    look(it, since - 1, v20=0.4, v30=0.9)
    conclude_trial(it.console, it.config)  # that look is from before the trial
    assert arms_of(it.config, under_way(it.base_path)) == {}
    assert states(it.base_path) == ([10, 20], [])
    look(it, since + 1, v10=0.1, v20=0.4, v30=0.9)
    assert set(arms_of(it.config, under_way(it.base_path))) == {20, 19}  # as servers number them
    conclude_trial(it.console, it.config)
    assert states(it.base_path) == ([10, 20], [30])
    conclude_trial(it.console, it.config)  # none is under way now
    assert states(it.base_path) == ([10, 20], [30])
