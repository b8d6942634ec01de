"""Work spread over processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.memory import keep_freed_memory

__all__ = ['available_cores', 'parallel_map']

AHEAD = 4


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parallel_map(
    function: Callable[[Any], Any], jobs: Iterable[Any], processes: int
) -> Iterator[Any]:
    """Results in the order of the jobs; only a few jobs wait at a time.

    Processes are forked by one that has imported this package and nothing else: forks
    of this one would inherit the locks of the threads of torch and OpenCV, and hang.
    With one process the jobs run in this one.

    Raises:
        UserError: a process was killed from outside.
    """
    if processes == 1:
        yield from map(function, jobs)
        return
    with ProcessPoolExecutor(processes, _context(), _set_up) as pool:
        waiting: deque = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(function, job))
                if len(waiting) >= AHEAD * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                f'one of processes={processes} was killed, perhaps for want of memory; '
                'run it again, with fewer'
            ) from error
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _context() -> multiprocessing.context.BaseContext:
    if 'forkserver' not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context('spawn')
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([__name__.partition('.')[0]])
    return context


def _set_up() -> None:
    keep_freed_memory()
    one_thread()


def one_thread() -> None:
    """Processes share the cores already; OpenCV would use all of them in each."""
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(1)
