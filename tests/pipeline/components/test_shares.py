"""Shares of a node's work in processes of their own."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from pipeline.components.shares import divided, shares_of
from schema.errors import DataError, DiskError

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
"""What these processes do, forked or not, is no more than the tests say."""


def raising(error: BaseException, in_share: int) -> Any:
    def work(share: int) -> int:
        if share == in_share:
            raise error
        return share

    return work


def test_each_share_has_a_process_and_the_first_is_this_one() -> None:
    with divided("Node", lambda share: [share, os.getpid()], 3) as begin:
        results = begin()
    assert [share for share, _ in results] == [0, 1, 2]
    pids = [pid for _, pid in results]
    assert pids[0] == os.getpid()
    assert len(set(pids)) == 3


def test_one_share_is_worked_on_here() -> None:
    with divided("Node", lambda share: os.getpid(), 1) as begin:
        assert begin() == [os.getpid()]


def test_nobody_begins_unasked_and_nobody_stays(tmp_path: Path) -> None:
    with divided("Node", lambda share: (tmp_path / f"{share}").touch(), 3):
        pass
    assert not list(tmp_path.iterdir())
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # there is no child


@pytest.mark.parametrize("share", [0, 2])
def test_what_a_share_raises_is_raised(share: int) -> None:
    error = DataError("It broke", where="here")
    with pytest.raises(DataError, match="It broke") as caught, divided("Node", raising(error, share), 3) as begin:
        begin()
    assert caught.value.where == "here"


def test_what_can_be_told_is_told_of_any_share() -> None:
    failing = divided("Node", raising(OSError(errno.EDQUOT, "Disk quota exceeded"), 1), 2)
    with pytest.raises(DiskError, match="Node could not write"), failing as begin:
        begin()


def test_what_cannot_is_handed_on_in_words() -> None:
    failing = divided("Node", raising(KeyError("temp"), 1), 2)
    with pytest.raises(ChildProcessError, match="KeyError: 'temp'"), failing as begin:
        begin()


def test_a_process_that_dies_is_an_error() -> None:
    def work(share: int) -> None:
        if share == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ChildProcessError, match="Node had forked ended by signal 9"), divided("Node", work, 2) as begin:
        begin()


def test_so_is_one_that_died_before_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    pids: list[int] = []
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: pids.append(fork()) or pids[-1])
    with divided("Node", lambda share: share, 2) as begin:
        os.kill(pids[-1], signal.SIGKILL)
        os.waitid(os.P_PID, pids[-1], os.WEXITED | os.WNOWAIT)
        with pytest.raises(ChildProcessError, match="by signal 9"):
            begin()


def test_the_others_are_stopped_when_one_fails(tmp_path: Path) -> None:
    def work(share: int) -> None:
        if share == 0:
            raise DataError("It broke")
        signal.pause()

    with pytest.raises(DataError), divided("Node", work, 2) as begin:
        begin()


def test_the_number_is_an_option_of_the_job() -> None:
    assert shares_of(["--runner=somewhere", "--shares=4"]) == 4
    assert shares_of(["--runner=somewhere"]) == shares_of(None) == 1
