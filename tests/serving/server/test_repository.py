"""Versions come and go, and never take one another down.

The loads are toys, so that each test decides when one ends and how; real models are in test_loading and test_app.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from contextlib import asynccontextmanager

import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.server.repository import AVAILABLE, END, LOADING, UNLOADING, Repository
from serving.server.servable import Servable
from serving.server.status import Code, StatusError

SECONDS = 5.0
NAMES = {LOADING: "LOADING", AVAILABLE: "AVAILABLE", UNLOADING: "UNLOADING", END: "END"}


class ToyModel:
    """Tells when it is closed."""

    signatures = {}

    def __init__(self, on_close):
        self.close = on_close


class World:
    """Folders of models, a repository over them, and all that happened."""

    def __init__(self, folder, **options):
        self.folder = folder
        self.events = []
        self.failures = {}
        """By version: the errors of its next loads; None to succeed."""
        self.gates = {}
        """By version: loading waits for it."""
        options = {"retries": 0, "retry_seconds": 0.0, **options}
        self.repository = Repository(self._load, **options)

    def _load(self, name, version, path):
        self.events.append(("load", name, version))
        if version in self.gates:
            assert self.gates[version].wait(SECONDS)
        error = next(iter(self.failures.get(version, [])), None)
        if error is not None:
            self.failures[version].pop(0)
            raise error
        self.events.append(("loaded", name, version))
        return Servable(name, version, ToyModel(lambda: self.events.append(("closed", name, version))))

    def hold(self, version):
        self.gates[version] = threading.Event()
        return self.gates[version].set

    def push(self, version, name="m"):
        (self.folder / name / str(version)).mkdir(parents=True)

    def drop(self, version, name="m"):
        (self.folder / name / str(version)).rmdir()

    def config(self, *names, policy="", labels=None, platform="tensorflow", paths=None):
        config = ModelServerConfig()
        config.model_config_list.SetInParent()
        for name in names:
            path = (paths or {}).get(name, self.folder / name)
            model = config.model_config_list.config.add(name=name, base_path=str(path), model_platform=platform)
            text_format.Parse(policy, model.model_version_policy)
            model.version_labels.update(labels or {})
        return config

    async def serve(self, *names, **options):
        """Reloads; models without a version yet would be waited for."""
        await asyncio.wait_for(self.repository.reload(self.config(*(names or ["m"]), **options)), SECONDS)

    def states(self, name="m"):
        return {each.number: NAMES[each.state] for each in self.repository.versions(name)}

    def served(self, name="m"):
        return self.repository.find(name).version

    async def until(self, **states):
        """Waits for states of m's versions, polling folders as the server does; `v3="END"`."""
        wanted = {int(version.replace("_", "-")[1:]): state for version, state in states.items()}

        def is_so():
            self.repository.poll()
            try:
                return wanted.items() <= self.states().items()
            except StatusError:
                return False

        await eventually(is_so, lambda: f"{self.states()}, expected {wanted}")


async def eventually(is_so, tell=lambda: ""):
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, tell()
        await asyncio.sleep(0.002)


def asynchronous(test):
    @functools.wraps(test)
    def run(*arguments, **named):
        asyncio.run(test(*arguments, **named))

    return run


@pytest.fixture
def world(tmp_path):
    """Makes a world, and closes it."""

    @asynccontextmanager
    async def make(**options):
        made = World(tmp_path, **options)
        try:
            yield made
        finally:
            for gate in made.gates.values():
                gate.set()
            await asyncio.wait_for(made.repository.close(), SECONDS)

    return make


def refused(code, message, act):
    with pytest.raises(StatusError) as caught:
        act()
    assert (caught.value.code, caught.value.message) == (code, message)


async def refuses(code, message, coroutine):
    with pytest.raises(StatusError) as caught:
        await coroutine
    assert caught.value.code is code
    assert message in caught.value.message


