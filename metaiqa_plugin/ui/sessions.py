"""What one open page takes and holds, and the register of all pages.

Nothing is shared between pages: each has a token that only it knows, and a folder that
is deleted when it is closed.
"""

from __future__ import annotations

import itertools
import secrets
import shutil
import threading
import time
from collections import deque
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaiqa_plugin.errors import UserError, whole_number

if TYPE_CHECKING:
    from metaiqa_plugin.ui.taste import TasteJob

__all__ = ['MEGA', 'Limits', 'Photo', 'Session', 'Sessions']

MEGA = 1_000_000
STARS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Limits:
    """Bounds of the command; each is an option with its name.

    Attributes:
        max_tabs: pages that are open at a time.
        max_files: photos of a page.
        max_megabytes: of a photo's file, in 10^6 bytes.
        max_megapixels: of a photo, in 10^6 pixels.
        max_checkpoint_megabytes: of a checkpoint's file, in 10^6 bytes.
    """

    max_tabs: int = 10
    max_files: int = 5000
    max_megabytes: int = 50
    max_megapixels: int = 60
    max_checkpoint_megabytes: int = 500

    def __post_init__(self) -> None:
        for limit in fields(self):
            whole_number(limit.name, getattr(self, limit.name))

    def check_bytes(self, name: str, size: int, checkpoint: bool = False) -> None:
        """Raises UserError where a file of ``size`` bytes is too large."""
        option = 'max_checkpoint_megabytes' if checkpoint else 'max_megabytes'
        maximum = getattr(self, option)
        if size > maximum * MEGA:
            raise UserError(
                f'{name!r} has more than {maximum} MB; the limit can be raised with '
                f'--{option.replace("_", "-")}'
            )


@dataclass
class Photo:
    """A photo of a page.

    Attributes:
        key: number on its page, never used twice.
        name: as the user knows it; different for each photo of a page.
        path: where it lies; None: it has not arrived, or was refused.
        bytes: its size.
        width, height: in pixels, as it is seen; None: not read yet.
        thumbnail: file of a JPEG; None: not read yet.
        score: by the metric of the page; None: not scored.
        error: why it has no score.
        rating: one of ``STARS``, five is best; None: not rated.
        version: of the page when this photo was last changed.
    """

    key: int
    name: str
    path: Path | None = None
    bytes: int = 0
    width: int | None = None
    height: int | None = None
    thumbnail: Path | None = None
    score: float | None = None
    error: str = ''
    rating: int | None = None
    version: int = 0

    def facts(self) -> dict[str, Any]:
        """What the browser is told of it."""
        names = ('key', 'name', 'width', 'height', 'score', 'error', 'rating')
        told = {name: getattr(self, name) for name in names}
        return {**told, 'seen': self.thumbnail is not None}


