"""The watch with a fake clock and runs that only write their report: order, exactly once, whatever happens."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.config import DataConfig, SourceConfig, WindowConfig
from data.spans import find_window, fingerprint
from monitoring.config import Trigger
from monitoring.report import Action, Decision
from pipeline.config import PipelineConfig, find_config, load_config
from pipeline.runners.lock import run_lock
from pipeline.runners.report import RunReport, load_reports, run_folder
from pipeline.watching.arrivals import Source
from pipeline.watching.beginning import watch_lock
from pipeline.watching.judge import Judge
from pipeline.watching.loop import Watch
from pipeline.watching.process import Ended
from pipeline.watching.run import Meanwhile
from pipeline.watching.telling import Teller
from schema.errors import ExitCode, LockedError, UsageError

EVERY = 60.0
SETTLE = 10.0
TRAIN = 2
NEW_SPAN = (Trigger.NEW_SPAN,)
ON_DRIFT = (Trigger.DRIFT,)
FLIGHTS: PipelineConfig = load_config(find_config("flights"))


class Killed(BaseException):
    """As by kill -9: nothing of the watch's own code handles it."""


def decide(action: Action, headline: str = "because") -> Decision:
    return Decision(action=action, headline=headline)


@dataclass
class World:
    """A source, a pipeline's home, and what is done to them."""

    folder: Path
    now: float = 0.0
    decision: Decision | Exception | None = None
    codes: dict[int, list[int]] = field(default_factory=dict)
    """How the next runs of a span end; OK when there is none."""
    told: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    rolled_back: list[Decision] = field(default_factory=list)
    during_run: Callable[[int, Meanwhile], None] = lambda span, meanwhile: None
    kill: Callable[[], None] = lambda: None
    """Called at every point at which a watch may be killed."""
    slept: Callable[[], None] = lambda: None

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def source(self) -> SourceConfig:
        return SourceConfig(format="csv", path=str(self.folder / "data" / "span-{SPAN}" / "*.csv"))

    def deliver(self, number: int, text: str = "") -> Path:
        path = self.folder / "data" / f"span-{number:02d}" / "rows.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text or f"rows of span {number}")
        return path

    def watch(self, triggers: tuple[Trigger, ...] = NEW_SPAN, from_span: int | None = None) -> Watch:
        """A new process, as it were."""
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "watch").mkdir(exist_ok=True)
        teller = Teller(self._tell, self.alerts.append)
        judge = Judge(FLIGHTS, self._look, lambda config, to: self.rolled_back.append(to), teller, self.clock, EVERY)
        source = Source(self.source, SETTLE, self.clock)
        return Watch(
            self.home, TRAIN, triggers, source, judge, self.run, teller, self.clock, self.sleep, EVERY, from_span
        )

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept()
        self.kill()

    def _tell(self, text: str) -> None:
        self.kill()
        self.told.append(text)

    def _look(self, config: PipelineConfig) -> Decision | None:
        self.kill()
        if isinstance(self.decision, Exception):
            raise self.decision
        return self.decision

    def run(self, span: int, meanwhile: Meanwhile) -> Ended:
        """What `headrace run --span` leaves behind."""
        self.kill()
        window = find_window(DataConfig(source=self.source, window=WindowConfig(train=TRAIN, newest=span)))
        run_id = f"{len(load_reports(self.home)):06d}"
        report = RunReport(run_id, "flights", {}, started=float(run_id))
        report.spans = {each.number: fingerprint([each]) for each in window.spans}
        run_folder(self.home, run_id).mkdir(parents=True)
        report.save(self.home)
        self.kill()
        self.during_run(span, meanwhile)
        code = self.codes[span].pop(0) if self.codes.get(span) else ExitCode.OK
        gates = (ExitCode.DATA_GATE, ExitCode.QUALITY_GATE, ExitCode.INFRA_GATE)
        report.outcome = "succeeded" if code == ExitCode.OK else "stopped" if code in gates else "failed"
        report.headline = f"it {report.outcome}"
        report.save(self.home)
        self.kill()
        return Ended(code, "its last words")

    def done(self) -> list[int | None]:
        """The spans of the runs that decided, in order."""
        return [report.newest for report in load_reports(self.home) if report.has_decided]

    def attempts(self) -> list[int | None]:
        return [report.newest for report in load_reports(self.home)]

    def has_told(self, part: str) -> bool:
        return any(part in line for line in self.told)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for number in (1, 2, 3):
        made.deliver(number)
    return made