@asynchronous
async def test_reload_waits_for_the_first_version(world):
    async with world() as it:
        it.push(1)
        let_go = it.hold(1)
        serving = asyncio.create_task(it.serve())
        await eventually(lambda: ("load", "m", 1) in it.events)
        refused(Code.NOT_FOUND, "Servable not found for request: Latest(m)", lambda: it.served())
        assert it.states() == {1: "LOADING"}
        assert not serving.done()
        let_go()
        await serving
        assert it.served() == 1
        assert it.states() == {1: "AVAILABLE"}


@asynchronous
async def test_reload_waits_for_a_version_that_is_yet_to_be_pushed(world):
    async with world() as it:
        serving = asyncio.create_task(it.serve())
        await asyncio.sleep(0.05)
        assert not serving.done()
        it.push(4)
        await it.until(v4="AVAILABLE")
        await serving


@asynchronous
async def test_a_reload_that_waits_for_a_wrong_path_blocks_none_that_mends_it(world):
    async with world() as it:
        it.push(1, "b")
        wrong = asyncio.create_task(it.serve("b", paths={"b": it.folder / "missing"}))
        await asyncio.sleep(0.05)
        assert not wrong.done()
        await it.serve("b")
        await wrong
        assert it.served("b") == 1
        gone = asyncio.create_task(it.serve("b", "c"))
        await asyncio.sleep(0.05)
        await it.serve("b")
        await gone  # the model that it waited for is wanted no more


@asynchronous
async def test_a_reload_need_not_wait(world):
    async with world() as it:
        await asyncio.wait_for(it.repository.reload(it.config("m"), waits=False), SECONDS)
        refused(Code.NOT_FOUND, "Servable not found for request: Latest(m)", lambda: it.served())


@asynchronous
async def test_a_new_version_is_available_before_the_old_one_unloads(world):
    async with world() as it:
        it.push(1)
        await it.serve()
        it.push(2)
        let_go = it.hold(2)
        await it.until(v2="LOADING")
        assert it.served() == 1
        let_go()
        await it.until(v2="AVAILABLE", v1="END")
        assert it.served() == 2
        assert it.events.index(("loaded", "m", 2)) < it.events.index(("closed", "m", 1))


@asynchronous
async def test_the_newest_loads_first(world):
    async with world(load_threads=1) as it:
        for version in (1, 10, 9):
            it.push(version)
        await it.serve(policy="all {}")
        await it.until(v1="AVAILABLE", v9="AVAILABLE", v10="AVAILABLE")
        assert [version for event, _, version in it.events if event == "load"] == [10, 9, 1]
        assert it.served() == 10


@asynchronous
async def test_versions_are_listed_newest_first_and_stay_listed_after_their_end(world):
    async with world() as it:
        it.push(1)
        await it.serve()
        it.push(2)
        await it.until(v2="AVAILABLE", v1="END")
        it.push(3)
        await it.until(v3="AVAILABLE", v2="END")
        assert list(it.states().items()) == [(3, "AVAILABLE"), (2, "END"), (1, "END")]
        (one,) = it.repository.versions("m", 1)
        assert (one.number, one.state, one.error) == (1, END, None)
        refused(Code.NOT_FOUND, "Could not find version 7 of model m", lambda: it.repository.versions("m", 7))
        refused(Code.NOT_FOUND, "Could not find any versions of model n", lambda: it.repository.versions("n"))