@dataclass
class Session:
    """A page.

    Methods may be called from any thread.

    Attributes:
        token: part of its addresses.
        folder: of its files.
        metric: name of the metric that scores.
        base: name of the metric that ratings adapt.
        photos: by key.
        left_out: files that were too many, and the name of the first.
        notes: what the user should know of files that are not photos.
        checkpoints: paths by the names they are offered under.
        opened: metrics of these checkpoints.
        job: the adaptation that runs or ran last.
        watchers: browsers that follow it.
        closed: it has ended.
    """

    token: str
    folder: Path
    metric: str
    base: str = ''
    photos: dict[int, Photo] = field(default_factory=dict)
    left_out: tuple[int, str] = (0, '')
    notes: list[str] = field(default_factory=list)
    checkpoints: dict[str, Path] = field(default_factory=dict)
    opened: dict[str, Any] = field(default_factory=dict)
    job: TasteJob | None = None
    watchers: int = 0
    closed: bool = False
    _waiting: deque[int] = field(default_factory=deque)
    _names: set[str] = field(default_factory=set)
    _working: bool = False
    _since: tuple[float, int] = (0.0, 0)
    _round: int = 0
    _version: int = 0
    _keys: Any = field(default_factory=lambda: itertools.count(1))
    _lock: Any = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.base = self.base or self.metric

    def add(self, name: str, max_files: int, more: int = 1) -> Photo | None:
        """A new photo, whose file is still to come; None where the page is full.

        Args:
            name: of its file.
            max_files: that the page may hold.
            more: files that the user gave from this one on; all are left out where
                the page is full.
        """
        with self._lock:
            if len(self.photos) >= max_files:
                count, first = self.left_out
                self.left_out = (count + more, first or name)
                return None
            photo = Photo(self.next_key(), self._unused_name(name))
            self._names.add(photo.name)
            self.photos[photo.key] = photo
            return photo

    def next_key(self) -> int:
        """A number that was not used on this page."""
        return next(self._keys)

    def forget(self, photo: Photo) -> None:
        """Drop a photo whose file did not arrive."""
        with self._lock:
            self._names.discard(photo.name)
            self.photos.pop(photo.key, None)

    def _unused_name(self, name: str) -> str:
        stem, dot, suffix = name.rpartition('.')
        stem, ending = (stem, dot + suffix) if stem else (name, '')
        names = (f'{stem} ({number}){ending}' for number in itertools.count(2))
        return next(
            free for free in itertools.chain([name], names) if free not in self._names
        )

    def arrived(self, photo: Photo, path: Path | None, error: str = '') -> None:
        """The file of a photo is complete and waits for its score, or was refused."""
        with self._lock:
            photo.path, photo.error = path, error
            if path is not None:
                photo.bytes = path.stat().st_size
                self._waiting.append(photo.key)
            self._changed(photo)

    def choose(self, metric: str) -> None:
        """Let all photos wait for the scores of another metric."""
        with self._lock:
            self.metric = metric
            self._round += 1
            kept = [photo for photo in self.photos.values() if photo.path is not None]
            for photo in kept:
                photo.score, photo.error = None, ''
                self._changed(photo)
            self._waiting = deque(photo.key for photo in kept)
            self._since = (time.monotonic(), self._done())

    def begin(self) -> bool:
        """Whether the caller has to score what waits, until `take` gives nothing."""
        with self._lock:
            start = bool(self._waiting) and not self._working
            if start:
                self._working, self._since = True, (time.monotonic(), self._done())
            return start

    def take(self) -> tuple[Photo, int] | None:
        """The next photo without a score and the round it is scored in, if any."""
        with self._lock:
            if not self._waiting:
                self._working = False
                return None
            return self.photos[self._waiting.popleft()], self._round

    def finish(self, photo: Photo, of_round: int, score: float | None, error: str):
        """Note a score, unless another metric was chosen meanwhile."""
        with self._lock:
            if of_round == self._round:
                photo.score, photo.error = score, error
                self._changed(photo)

    def rate(self, key: int, stars: int) -> None:
        """Rate a photo; 0 takes the rating back. What is not a photo is ignored."""
        with self._lock:
            photo = self.photos.get(key)
            if photo is not None and stars in (0, *STARS):
                photo.rating = stars or None
                self._changed(photo)

    def rated(self) -> list[Photo]:
        """Photos that were rated and can be read, by name."""
        with self._lock:
            rated = [photo for photo in self.photos.values() if photo.rating]
            readable = [photo for photo in rated if photo.thumbnail]
            return sorted(readable, key=lambda photo: photo.name)

    def ordered(self, lower_better: bool = False) -> list[Photo]:
        """Scored photos, the worst first, equal ones by name; then the others."""
        with self._lock:
            photos = list(self.photos.values())
        scored = [photo for photo in photos if photo.score is not None]
        sign = -1 if lower_better else 1
        scored.sort(key=lambda photo: (sign * photo.score, photo.name))
        return scored + [photo for photo in photos if photo.score is None]

    def progress(self) -> tuple[int, int, float | None]:
        """Photos that have a score or an error, all, and seconds left if known."""
        with self._lock:
            done, total = self._done(), len(self.photos)
            started, before = self._since
            if not self._working or done <= before:
                return done, total, None
            each = (time.monotonic() - started) / (done - before)
            return done, total, each * (total - done)

    def since(self, version: int) -> tuple[int, list[Photo]]:
        """The version now, and photos that were changed after an earlier one."""
        with self._lock:
            photos = self.photos.values()
            return self._version, [one for one in photos if one.version > version]

    def close(self) -> None:
        """Stop its work, and delete its files."""
        if self.job is not None:
            self.job.cancel()
        with self._lock:
            self.closed = True
            self._waiting.clear()
            self._round += 1
        shutil.rmtree(self.folder, ignore_errors=True)

    def _done(self) -> int:
        photos = self.photos.values()
        return sum(photo.score is not None or bool(photo.error) for photo in photos)

    def _changed(self, photo: Photo) -> None:
        self._version += 1
        photo.version = self._version


class Sessions:
    """All open pages by their tokens.

    Args:
        folder: below it every page has one of its own.
        metric: that new pages score with.
        max_tabs: pages at a time.
    """

    def __init__(self, folder: Path, metric: str, max_tabs: int = 10) -> None:
        self._folder, self._metric, self._max_tabs = folder, metric, max_tabs
        self._pages: dict[str, Session] = {}
        self._lock = threading.Lock()

    def open(self) -> Session:
        """A fresh page.

        Raises:
            UserError: there are too many.
        """
        token = secrets.token_urlsafe(24)
        with self._lock:
            if len(self._pages) >= self._max_tabs:
                raise UserError(
                    f'{self._max_tabs} tabs are open, and no more are served at a '
                    'time: close one and reload this one half a minute later, or '
                    'start the command with --max-tabs'
                )
            session = Session(token, self._folder / token, self._metric)
            session.folder.mkdir(parents=True, mode=0o700)
            self._pages[token] = session
        return session

    def get(self, token: str) -> Session | None:
        """The page with a token."""
        with self._lock:
            return self._pages.get(token)

    def close(self, session: Session, unwatched: bool = False) -> None:
        """End a page; with ``unwatched`` only if no browser follows it."""
        if unwatched and session.watchers:
            return
        with self._lock:
            self._pages.pop(session.token, None)
        session.close()

    def close_all(self) -> None:
        """End all pages."""
        for session in list(self._pages.values()):
            self.close(session)
