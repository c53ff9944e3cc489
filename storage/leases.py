"""A lock in an object store: a lease that its holder renews, and that ends by itself if the holder is gone.

Object stores have no locks. What they have is an object that is created only if there is none by that name
(ifGenerationMatch=0 in Cloud Storage, If-None-Match in S3), and listings that are never behind. So a lock is a row of
numbered objects of which the highest counts: it says who holds the lock until when. Whoever finds it released, or
expired, creates the next number, which only one can. The highest number is never removed, so no number counts twice;
and whoever has created one looks again, in case others went further since he looked first.

Machines must agree about the time to within `LEASE_SECONDS - RENEWAL_SECONDS`.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from upath import UPath

from schema.errors import LockedError
from schema.strict import Strict
from storage.files import create_if_absent, write_whole
from storage.places import Place, at, names_below

LEASE_SECONDS = 300.0
"""How long a lock outlives a holder that was killed."""

RENEWAL_SECONDS = 60.0
PATIENCE_SECONDS = 60.0
"""How long others wait at least for a holder that lives; one that was killed they outwait."""

_LOOK_SECONDS = 1.0

log = logging.getLogger(__name__)


class Claim(Strict):
    """What a numbered object says."""

    token: str
    """Another one each time that somebody asks for the lock."""
    holder: str
    until: float
    """Seconds since 1970; 0 once it is released."""


@dataclass
class _Lease:
    place: UPath
    claim: Claim

    def renew(self, until: float) -> None:
        renewed = self.claim.model_copy(update={"until": until})
        write_whole(self.place, renewed.model_dump_json())
        self.claim = renewed

    def has_expired(self) -> bool:
        return time.time() >= self.claim.until


@contextmanager
def leased(folder: Place) -> Iterator[Callable[[], None]]:
    """Holds a lock for as long as the context lasts.

    Args:
        folder: Holds the numbered objects and nothing else; in an object store.

    Yields:
        Raises `LockedError` if the lock was lost: this process stood still until the lease expired.

    Raises:
        LockedError: Another process holds it, and goes on holding it for `PATIENCE_SECONDS`. It is known to live once
            it has renewed the lease; the lease of one that does not is waited for until it expires.
    """
    lease = _acquire(at(folder))
    stop = threading.Event()
    renewing = threading.Thread(target=_keep, args=(lease, stop), name="lease", daemon=True)
    renewing.start()
    try:
        yield lambda: _confirm(lease)
    finally:
        stop.set()
        renewing.join()
        with suppress(Exception):  # it ends by itself
            lease.renew(until=0)


def _acquire(folder: UPath) -> _Lease:
    token, holder = uuid.uuid4().hex, f"process {os.getpid()} on {socket.gethostname()}"
    give_up = time.monotonic() + PATIENCE_SECONDS
    watched: Claim | None = None
    is_told = False
    while True:
        number, claim = _last(folder)
        if watched is None or claim is None or watched.token != claim.token:
            watched = claim
        if claim is not None and claim.token == token:
            lease = _Lease(folder / _name(number), claim)
            _remove_below(folder, number)
            return lease
        if claim is None or time.time() >= claim.until:
            _create(folder / _name(number + 1), Claim(token=token, holder=holder, until=time.time() + LEASE_SECONDS))
        elif time.monotonic() < give_up:
            time.sleep(_LOOK_SECONDS)
        elif claim != watched:  # it has renewed the lease, so it lives
            raise _held(folder, claim)
        else:
            if not is_told:
                log.warning("%s; unless it is renewed, the lock is free then", _holder(claim))
                is_told = True
            time.sleep(_LOOK_SECONDS)


def _last(folder: UPath) -> tuple[int, Claim | None]:
    """The highest number, and what it says; 0 and None if there is none."""
    while True:
        numbers = _numbers(folder)
        if not numbers:
            return 0, None
        with suppress(FileNotFoundError):  # a higher one has come, and this one was removed
            place = folder / _name(numbers[-1])  # read at once: s3fs's files refuse what is renewed while they read
            return numbers[-1], Claim.model_validate_json(place.fs.cat_file(place.path))


def _create(place: UPath, claim: Claim) -> None:
    create_if_absent(place, claim.model_dump_json())


def _remove_below(folder: UPath, number: int) -> None:
    for old in _numbers(folder):
        if old < number:
            with suppress(FileNotFoundError):
                (folder / _name(old)).unlink()


def _keep(lease: _Lease, stop: threading.Event) -> None:
    while not stop.wait(RENEWAL_SECONDS) and not lease.has_expired():
        with suppress(Exception):  # the next attempt may succeed; `_confirm` tells if none did in time
            lease.renew(time.time() + LEASE_SECONDS)


def _confirm(lease: _Lease) -> None:
    folder = lease.place.parent
    _, claim = _last(folder)
    if claim is None or claim.token != lease.claim.token or lease.has_expired():
        raise LockedError(
            "The lock was lost: this process stood still for too long",
            where=str(folder),
            mend="Run the same command again.",
        )


def _held(folder: UPath, claim: Claim) -> LockedError:
    return LockedError(
        "Another process is changing the versions",
        where=str(folder),
        received=_holder(claim),
        mend="Run the same command again when it has ended.",
    )


def _holder(claim: Claim) -> str:
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(claim.until))
    return f"{claim.holder} holds the lock, at present until {until}"


def _numbers(folder: UPath) -> list[int]:
    return sorted(int(name) for name in names_below(folder) if name.isdecimal())


def _name(number: int) -> str:
    return f"{number:012d}"