@asynchronous
async def test_looking_up(world):
    async with world() as it:
        for version in (1, 2, 3):
            it.push(version)
        await it.serve(policy="latest { num_versions: 2 }")
        await it.until(v2="AVAILABLE", v3="AVAILABLE")
        await it.serve(policy="latest { num_versions: 2 }", labels={"stable": 2, "canary": 3})
        find = it.repository.find
        assert find("m").version == 3
        assert find("m", 2).version == 2
        assert find("m", label="stable").version == 2
        assert find("m", label="canary").version == 3
        unknown = "Unrecognized servable version label: "
        refused(Code.NOT_FOUND, "Servable not found for request: Specific(m, 1)", lambda: find("m", 1))
        refused(Code.NOT_FOUND, "Servable not found for request: Specific(n, 1)", lambda: find("n", 1))
        refused(Code.NOT_FOUND, "Servable not found for request: Latest(n)", lambda: find("n"))
        refused(Code.INVALID_ARGUMENT, f"{unknown}blue", lambda: find("m", label="blue"))
        refused(Code.INVALID_ARGUMENT, f"{unknown}stable", lambda: find("n", label="stable"))
        refused(Code.INVALID_ARGUMENT, unknown, lambda: find("m", label=""))
        for named in ({}, {"version": 1}, {"label": "stable"}):
            refused(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.", lambda named=named: find("", **named))


@asynchronous
async def test_a_policy_may_change(world):
    async with world() as it:
        for version in (1, 2, 3):
            it.push(version)
        await it.serve(policy="all {}")
        await it.until(v1="AVAILABLE", v2="AVAILABLE", v3="AVAILABLE")
        await it.serve(policy="specific { versions: 2 }")
        await it.until(v1="END", v2="AVAILABLE", v3="END")
        assert it.served() == 2
        await it.serve()
        await it.until(v3="AVAILABLE", v2="END")


@asynchronous
async def test_a_rollback(world):
    async with world() as it:
        for version in (1, 2):
            it.push(version)
        await it.serve(policy="specific { versions: 2 }")
        let_go = it.hold(1)
        await it.serve(policy="specific { versions: 1 }")
        await it.until(v1="LOADING")
        assert it.served() == 2
        let_go()
        await it.until(v1="AVAILABLE", v2="END")
        assert it.served() == 1


@asynchronous
async def test_versions_below_zero(world):
    async with world() as it:
        it.push(-7)
        await it.serve()
        assert it.served() == -7
        assert it.repository.find("m", -7).version == -7


@asynchronous
async def test_a_folder_that_vanishes_is_unloaded(world):
    async with world() as it:
        it.push(1)
        await it.serve()
        it.drop(1)
        await it.until(v1="END")
        refused(Code.NOT_FOUND, "Servable not found for request: Latest(m)", lambda: it.served())
        it.push(1)
        await it.until(v1="AVAILABLE")
        assert it.served() == 1


@asynchronous
async def test_the_version_before_comes_back_when_the_newest_vanishes(world):
    async with world() as it:
        it.push(1)
        it.push(2)
        await it.serve()
        it.drop(2)
        await it.until(v1="AVAILABLE", v2="END")
        assert it.events.index(("loaded", "m", 1)) < it.events.index(("closed", "m", 2))


@asynchronous
async def test_a_base_path_that_vanishes_changes_nothing(world, caplog):
    async with world() as it:
        it.push(1)
        await it.serve()
        (it.folder / "m").rename(it.folder / "hidden")
        it.repository.poll()
        assert it.served() == 1
        assert "Could not find base path" in caplog.text
        (it.folder / "hidden").rename(it.folder / "m")
        it.repository.poll()
        assert it.states() == {1: "AVAILABLE"}


@asynchronous
async def test_requests_in_flight_keep_a_version(world):
    async with world() as it:
        it.push(1)
        await it.serve()
        servable = it.repository.find("m")
        servable.in_flight += 2
        it.push(2)
        await it.until(v2="AVAILABLE", v1="UNLOADING")
        refused(Code.NOT_FOUND, "Servable not found for request: Specific(m, 1)", lambda: it.repository.find("m", 1))
        servable.in_flight -= 1
        await asyncio.sleep(0.05)
        assert ("closed", "m", 1) not in it.events
        servable.in_flight -= 1
        await it.until(v1="END")
        assert ("closed", "m", 1) in it.events


@asynchronous
async def test_a_version_that_is_wanted_again_while_it_unloads_is_loaded_again(world):
    async with world() as it:
        it.push(1)
        await it.serve()
        servable = it.repository.find("m")
        servable.in_flight += 1
        it.drop(1)
        await it.until(v1="UNLOADING")
        it.push(1)
        it.repository.poll()
        assert it.states() == {1: "UNLOADING"}
        servable.in_flight -= 1
        await it.until(v1="AVAILABLE")
        assert it.repository.find("m") is not servable


@asynchronous
async def test_unloading_is_told_before_a_servable_is_closed(world):
    told = []
    async with world(on_unload=lambda servable: told.append((servable.version, list(it.events)))) as it:
        it.push(1)
        await it.serve()
        it.push(2)
        await it.until(v1="END")
        ((version, events),) = told
        assert version == 1
        assert ("closed", "m", 1) not in events


@asynchronous
async def test_loading_is_tried_again(world, caplog):
    async with world(retries=2) as it:
        it.push(1)
        it.failures[1] = [OSError("half copied"), tf.errors.DataLossError(None, None, "half copied")]
        await it.serve()
        assert it.events.count(("load", "m", 1)) == 3
        (version,) = it.repository.versions("m")
        assert (version.state, version.error) == (AVAILABLE, None)
        assert "Loading m version 1 failed" in caplog.text


@asynchronous
async def test_the_old_version_stays_while_the_new_one_cannot_be_loaded(world):
    async with world(retries=1) as it:
        it.push(1)
        await it.serve()
        it.push(2)
        it.failures[2] = [OSError("bad")] * 2
        await it.until(v2="END")
        assert it.events.count(("load", "m", 2)) == 2
        assert it.states() == {2: "END", 1: "AVAILABLE"}
        assert it.served() == 1
        it.repository.poll()
        await asyncio.sleep(0.02)
        assert it.events.count(("load", "m", 2)) == 2
        it.push(3)
        await it.until(v3="AVAILABLE", v1="END", v2="END")


@asynchronous
async def test_of_several_old_versions_the_newest_stays_while_no_new_one_is_available(world):
    async with world() as it:
        it.push(1)
        it.push(2)
        await it.serve(policy="all {}")
        await it.until(v1="AVAILABLE", v2="AVAILABLE")
        it.push(3)
        it.failures[3] = [OSError("bad")]
        await it.serve()
        await it.until(v3="END", v2="AVAILABLE", v1="END")
        assert it.served() == 2


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (FileNotFoundError("no model"), Code.NOT_FOUND, "no model"),
        (PermissionError("secret"), Code.INTERNAL, "secret"),
        (StatusError(Code.DATA_LOSS, "torn"), Code.DATA_LOSS, "torn"),
        (tf.errors.FailedPreconditionError(None, None, "no variable"), Code.FAILED_PRECONDITION, "no variable"),
        (ValueError("odd"), Code.INTERNAL, "odd"),
        (KeyError("x"), Code.INTERNAL, "'x'"),
        (RuntimeError(), Code.INTERNAL, "RuntimeError"),
        (MemoryError(), Code.INTERNAL, "MemoryError"),
    ],
    ids=repr,
)
@asynchronous
async def test_the_status_shows_the_error(world, error, code, message):
    async with world() as it:
        it.push(1)
        it.failures[1] = [error]
        told = "1 model(s) did not become available: {{{name: m version: 1} due to error: "
        await refuses(Code.UNKNOWN, f"{told}{code.name}: {message}}}, }}", it.serve())
        (version,) = it.repository.versions("m")
        assert version.state == END
        assert (version.error.code, version.error.message) == (code, message)


