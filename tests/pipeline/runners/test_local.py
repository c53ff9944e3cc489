"""The local runner on toy pipelines: order, parallelism, cache, failure, and what it leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = """
import json, sys
from pathlib import Path
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from toy_components import Break, Meet, Source
from pipeline.metadata import METADATA_FILE
from pipeline.runners.compile import compile_pipeline
from pipeline.runners.local import LocalRunner, new_report
from pipeline.runners.report import run_folder
from schema.errors import LockedError

home = Path(sys.argv[1])

def run(run_id, text="a", how="not", forced="", confirmations=99):
    source = Source(text=text)
    left = Meet(upstream=source.outputs["model"], other="Right").with_id("Left")
    right = Meet(upstream=source.outputs["model"], other="Left").with_id("Right")
    broken = Break(upstream=left.outputs["model"], how=how)
    behind = Meet(upstream=broken.outputs["model"], other="Left").with_id("Behind")
    pipeline = Pipeline(
        "toys", str(home / "artifacts"), components=[source, left, right, broken, behind], enable_cache=True,
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(home / METADATA_FILE)),
    )
    run_folder(home, run_id).mkdir(parents=True)
    compiled = compile_pipeline(pipeline, run_id)
    abandoned, confirmed = [], []

    def confirm():
        confirmed.append(None)
        if len(confirmed) > confirmations:
            raise LockedError("The lock was lost")

    runner = LocalRunner(
        compiled, new_report(compiled, run_id, []), home, {}, {forced: "forced"} if forced else {}, 2,
        watch=lambda report: None, abandon=lambda node: abandoned.append(node.node), confirm=confirm,
    )
    lost = ""
    try:
        runner.run()
    except LockedError as error:
        lost = error.what
    return {
        "nodes": {node.node: [node.state.value, node.reason] for node in runner.report.nodes.values()},
        "errors": {node: [error.exit_code, str(error)] for node, error in runner.errors.items()},
        "abandoned": abandoned, "confirmed": len(confirmed), "lost": lost,
    }

print(json.dumps({run_id: run(run_id, **settings) for run_id, settings in json.loads(sys.argv[2]).items()}))
"""
ROOT = Path(__file__).parents[3]


def run(home: Path, runs: dict[str, dict]) -> dict[str, dict]:
    """What became of each of the runs, one after the other in one process, by its id."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRIVER, str(home), json.dumps(runs)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'tools'}", "PATH": "/usr/bin:/bin", "HOME": str(home)},
        timeout=300,
    )
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict]]:
    """One history: a failure of each kind, success, a cached run, a forced node, a new parameter."""
    home = tmp_path_factory.mktemp("toys")
    history = {
        **{f"1-{how}": {"how": how} for how in ("user", "bug", "disk", "kill")},
        "2-good": {},
        "3-cached": {},
        "4-forced": {"forced": "Right"},
        "5-changed": {"text": "b"},
    }
    return home, {run_id.partition("-")[2]: result for run_id, result in run(home, history).items()}


def states(result: dict) -> dict[str, str]:
    return {node: state for node, (state, _) in result["nodes"].items()}


def test_independent_nodes_run_at_the_same_time(runs) -> None:
    _, history = runs
    assert {states(history["user"])[node] for node in ("Left", "Right")} == {"done"}  # each waits for the other


def test_user_mistake_keeps_its_words_and_blocks_what_is_behind(runs) -> None:
    _, history = runs
    code, told = history["user"]["errors"]["Break"]
    assert code == 4
    assert told.startswith("The value is wrong. Where: ")
    assert states(history["user"]) == {
        "Source": "done", "Left": "done", "Right": "done", "Break": "failed", "Behind": "blocked",
    }  # fmt: skip
    assert history["user"]["nodes"]["Behind"][1] == "Break failed"


def test_bug_names_the_log_and_a_full_disk_the_file(runs) -> None:
    home, history = runs
    code, told = history["bug"]["errors"]["Break"]
    assert code == 20
    assert "ValueError: some internal detail" in told
    log = home / "logs" / "1-bug" / "Break.log"
    assert str(log) in told
    assert "Traceback" in log.read_text()
    code, told = history["disk"]["errors"]["Break"]
    assert code == 22
    assert "/full/file" in told


def test_killed_node_is_told_with_its_signal(runs) -> None:
    _, history = runs
    code, told = history["kill"]["errors"]["Break"]
    assert code == 20
    assert "ended by signal 9" in told


def test_what_did_not_end_well_is_abandoned_and_nothing_else(runs) -> None:
    _, history = runs
    ended_badly = {name: result["abandoned"] for name, result in history.items() if result["abandoned"]}
    assert ended_badly == {name: ["Break"] for name in ("user", "bug", "disk", "kill")}


def test_failed_node_leaves_no_output(runs) -> None:
    home, _ = runs
    halves = list((home / "artifacts" / "Break" / "model").glob("*/half"))
    assert len(halves) == 3  # of the killed node (`recover` removes it), the good run and the changed run


def test_finished_nodes_are_kept_after_a_failure(runs) -> None:
    _, history = runs
    for how in ("bug", "disk", "kill", "good"):
        assert states(history[how])["Left"] == "cached"
    assert states(history["good"])["Break"] == "done"
    assert "1-user" in history["good"]["nodes"]["Left"][1]


def test_second_run_is_cached_and_says_from_where(runs) -> None:
    _, history = runs
    assert set(states(history["cached"]).values()) == {"cached"}
    assert "2-good" in history["cached"]["nodes"]["Behind"][1]


def test_forced_node_runs_alone(runs) -> None:
    _, history = runs
    assert history["forced"]["nodes"]["Right"] == ["done", "forced"]
    assert states(history["forced"])["Left"] == "cached"


def test_changed_parameter_is_the_reason(runs) -> None:
    _, history = runs
    nodes = history["changed"]["nodes"]
    assert nodes["Source"] == ["done", 'text: "a" → "b"']
    assert nodes["Left"] == ["done", "new upstream from Source"]


def test_before_each_node_the_lock_is_confirmed(runs) -> None:
    _, history = runs
    assert history["good"]["confirmed"] == 5
    assert history["user"]["confirmed"] == 4  # what is blocked does not start


def test_run_that_lost_its_lock_starts_nothing_more_and_ends_what_runs(tmp_path: Path) -> None:
    result = run(tmp_path, {"1": {"confirmations": 2}})["1"]
    assert result["lost"] == "The lock was lost"
    assert states(result) == {
        "Source": "done", "Left": "cancelled", "Right": "waiting", "Break": "waiting", "Behind": "waiting",
    }  # fmt: skip
    assert result["abandoned"] == ["Left"]
    assert not list((tmp_path / "artifacts" / "Left" / "model").glob("*/met"))


def test_nodes_write_to_their_logs_only(runs) -> None:
    home, _ = runs
    assert "waiting" in (home / "logs" / "1-user" / "Left.log").read_text()
