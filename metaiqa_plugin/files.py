"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

__all__ = ['remove_unfinished', 'replacing']


@contextmanager
def replacing(
    path: str | os.PathLike,
    unfinished: str | os.PathLike | None = None,
    durable: bool = False,
) -> Iterator[Path]:
    """A temporary path, moved to ``path`` when the block succeeds.

    Missing folders are made. After an error ``path`` is as it was and the temporary
    file is gone; only a killed process leaves one.

    Args:
        path: the file to write.
        unfinished: folder for the temporary file, on the same file system; None: that
            of ``path``.
        durable: wait until the file and its name are on the disk, so that a machine
            that loses power has the old file or the new one.
    """
    path = Path(path)
    folder = path.parent if unfinished is None else Path(unfinished)
    for needed in {path.parent, folder}:
        needed.mkdir(parents=True, exist_ok=True)
    temporary = folder / f'.{path.stem}.{uuid4().hex[:12]}.tmp{path.suffix}'
    try:
        yield temporary
        if durable:
            _to_disk(temporary)
        os.replace(temporary, path)
        if durable:
            _to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: str | os.PathLike) -> None:
    """Delete what killed processes left in a folder that nobody is writing to now."""
    for path in Path(folder).glob('.*.tmp*'):
        path.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