@asynchronous
async def test_a_folder_that_failed_is_loaded_once_it_was_replaced(world):
    async with world() as it:
        it.push(1)
        await it.serve()
        it.push(2)
        it.failures[2] = [OSError("bad")]
        await it.until(v2="END")
        it.drop(2)
        await it.until(v2="END", v1="AVAILABLE")
        it.push(2)
        await it.until(v2="AVAILABLE", v1="END")
        (version,) = it.repository.versions("m", 2)
        assert version.error is None


@asynchronous
async def test_a_version_that_vanishes_between_retries_is_given_up(world):
    async with world(retries=100, retry_seconds=0.02) as it:
        it.push(1)
        await it.serve()
        it.push(2)
        it.failures[2] = [OSError("bad")] * 100
        await eventually(lambda: it.repository.poll() or it.events.count(("load", "m", 2)) >= 2)
        it.drop(2)
        await it.until(v2="END", v1="AVAILABLE")
        it.failures[2] = []
        it.push(2)
        await it.until(v2="AVAILABLE", v1="END")


@asynchronous
async def test_a_version_that_vanishes_while_it_loads_is_unloaded_at_once(world):
    async with world() as it:
        it.push(1)
        await it.serve()
        it.push(2)
        let_go = it.hold(2)
        await it.until(v2="LOADING")
        await eventually(lambda: ("load", "m", 2) in it.events)
        it.drop(2)
        it.repository.poll()
        let_go()
        await it.until(v2="END", v1="AVAILABLE")
        assert ("closed", "m", 2) in it.events


