"""Work spread over the processes of this machine or over a Ray cluster.

Every machine of a cluster needs this package installed and the folders of the job at
the same paths (a shared file system). A task whose worker or machine dies is run again
by Ray, so jobs must be such that running one twice does no harm.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from metaiqa_plugin.errors import UserError, needing

__all__ = [
    'available_cores',
    'available_memory',
    'connected',
    'keep_freed_memory',
    'one_thread',
    'parallel_map',
    'ray_map',
]

AHEAD_HERE = 4
AHEAD_ON_RAY = 2
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 2**30
MEMORY_LIMITS = (
    '/sys/fs/cgroup/memory.max',
    '/sys/fs/cgroup/memory/memory.limit_in_bytes',
)


def keep_freed_memory() -> bool:
    """Reuse memory that was freed, and do not give it back to the system.

    The C library of Linux maps large blocks again each time, and the system clears
    every page of them; networks free and take the same large blocks all the time. The
    process keeps the most that it needed at a time. Elsewhere this does nothing.

    Returns:
        whether it did anything.
    """
    if not sys.platform.startswith('linux'):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    done = set_option(M_MMAP_THRESHOLD, LARGEST)
    return bool(done and set_option(M_TRIM_THRESHOLD, 2**31 - 1))


def available_memory() -> int:
    """Bytes that are available, at most what the control group of the process allows.

    Memory that other processes of the group use is not taken off that.
    """
    available = psutil.virtual_memory().available
    for limit in MEMORY_LIMITS:
        with suppress(OSError, ValueError):  # not there, or 'max'
            available = min(available, int(Path(limit).read_text()))
    return available


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parallel_map(
    function: Callable[[Any], Any], jobs: Iterable[Any], processes: int
) -> Iterator[Any]:
    """Results in the order of the jobs; only a few jobs wait at a time.

    Processes are forked by a server that has imported this package and nothing else:
    forks of this one would inherit the locks of the threads of torch and OpenCV, and
    hang. They import the script that was started, which therefore needs ``if __name__
    == '__main__':`` around what it does, and end with this process, however that ends.
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
                if len(waiting) >= AHEAD_HERE * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                f'one of processes={processes} was killed, perhaps for lack of memory; '
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
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()
    one_thread()


def _end_with_parent() -> None:
    """A process that was killed tells nobody; its end of a pipe closes."""
    multiprocessing.parent_process().join()
    os._exit(1)


def one_thread() -> None:
    """Processes share the cores already; OpenCV would use all of them in each."""
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(1)


def ray_map(
    function: Callable[[Any], Any],
    jobs: Iterable[Any],
    address: str = 'auto',
    cores: int = 1,
) -> Iterator[Any]:
    """Results as they come, in any order; two jobs per core of the cluster wait.

    Args:
        function: what to do.
        jobs: its arguments; each is pickled.
        address: of the cluster; ``'auto'``: that of ``RAY_ADDRESS``, or one that runs
            on this machine, or a new one on this machine. A cluster that this process
            is connected to already is used as it is.
        cores: that each call takes.

    Raises:
        UserError: Ray is not installed, no cluster is at ``address``, or a job raised
            one.
    """
    with connected(address) as ray:
        remote = ray.remote(num_cpus=cores)(_on_one_thread(function))
        running: list = []
        for job in jobs:
            running.append(remote.remote(job))
            of_cluster = int(ray.cluster_resources().get('CPU', 1))
            if len(running) >= AHEAD_ON_RAY * max(of_cluster, 1):
                running = yield from _finished(ray, running)
        while running:
            running = yield from _finished(ray, running)


@contextmanager
def connected(address: str = 'auto') -> Iterator[Any]:
    """The module ``ray``, connected to a cluster; see :func:`ray_map`.

    Raises:
        UserError: Ray is not installed, or no cluster is at ``address``.
    """
    with needing('cluster'):
        import ray
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address)
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _connect(ray, address: str) -> None:
    try:
        if address != 'auto':  # Ray itself would try for minutes
            host, _, port = address.rpartition('://')[2].rpartition(':')
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(
            None if address == 'auto' else address,
            logging_level=logging.WARNING,
            log_to_driver=False,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f'ray={address!r}: no Ray cluster answers there ({error}); start one with '
            'ray start --head, or leave the address out'
        ) from error


def _finished(ray, running: list) -> Iterator[Any]:
    finished, left = ray.wait(running)
    for one in finished:
        try:
            yield ray.get(one)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
    return left


def _on_one_thread(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def call(job: Any) -> Any:
        one_thread()
        return function(job)

    return call
