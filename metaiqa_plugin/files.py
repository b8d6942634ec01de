"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

__all__ = ['replacing']


@contextmanager
def replacing(
    path: str | os.PathLike, unfinished: str | os.PathLike | None = None
) -> Iterator[Path]:
    """A temporary path, moved to ``path`` when the block succeeds.

    Missing folders are made. After an error ``path`` is as it was and the temporary
    file is gone; only a killed process leaves one.

    Args:
        path: the file to write.
        unfinished: folder for the temporary file, on the same file system; None: that
            of ``path``.
    """
    path = Path(path)
    folder = path.parent if unfinished is None else Path(unfinished)
    for needed in {path.parent, folder}:
        needed.mkdir(parents=True, exist_ok=True)
    temporary = folder / f'.{path.stem}.{uuid4().hex[:12]}.tmp{path.suffix}'
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