@asynchronous
async def test_several_models_do_not_disturb_one_another(world):
    async with world(retries=100, retry_seconds=60) as it:
        it.push(1, "a")
        it.push(2, "b")
        it.failures[2] = [OSError("bad")]
        serving = asyncio.create_task(it.serve("a", "b"))
        await eventually(lambda: ("load", "b", 2) in it.events)
        await eventually(lambda: it.states("a") == {1: "AVAILABLE"})
        it.push(3, "a")
        it.repository.poll()
        await eventually(lambda: it.served("a") == 3)
        refused(Code.NOT_FOUND, "Servable not found for request: Latest(b)", lambda: it.served("b"))
        serving.cancel()


@asynchronous
async def test_a_missing_base_path_of_one_model_does_not_stop_the_others(world):
    async with world() as it:
        it.push(1, "a")
        serving = asyncio.create_task(it.serve("missing", "a"))
        await eventually(lambda: ("loaded", "a", 1) in it.events)
        it.push(1, "missing")
        await eventually(lambda: it.repository.poll() or serving.done())
        await serving


@asynchronous
async def test_a_reload_serves_exactly_the_new_set(world):
    async with world() as it:
        for name in "abc":
            it.push(1, name)
        await it.serve("a", "b")
        kept = it.repository.find("a")
        await it.serve("a", "c")
        assert it.repository.find("a") is kept
        assert it.served("c") == 1
        refused(Code.NOT_FOUND, "Servable not found for request: Latest(b)", lambda: it.served("b"))
        refused(Code.NOT_FOUND, "Servable not found for request: Specific(b, 1)", lambda: it.repository.find("b", 1))
        await eventually(lambda: it.states("b") == {1: "END"})
        await it.serve("a", "b", "c")
        assert it.served("b") == 1


@asynchronous
async def test_no_models_at_all(world):
    async with world() as it:
        it.push(1)
        await it.serve()
        await asyncio.wait_for(it.repository.reload(it.config()), SECONDS)
        await it.until(v1="END")


@asynchronous
async def test_an_empty_config_changes_nothing(world):
    async with world() as it:
        it.push(1)
        await it.serve()
        await it.repository.reload(ModelServerConfig())
        assert it.served() == 1


@asynchronous
async def test_a_model_that_was_removed_and_added_again_keeps_its_history(world):
    async with world() as it:
        it.push(1)
        it.push(1, "n")
        await it.serve("m", "n")
        await it.serve("n")
        await it.until(v1="END")
        it.push(2)
        await it.serve("m", "n")
        assert it.states() == {2: "AVAILABLE", 1: "END"}
        await it.serve("n")
        await it.until(v1="END", v2="END")
        it.drop(2)
        await it.serve("m", "n")
        assert it.states() == {2: "END", 1: "AVAILABLE"}


