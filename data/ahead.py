"""Work that is done ahead, in threads: Arrow, TensorFlow and tfx_bsl's encoder leave Python to others meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_THREADS = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map`, but the next two results are made while one is worked on; no more are kept.

    The items, of which three are there at once, are taken in the caller's thread. What the function raises is raised
    where its result would be; what the items raise, at once.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        coming: deque[Future[Result]] = deque()
        for item in items:
            coming.append(pool.submit(function, item))
            if len(coming) > _THREADS:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
