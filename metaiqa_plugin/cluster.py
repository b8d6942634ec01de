"""Work spread over a Ray cluster.

Every machine of the cluster needs this package installed and the folders of the job at
the same paths (a shared file system). A task whose worker or machine dies is run again
by Ray, so jobs must be such that running one twice does no harm.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.processes import one_thread

__all__ = ['connected', 'ray_map']

AHEAD = 2


def ray_map(
    function: Callable[[Any], Any],
    jobs: Iterable[Any],
    address: str = 'auto',
    cores: int = 1,
) -> Iterator[Any]:
    """Results as they come, in any order; two jobs a core of the cluster wait.

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
        yield from _results(ray, ray.remote(num_cpus=cores)(_alone(function)), jobs)


@contextmanager
def connected(address: str = 'auto') -> Iterator[Any]:
    """The module ``ray``, connected to a cluster; see :func:`ray_map`.

    Raises:
        UserError: Ray is not installed, or no cluster is at ``address``.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f'work on a cluster needs Ray ({error}): pip install '
            '"metaiqa_plugin[cluster]"'
        ) from error
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
        if address != 'auto':
            _knock(address)
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


def _knock(address: str) -> None:
    """Raises at once where Ray itself would try for minutes."""
    host, _, port = address.rpartition('://')[2].rpartition(':')
    socket.create_connection((host, int(port)), timeout=10).close()


def _results(ray, remote, jobs: Iterable[Any]) -> Iterator[Any]:
    running: list = []
    for job in jobs:
        running.append(remote.remote(job))
        cores = int(ray.cluster_resources().get('CPU', 1))
        if len(running) >= AHEAD * max(cores, 1):
            running = yield from _next(ray, running)
    while running:
        running = yield from _next(ray, running)


def _next(ray, running: list) -> Iterator[Any]:
    finished, left = ray.wait(running)
    for one in finished:
        try:
            yield ray.get(one)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
    return left


def _alone(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def call(job: Any) -> Any:
        one_thread()
        return function(job)

    return call