@asynchronous
async def test_a_removed_model_answers_what_is_in_flight(world):
    async with world() as it:
        it.push(1)
        it.push(1, "n")
        await it.serve("m", "n")
        servable = it.repository.find("m")
        servable.in_flight += 1
        await it.serve("n")
        await it.until(v1="UNLOADING")
        await it.serve("m", "n")
        assert it.repository.find("m") is not servable
        assert ("closed", "m", 1) not in it.events
        servable.in_flight -= 1
        await eventually(lambda: ("closed", "m", 1) in it.events)
        assert it.states() == {1: "AVAILABLE"}


@asynchronous
async def test_a_model_may_move(world):
    async with world() as it:
        it.push(1, "old")
        it.push(2, "new")
        await it.serve("m", paths={"m": it.folder / "old"})
        await it.serve("m", paths={"m": it.folder / "new"})
        await it.until(v2="AVAILABLE", v1="END")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"platform": "pytorch"}, "Illegal to change a model's platform. For model m platform was tensorflow and new"),
        ({"paths": {"m": "relative"}}, "Expected model m to have an absolute path or URI"),
        ({"labels": {"stable": 9}}, "Request to assign label to version 9 of model m, which is not currently"),
    ],
    ids=["platform", "path", "label"],
)
@asynchronous
async def test_a_wrong_config_keeps_the_old_one(world, caplog, options, told):
    async with world() as it:
        it.push(1)
        it.push(1, "n")
        await it.serve(labels={}, policy="all {}")
        await it.serve(labels={"stable": 1}, policy="all {}")
        accepted = []
        config = it.config("m", **{"labels": {"new": 1}, **options})
        new = it.config("n").model_config_list.config
        config.model_config_list.config.extend(new)
        with pytest.raises(StatusError) as caught:
            await it.repository.reload(config, accepted.append)
        label = "labels" in options
        assert caught.value.code is (Code.FAILED_PRECONDITION if label else Code.INVALID_ARGUMENT)
        if "platform" not in options:  # both are wrong with it; which is told first does not matter
            assert told in caught.value.message
        assert accepted == []
        assert it.repository.find("m", label="stable").version == 1
        refused(Code.NOT_FOUND, "Servable not found for request: Latest(n)", lambda: it.served("n"))
        refused(Code.NOT_FOUND, "Could not find any versions of model n", lambda: it.repository.versions("n"))


@asynchronous
async def test_who_accepts_a_config_may_refuse_it(world):
    def refuse(config):
        raise StatusError(Code.NOT_FOUND, "no such log collector")

    async with world() as it:
        it.push(1)
        it.push(1, "n")
        await it.serve()
        await refuses(Code.NOT_FOUND, "no such log", it.repository.reload(it.config("n"), refuse))
        assert it.served() == 1
        refused(Code.NOT_FOUND, "Servable not found for request: Latest(n)", lambda: it.served("n"))


