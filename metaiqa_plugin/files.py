"""Files: written so that no reader sees half of one, locked, hashed, as tables."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from metaiqa_plugin.errors import UserError

__all__ = [
    'ANY_NAME',
    'check_output',
    'locked',
    'refuse_inputs',
    'remove_unfinished',
    'replacing',
    'same_settings',
    'sha256_of',
    'write_settings',
    'write_table',
]


ANY_NAME = {'encoding': 'utf-8', 'errors': 'surrogateescape'}
"""How ``open`` writes and reads names of files that are not UTF-8 as they are."""


@contextmanager
def replacing(
    path: str | os.PathLike,
    unfinished: str | os.PathLike | None = None,
    durable: bool = False,
) -> Iterator[Path]:
    """A temporary path, moved to ``path`` when the block succeeds.

    Missing folders are made. After an error ``path`` is as it was and the temporary
    file is gone; only a killed process leaves one. Where ``path`` cannot be replaced,
    say because it has become a folder, what was written is kept beside it.

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
    temporary = folder / f'.{path.stem[:40]}.{uuid4().hex[:12]}.tmp{path.suffix}'
    try:
        yield temporary
        if durable:
            _to_disk(temporary)
        try:
            os.replace(temporary, path)
        except OSError as error:
            kept = temporary.rename(path.with_name(temporary.name.lstrip('.')))
            raise UserError(
                f'{str(path)!r} cannot be replaced ({error.strerror}); what was '
                f'written is kept as {str(kept)!r}'
            ) from error
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


@contextmanager
def locked(path: str | os.PathLike, busy: str | None = None) -> Iterator[None]:
    """Hold the lock file ``path``; it ends with its process, however that ends.

    Args:
        path: of the lock file, which stays; its folder is made.
        busy: the error where another process holds it; None: wait for that one.

    Raises:
        UserError: with ``busy`` as its message.
        OSError: the lock file cannot be written.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=-1 if busy is None else 0):
            yield
    except Timeout as error:
        raise UserError(busy) from error


def sha256_of(path: str | os.PathLike) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def write_table(path: str | os.PathLike, header: Sequence[str], rows: Iterable) -> None:
    """A csv, written at once: UTF-8, lines end with a line feed."""
    with (
        replacing(path) as temporary,
        temporary.open('w', newline='', **ANY_NAME) as file,
    ):
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(header)
        writer.writerows(rows)


def write_settings(path: str | os.PathLike, settings: dict[str, Any]) -> None:
    """What results depend on, as JSON, for a run that resumes."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=2), encoding='utf-8')


def same_settings(path: str | os.PathLike, settings: dict[str, Any]) -> None:
    """Raises UserError where a run was begun with others, or that cannot be told."""
    try:
        before = dict(json.loads(Path(path).read_text(encoding='utf-8')))
    except (ValueError, TypeError) as error:
        raise UserError(
            f'--resume: {os.fspath(path)!r}, which says how the run was begun, is '
            'damaged; begin anew'
        ) from error
    settings = json.loads(json.dumps(settings))
    for name in {**before, **settings}:
        if before.get(name) != settings.get(name):
            raise UserError(
                f'--resume: the earlier run had {name}={before.get(name)!r}, this one '
                f'has {settings.get(name)!r}; give the same, or begin anew'
            )


def check_output(
    path: str | os.PathLike,
    overwrite: bool = False,
    argument: str = 'out',
    folder: bool = False,
    inputs: Iterable[str | os.PathLike] = (),
) -> Path:
    """``path``, after proof that it can be written, before any work is done.

    An empty folder counts as not there. Nothing that was made for the proof is left.

    Args:
        path: the file or the folder to write.
        overwrite: it may exist.
        argument: that the error names.
        folder: it is a folder.
        inputs: what is read. A file to write is none of it, by whatever name or link,
            and a folder to write has none of it inside.

    Raises:
        UserError: it exists, is an input, or nothing can be written there.
    """
    given, path = os.fspath(path), Path(path)
    try:
        used = any(path.iterdir()) if path.is_dir() else path.exists()
        if path.exists() and path.is_dir() != folder:
            is_, wanted = ('a file', 'a folder') if folder else ('a folder', 'a file')
            raise UserError(f'{argument}={given!r} is {is_}; name {wanted}')
        if used and not overwrite:
            raise UserError(
                f'{argument}={given!r} exists; give --overwrite to replace it, or '
                'another name'
            )
        refuse_inputs(given, argument, inputs)
        above = path if path.is_dir() else path.parent
        made = [each for each in (above, *above.parents) if not each.exists()]
        probe = above / f'.{uuid4().hex[:12]}.tmp'
        try:
            above.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b'.')
        finally:
            with suppress(OSError):
                probe.unlink()
            with suppress(OSError):
                for each in made:
                    each.rmdir()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f'{argument}={given!r} cannot be written ({reason}); choose another place'
        ) from error
    return path


def refuse_inputs(path: str | os.PathLike, argument: str, inputs: Iterable) -> None:
    """Raises UserError where ``path`` is one of the inputs, or a folder that has one.

    Links and other spellings are seen through.
    """
    real = os.path.realpath(path)
    for given in map(os.fspath, inputs):
        found = os.path.realpath(given)
        inside = os.path.isdir(real) and found.startswith(os.path.join(real, ''))
        exist = os.path.exists(real) and os.path.exists(found)
        if inside or found == real or (exist and os.path.samefile(real, found)):
            raise UserError(
                f'{argument}={os.fspath(path)!r} would replace what is read ({given!r})'
                '; give another'
            )