def cycle(watch: Watch, world: World, times: int = 1) -> ExitCode:
    code = ExitCode.OK
    for _ in range(times):
        code = watch.cycle()
        world.sleep(EVERY)
    return code


def started(world: World, triggers: tuple[Trigger, ...] = NEW_SPAN) -> Watch:
    """A watch that has done the latest span."""
    watch = world.watch(triggers)
    cycle(watch, world, 2)
    return watch


def test_the_first_watch_runs_the_latest_span_and_the_second_nothing(world: World) -> None:
    started(world)
    assert world.done() == [3]
    cycle(world.watch(), world, 3)
    assert world.done() == [3]


def test_new_spans_run_in_order_after_an_outage(world: World) -> None:
    started(world)
    for number in (11, 9, 10):
        world.deliver(number)
    cycle(world.watch(), world, 2)
    assert world.done() == [3, 9, 10, 11]


def test_it_begins_at_the_span_that_is_named(world: World) -> None:
    cycle(world.watch(from_span=1), world, 2)
    assert world.done() == [2, 3]  # there is nothing to train on before span 1


def test_from_span_leads_past_a_span_that_nobody_can_mend_and_is_remembered(world: World) -> None:
    watch = started(world)
    world.deliver(4)
    world.codes[4] = [ExitCode.NODE] * 9
    cycle(watch, world, 3)
    world.deliver(5)
    cycle(world.watch(from_span=5), world)
    cycle(world.watch(), world, 2)
    assert world.done() == [3, 5]


def test_killed_before_its_first_span_was_done_it_does_not_begin_at_a_later_one(world: World) -> None:
    def kill() -> None:
        raise Killed

    world.kill = kill
    with pytest.raises(Killed):
        world.watch().once()
    world.kill = lambda: None
    world.deliver(4)
    cycle(world.watch(), world, 2)
    assert world.done() == [3, 4]


def test_a_span_that_grows_is_waited_for_and_so_is_what_comes_after_it(world: World) -> None:
    watch = started(world)
    path = world.deliver(4)
    for number in (5, 6, 7):  # span 4 is outside the window of span 7
        world.deliver(number)
    for length in range(4):
        cycle(watch, world)
        path.write_text("x" * (length + 1))
        assert world.done() == [3]
    assert world.has_told("span 4 is still being written")
    (path.parent / "more.csv").write_text("another file")
    cycle(watch, world)
    assert world.done() == [3]
    cycle(watch, world, 2)
    assert world.done() == [3, 4, 5, 6, 7]