class TestLabels:
    @asynchronous
    async def test_a_label_moves_only_to_an_available_version(self, world):
        async with world() as it:
            it.push(1)
            await it.serve(policy="all {}")
            await it.serve(policy="all {}", labels={"stable": 1})
            it.push(2)
            let_go = it.hold(2)
            await it.until(v2="LOADING")
            told = "Request to assign label to version 2 of model m, which is not currently available for inference"
            await refuses(Code.FAILED_PRECONDITION, told, it.serve(policy="all {}", labels={"stable": 2}))
            assert it.repository.find("m", label="stable").version == 1
            let_go()
            await it.until(v2="AVAILABLE")
            await it.serve(policy="all {}", labels={"stable": 2})
            assert it.repository.find("m", label="stable").version == 2

    @asynchronous
    async def test_the_first_config_may_not_have_labels(self, world):
        async with world() as it:
            it.push(1)
            await refuses(Code.FAILED_PRECONDITION, "version 1 of model m", it.serve(labels={"stable": 1}))

    @asynchronous
    async def test_the_first_config_may_have_labels_if_that_is_allowed(self, world):
        async with world(allow_unavailable_labels=True) as it:
            it.push(1)
            await it.serve(labels={"stable": 1, "future": 9})
            assert it.repository.find("m", label="stable").version == 1
            told = "Servable not found for request: Specific(m, 9)"
            refused(Code.NOT_FOUND, told, lambda: it.repository.find("m", label="future"))

    @asynchronous
    async def test_even_then_a_label_does_not_move_to_an_unavailable_version(self, world):
        async with world(allow_unavailable_labels=True) as it:
            it.push(1)
            await it.serve(labels={"stable": 1})
            await refuses(Code.FAILED_PRECONDITION, "version 9 of model m", it.serve(labels={"stable": 9}))
            assert it.repository.find("m", label="stable").version == 1
            await it.serve(labels={})
            await it.serve(labels={"stable": 9})

    @asynchronous
    async def test_a_label_that_is_listed_no_more_is_gone(self, world):
        async with world() as it:
            it.push(1)
            await it.serve()
            await it.serve(labels={"stable": 1})
            await it.serve()
            told = "Unrecognized servable version label: stable"
            refused(Code.INVALID_ARGUMENT, told, lambda: it.repository.find("m", label="stable"))

    @asynchronous
    async def test_the_label_of_a_version_that_went_away(self, world):
        async with world() as it:
            it.push(1)
            await it.serve()
            await it.serve(labels={"stable": 1})
            it.push(2)
            await it.until(v2="AVAILABLE", v1="END")
            told = "Servable not found for request: Specific(m, 1)"
            refused(Code.NOT_FOUND, told, lambda: it.repository.find("m", label="stable"))
            await refuses(Code.FAILED_PRECONDITION, "version 1 of model m", it.serve(labels={"stable": 1}))
            await it.serve(labels={"stable": 2})
            assert it.repository.find("m", label="stable").version == 2


@asynchronous
async def test_closing_drains_and_unloads(world):
    async with world() as it:
        it.push(1)
        await it.serve()
        servable = it.repository.find("m")
        servable.in_flight += 1
        closing = asyncio.create_task(it.repository.close())
        await asyncio.sleep(0.03)
        assert not closing.done()
        servable.in_flight -= 1
        await closing
        assert it.events[-1] == ("closed", "m", 1)


@pytest.mark.parametrize("is_removed", [False, True])
@asynchronous
async def test_closing_does_not_wait_for_retries(world, is_removed):
    async with world(retries=5, retry_seconds=60) as it:
        it.push(1)
        it.push(1, "n")
        await it.serve("m", "n")
        it.push(2)
        it.failures[2] = [OSError("bad")]
        it.repository.poll()
        await eventually(lambda: it.repository.versions("m", 2)[0].error is not None)
        if is_removed:
            await it.serve("n")
        await asyncio.wait_for(it.repository.close(), 2)


@asynchronous
async def test_many_polls_beside_loads_and_reloads(world, caplog):
    caplog.set_level(logging.CRITICAL)
    async with world(load_threads=3) as it:
        it.push(0)
        await it.serve()
        for version in range(1, 40):
            it.push(version)
            if version % 3 == 0:
                it.failures[version] = [OSError("bad")]
            it.repository.poll()
            if version % 5 == 0:
                await it.serve("m", policy=f"latest {{ num_versions: {version % 4 + 1} }}")
            await asyncio.sleep(0)
            assert it.served() >= 0
        await it.serve("m")
        await it.until(v39="END")
        it.push(40)
        await it.until(v40="AVAILABLE")
        await eventually(lambda: list(it.states().values()).count("AVAILABLE") == 1, lambda: str(it.states()))

        def versions(event):
            return sorted(version for each, _, version in it.events if each == event)

        def all_are_closed_once():
            return versions("closed") == sorted({*versions("loaded")} - {40})

        await eventually(all_are_closed_once, lambda: str((versions("loaded"), versions("closed"))))
