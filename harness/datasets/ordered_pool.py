"""A thread pool that yields in order and holds only a few results at a time."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cpus() -> int:
    """The CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int = 16
) -> Iterator[Result]:
    """Applies a function that releases the interpreter lock (decoding, hashing) in threads.

    Args:
        function: called once per item.
        items: read lazily.
        ahead: calls started before their turn, per thread. It bounds the results in memory.

    Yields:
        The results in the order of the items.
    """
    threads = usable_cpus()
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= threads * ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