def test_a_span_that_trains_is_waited_for_as_well(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in (1, 2, 3):
        world.deliver(number)
    watch = world.watch()
    cycle(watch, world)
    world.deliver(1, "more rows of span 1")
    cycle(watch, world)
    assert world.done() == []
    assert world.has_told("span 1 is still being written")
    cycle(watch, world)
    assert world.done() == [3]


def test_a_marker_says_that_a_span_is_complete(world: World) -> None:
    watch = started(world)
    (world.deliver(4).parent / "_SUCCESS").touch()
    cycle(watch, world)
    assert world.done() == [3, 4]


def test_a_marker_older_than_a_file_says_nothing(world: World) -> None:
    watch = started(world)
    folder = world.folder / "data" / "span-04"
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    while world.deliver(4).stat().st_ctime <= (folder / "_SUCCESS").stat().st_ctime:
        pass  # until the file system's clock has moved on
    cycle(watch, world)
    assert world.done() == [3]


def test_changed_content_runs_again_once(world: World) -> None:
    watch = started(world)
    world.deliver(3, "other rows")
    cycle(watch, world, 4)
    cycle(world.watch(), world, 3)
    assert world.done() == [3, 3]
    assert world.has_told("span 3 changed after span 3 was done")


def test_changed_content_of_a_span_that_trained_runs_the_newest_window_again_once(world: World) -> None:
    watch = started(world)
    world.deliver(2, "other rows")
    world.deliver(4)
    cycle(watch, world, 4)
    assert world.done() == [3, 3, 4]


def test_a_copy_of_the_same_bytes_changes_nothing(world: World) -> None:
    watch = started(world)
    world.deliver(3)
    cycle(watch, world, 3)
    assert world.done() == [3]


def test_content_that_changes_during_the_run_is_run_again(world: World) -> None:
    world.during_run = lambda span, meanwhile: None if world.done() else world.deliver(3, "other rows") and None
    watch = started(world)
    cycle(watch, world, 3)
    assert world.done() == [3, 3]


def test_a_change_that_only_the_run_saw_is_not_run_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.watching.arrivals._size_and_time", lambda path: (1, 0.0))
    watch = started(world)
    cycle(watch, world)
    world.deliver(3, "other rows, of the same size and time")
    world.deliver(4)
    cycle(watch, world, 4)
    assert world.done() == [3, 4]


def test_a_late_span_is_told_and_not_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in (1, 2, 4):
        world.deliver(number)
    watch = started(world)
    world.deliver(3)
    cycle(watch, world, 3)
    assert world.done() == [4]
    assert [line for line in world.alerts if "span 3 arrived after span 4 was done" in line]
    world.deliver(5)
    cycle(watch, world, 2)
    assert world.done() == [4, 5]
    assert set(load_reports(world.home)[-1].spans) == {3, 4, 5}


def test_old_spans_may_be_removed(world: World) -> None:
    watch = started(world)
    for number in (1, 3):
        shutil.rmtree(world.folder / "data" / f"span-{number:02d}")
    world.deliver(4)
    cycle(watch, world, 2)
    assert world.done() == [3, 4]


def test_a_gate_ends_a_span_and_the_next_goes_on(world: World) -> None:
    watch = started(world)
    world.codes[4] = [ExitCode.QUALITY_GATE]
    world.deliver(4)
    world.deliver(5)
    watch.source.look()
    world.sleep(SETTLE)
    assert watch.cycle() is ExitCode.QUALITY_GATE
    assert world.done() == [3, 4, 5]
    assert world.alerts == ["span 4: it stopped"]


@pytest.mark.parametrize("code", [ExitCode.NODE, ExitCode.DISK, ExitCode.DATA, ExitCode.INTERRUPTED, -9, 77])
def test_a_failure_is_tried_again_and_what_comes_after_it_waits(world: World, code: int) -> None:
    watch = started(world)
    world.codes[4] = [code, code]
    world.deliver(4)
    world.deliver(5)
    cycle(watch, world, 30)
    assert world.done() == [3, 4, 5]
    assert world.attempts() == [3, 4, 4, 4, 5]


def test_a_lasting_failure_is_tried_ever_more_rarely_alerted_and_never_given_up(world: World) -> None:
    watch = started(world)
    world.codes[4] = [ExitCode.NODE] * 1000
    world.deliver(4)
    assert cycle(watch, world, 24 * 60) is ExitCode.NODE
    assert 20 < world.attempts().count(4) < 40
    assert len(world.alerts) == world.attempts().count(4) - 2
    assert "attempt 3" in world.alerts[0]
    assert "its last words" in world.alerts[0]


def test_a_span_delivered_anew_is_tried_at_once(world: World) -> None:
    watch = started(world)
    world.codes[4] = [ExitCode.DATA] * 3
    world.deliver(4)
    cycle(watch, world, 20)
    assert world.done() == [3]
    world.deliver(4, "mended")
    cycle(watch, world, 2)
    assert world.done() == [3, 4]


def test_a_run_without_a_report_is_a_failure(world: World) -> None:
    watch = started(world)
    world.deliver(4)
    watch.run = lambda span, meanwhile: Ended(ExitCode.OK, "strange")
    assert cycle(watch, world, 2) is ExitCode.NODE


def test_the_report_of_an_earlier_run_of_the_span_does_not_count(world: World) -> None:
    watch = started(world)
    world.deliver(3, "other rows")
    watch.run = lambda span, meanwhile: Ended(ExitCode.DATA, "unreadable")
    assert cycle(watch, world, 2) is ExitCode.DATA
    watch.run = world.run
    cycle(watch, world, 2)
    assert world.done() == [3, 3]


def test_a_run_that_was_killed_after_its_report_is_done(world: World) -> None:
    watch = started(world)
    world.deliver(4)
    watch.run = lambda span, meanwhile: Ended(-9, world.run(span, meanwhile).words)
    assert cycle(watch, world, 3) is ExitCode.OK
    assert world.done() == [3, 4]


def test_another_run_is_waited_for_and_what_it_did_is_not_done_again(world: World) -> None:
    watch = started(world)
    world.deliver(4)
    world.deliver(5)
    cycle(watch, world)
    with ExitStack() as other:
        other.enter_context(run_lock(world.home))
        waits = iter(range(3))

        def finish() -> None:
            if next(waits) == 2:
                world.run(4, lambda: None)
                other.close()

        world.slept = finish
        watch.cycle()
    assert world.has_told("span 4 waits for another run")
    assert world.attempts() == [3, 4, 5]


def test_a_run_that_was_faster_is_no_failure(world: World) -> None:
    watch = started(world)
    world.deliver(4)
    answers = [Ended(ExitCode.LOCKED, ""), Ended(ExitCode.LOCKED, "")]
    watch.run = lambda span, meanwhile: answers.pop() if answers else world.run(span, meanwhile)
    assert cycle(watch, world, 2) is ExitCode.LOCKED
    cycle(watch, world, 2)
    assert world.done() == [3, 4]
    assert world.alerts == []


def test_what_never_reads_the_same_twice_runs_once_in_a_cycle(world: World) -> None:
    watch = started(world)
    watch.source.content = lambda arrival: str(world.now)  # type: ignore[method-assign]
    world.deliver(4)
    cycle(watch, world, 2)
    assert world.done() == [3, 3, 3, 4]  # once in each cycle, and what is new gets its turn


def test_one_watch_at_a_time(tmp_path: Path) -> None:
    with watch_lock(tmp_path):
        with pytest.raises(LockedError, match="Another watch"), watch_lock(tmp_path):
            pass
        with run_lock(tmp_path):
            pass  # a run is not in its way
    with pytest.raises(UsageError), watch_lock(tmp_path):
        raise UsageError("what goes wrong inside is not the lock's")


def test_without_the_trigger_a_new_span_waits_for_a_decision(world: World) -> None:
    world.decision = decide(Action.KEEP, "all is well")
    watch = started(world, ON_DRIFT)
    assert world.done() == [3]  # the first run needs no reason
    world.deliver(4)
    world.deliver(5)
    cycle(watch, world, 5)
    assert world.done() == [3]
    assert world.told.count("spans 4, 5 held: all is well") == 1
    world.decision = decide(Action.RETRAIN, "distance drifted")
    cycle(watch, world)
    assert world.done() == [3, 4, 5]
    assert world.has_told("span 4: runs (distance drifted)")


def test_a_pipeline_that_never_pushed_trains_without_a_trigger(world: World) -> None:
    world.codes[3] = [ExitCode.QUALITY_GATE]
    watch = started(world, ON_DRIFT)
    world.deliver(4)
    cycle(watch, world, 2)
    assert world.done() == [3, 4]


def test_nothing_new_to_train_on_is_told(world: World) -> None:
    watch = started(world)
    world.decision = decide(Action.RETRAIN)
    assert cycle(watch, world, 3) is ExitCode.RETRAIN
    assert world.told.count("nothing new to train on since span 3") == 1


def test_a_block_holds_spans_until_it_is_lifted(world: World) -> None:
    watch = started(world)
    world.decision = decide(Action.BLOCK, "carrier is constant")
    world.deliver(4)
    world.deliver(5)
    assert cycle(watch, world, 3) is ExitCode.BLOCK
    assert world.has_told("held: carrier is constant")
    world.decision = OSError("the log cannot be read")
    cycle(watch, world)
    assert world.done() == [3]
    world.decision = decide(Action.KEEP)
    cycle(watch, world)
    assert world.done() == [3, 4, 5]


def test_a_block_found_during_a_run_holds_the_next(world: World) -> None:
    watch = started(world)

    def block(span: int, meanwhile: Meanwhile) -> None:
        world.decision = decide(Action.BLOCK)
        world.now += EVERY
        meanwhile()

    world.during_run = block
    world.deliver(4)
    world.deliver(5)
    assert cycle(watch, world, 2) is ExitCode.BLOCK
    assert world.done() == [3, 4]


def test_a_rollback_does_not_wait_for_the_run_under_way(world: World) -> None:
    watch = started(world)
    seen: list[int] = []

    def stale(span: int, meanwhile: Meanwhile) -> None:
        world.decision = decide(Action.ROLL_BACK)
        world.now += EVERY
        meanwhile()
        seen.append(len(world.rolled_back))

    world.during_run = stale
    world.deliver(4)
    assert cycle(watch, world, 2) is ExitCode.ROLL_BACK
    assert seen == [1]
    assert world.done() == [3, 4]


def test_a_rollback_that_fails_is_told_and_tried_again(world: World) -> None:
    watch = started(world)
    tries: list[int] = []

    def fail(config: PipelineConfig, to: Decision) -> None:
        tries.append(1)
        raise OSError("the folder is read-only")

    watch.judge.roll_back = fail
    world.decision = decide(Action.ROLL_BACK)
    cycle(watch, world, 3)
    assert len(tries) == 3
    assert world.alerts == ["the rollback failed: the folder is read-only"]


def test_a_look_that_fails_stops_nothing(world: World) -> None:
    world.decision = RuntimeError("no metrics")
    watch = started(world)
    world.deliver(4)
    cycle(watch, world, 2)
    assert world.done() == [3, 4]
    assert world.alerts == ["the look at the served model failed: RuntimeError: no metrics"]
    assert watch.cycle() is ExitCode.INTERNAL


def test_trouble_with_the_source_is_told_once_and_survived(tmp_path: Path) -> None:
    world = World(tmp_path)
    watch = world.watch()
    assert cycle(watch, world, 3) is ExitCode.DATA
    assert len(world.alerts) == 1
    world.deliver(1)
    cycle(watch, world, 2)
    assert world.done() == []
    world.deliver(2)
    cycle(watch, world, 2)
    assert world.done() == [2]


def test_an_alert_that_cannot_be_sent_is_told(world: World) -> None:
    def hang_up(text: str) -> None:
        raise OSError("no route to host")

    watch = world.watch()
    watch.teller.alert = hang_up
    world.codes[3] = [ExitCode.DATA_GATE]
    cycle(watch, world, 2)
    assert world.told[-1] == "the alert could not be sent: no route to host"


def test_once_waits_until_what_arrived_is_settled(world: World) -> None:
    assert world.watch().once() is ExitCode.OK
    assert world.done() == [3]
    assert world.now == SETTLE
    assert world.watch().once() is ExitCode.OK
    assert world.now == SETTLE


KILLS = st.lists(st.integers(1, 25), max_size=12)
"""After how many points each watch is killed."""
SPANS = st.integers(0, 3)


@settings(max_examples=40, deadline=None)
@given(kills=KILLS, arrivals=st.lists(SPANS, max_size=6), codes=st.lists(st.sampled_from([0, 11, 20, -9]), max_size=8))
def test_killed_anywhere_every_span_is_done_once_and_in_order(
    kills: list[int], arrivals: list[int], codes: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for number in (1, 2, 3):
            world.deliver(number)
        newest, waiting = [3], list(arrivals)
        world.codes = {number: [code] for number, code in enumerate(codes, start=3)}

        def arrive() -> None:
            if not (world.home / "watch" / "first_span").exists():
                return  # no watch has come so far as to see anything
            for _ in range(waiting.pop(0) if waiting else 0):
                newest[0] += 1
                world.deliver(newest[0])

        for points in kills:
            left = [points]

            def kill(left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] <= 0:
                    raise Killed

            world.kill = kill
            with pytest.raises(Killed):
                world.watch().forever()
            arrive()
        world.kill = lambda: None
        watch = world.watch()
        cycle(watch, world)
        while waiting:
            arrive()
            cycle(watch, world)
        cycle(watch, world, 8)
        assert world.done() == list(range(3, newest[0] + 1))
