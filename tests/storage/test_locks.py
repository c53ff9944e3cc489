"""One at a time: a lease is one holder's, until it lets go or is gone for good."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from object_stores import let_expire, memory
from upath import UPath

from schema.errors import ExitCode, LockedError
from storage import leases
from storage.leases import Claim
from storage.locks import locked
from storage.places import at, files_below


@pytest.fixture
def base() -> Iterator[UPath]:
    with memory() as place:
        yield place


class Clock:
    """Time that passes only while somebody waits for the lock; at its beginning it is what it is elsewhere."""

    strftime, localtime = staticmethod(time.strftime), staticmethod(time.localtime)

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.begun = time.time()
        self.waited = 0.0
        self._meanwhile = meanwhile

    def time(self) -> float:
        return self.begun + self.waited

    def monotonic(self) -> float:
        return self.waited

    def sleep(self, seconds: float) -> None:
        self.waited += seconds
        self._meanwhile()


def claims(base: UPath) -> list[Claim]:
    """What the lock's objects say, in the order of their numbers."""
    return [Claim.model_validate_json(place.read_bytes()) for place in files_below(base / ".push.lock").values()]


def hold(base: UPath, token: str, until: float) -> None:
    """As if another process held the lock."""
    number = max([int(name) for name in files_below(base / ".push.lock")], default=0) + 1
    place = base / ".push.lock" / f"{number:012d}"
    place.write_bytes(Claim(token=token, holder="process 7 on elsewhere", until=until).model_dump_json().encode())


def test_a_folder_of_this_machine_is_created_and_locked(tmp_path: Path) -> None:
    with locked(at(tmp_path / "models")) as confirm:
        confirm()
        assert (tmp_path / "models").is_dir()


def test_it_is_held_for_minutes_and_released(base: UPath) -> None:
    with locked(base) as confirm:
        confirm()
        [claim] = claims(base)
        assert 200 < claim.until - time.time() <= 300
        assert claim.holder.startswith("process ")
    [claim] = claims(base)
    assert claim.until == 0


def test_it_is_released_after_an_error(base: UPath) -> None:
    with pytest.raises(ValueError, match="mine"), locked(base):
        raise ValueError("mine")
    with locked(base):
        pass


def test_there_is_one_object_however_often_it_is_held(base: UPath) -> None:
    for _ in range(3):
        with locked(base):
            pass
    assert list(files_below(base)) == [".push.lock/000000000003"]


def test_who_holds_it_and_lives_is_told(base: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """It renews the lease every minute, and began 20 seconds before somebody else wants it."""

    def renew() -> None:
        if (clock.waited + 20) % 60 == 0:
            for place in files_below(base / ".push.lock").values():
                claim = Claim.model_validate_json(place.read_bytes())
                renewed = claim.model_copy(update={"until": clock.time() + 300})
                place.write_bytes(renewed.model_dump_json().encode())

    clock = Clock(renew)
    hold(base, "other", clock.time() + 280)
    monkeypatch.setattr(leases, "time", clock)
    with (
        pytest.raises(LockedError, match=r"Another process.*memory://.*process 7 on elsewhere.*until 2") as told,
        locked(base),
    ):
        pass
    assert told.value.exit_code == ExitCode.LOCKED
    assert [claim.token for claim in claims(base)] == ["other"]
    assert clock.waited == 60


def test_it_is_waited_for(base: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(lambda: let_expire(base))
    hold(base, "other", clock.time() + 100)
    monkeypatch.setattr(leases, "time", clock)
    with locked(base):
        pass
    assert clock.waited == 1


def test_one_whose_holder_was_killed_is_waited_for_until_it_expires(
    base: UPath, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    hold(base, "killed", clock.time() + 290)
    monkeypatch.setattr(leases, "time", clock)
    with locked(base):
        assert [claim.holder.startswith("process 7 ") for claim in claims(base)] == [False]
    assert 290 <= clock.waited <= 291
    told = [record.getMessage() for record in caplog.records if record.name == leases.log.name]
    assert [each.startswith("process 7 on elsewhere holds the lock") for each in told] == [True]


def test_a_holder_that_came_after_another_is_not_taken_for_dead_nor_for_alive(
    base: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hand_over() -> None:
        if clock.waited == 50:
            let_expire(base)
            hold(base, "next, and killed", clock.time() + 300)

    clock = Clock(hand_over)
    hold(base, "first", clock.time() + 290)
    monkeypatch.setattr(leases, "time", clock)
    with locked(base):
        assert 350 <= clock.waited <= 351


def test_an_expired_one_is_taken_over(base: UPath) -> None:
    hold(base, "killed", time.time() - 1)
    with locked(base):
        assert [claim.token for claim in claims(base)] != ["killed"]
        assert len(claims(base)) == 1


def test_whoever_lost_it_is_told_before_the_step_that_counts(base: UPath) -> None:
    with locked(base) as confirm:
        let_expire(base)
        with locked(base) as confirm_other:
            with pytest.raises(LockedError, match="was lost"):
                confirm()
            confirm_other()
    with locked(base) as confirm:
        confirm()


def test_a_lease_that_could_not_be_renewed_is_lost_before_others_take_it(
    base: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", -1.0)
    with locked(base) as confirm, pytest.raises(LockedError, match="was lost"):
        confirm()


def test_it_is_renewed(base: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, renewed = threading.Event(), threading.Event()
    real = leases._Lease.renew

    def renew(lease: leases._Lease, until: float) -> None:
        looked.wait(30)
        real(lease, until)
        renewed.set()

    monkeypatch.setattr(leases, "RENEWAL_SECONDS", 0.001)
    monkeypatch.setattr(leases._Lease, "renew", renew)
    with locked(base) as confirm:
        [before] = claims(base)
        looked.set()
        assert renewed.wait(30)
        [after] = claims(base)
        assert after.until > before.until
        assert after.token == before.token
        confirm()


def test_who_slept_after_looking_does_not_hold_it_beside_others(base: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """It saw number 1 expired; meanwhile 2 came and went, 3 is held, and both older ones are removed."""
    hold(base, "killed", 1.0)
    real, slept = leases._create, []

    def create(place: UPath, claim: Claim) -> None:
        if not slept:
            slept.append(True)
            for name in files_below(base / ".push.lock"):
                (base / ".push.lock" / name).unlink()
            renew()
        real(place, claim)

    def renew() -> None:
        other = Claim(token="other", holder="process 7 on elsewhere", until=clock.time() + 100)
        (base / ".push.lock" / f"{3:012d}").write_bytes(other.model_dump_json().encode())

    clock = Clock(renew)
    monkeypatch.setattr(leases, "time", clock)
    monkeypatch.setattr(leases, "_create", create)
    with pytest.raises(LockedError, match="process 7 on elsewhere"), locked(base):
        pass


def test_of_many_at_once_one_holds_it(base: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most, done = [0], [0], []
    real, store = leases._create, threading.Lock()

    def create(place: UPath, claim: Claim) -> None:
        with store:  # the store in memory looks first and writes then
            real(place, claim)

    monkeypatch.setattr(leases, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(leases, "_create", create)

    def work() -> None:
        for _ in range(3):
            with locked(base) as confirm:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                confirm()
                inside[0] -= 1
            done.append(True)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(done), most[0]) == (24, 1)
