"""What one open page takes and holds, and the register of all pages.

Nothing is shared between pages: each has a token that only it knows, and a folder that
is deleted when it is closed.
"""

from __future__ import annotations

import itertools
import secrets
import shutil
import threading
from collections.abc import Iterator
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
    """Bounds of one page; each is an option of the command with its name.

    Attributes:
        max_files: photos.
        max_megabytes: of a photo's file, in 10^6 bytes.
        max_megapixels: of a photo, in 10^6 pixels.
        max_checkpoint_megabytes: of a checkpoint's file, in 10^6 bytes.
    """

    max_files: int = 200
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
    """A file that was dropped on the page.

    Attributes:
        key: number on its page, never used twice.
        name: as the user knows it; different for each photo of a page.
        path: where it lies; None: it was refused and not kept.
        bytes: its size.
        width, height: in pixels, as it is seen; None: not read yet.
        thumbnail: JPEG; empty: not read yet.
        score: by the metric of the page; None: not scored.
        error: why it has no score.
        rating: one of ``STARS``, five is best; None: not rated.
    """

    key: int
    name: str
    path: Path | None = None
    bytes: int = 0
    width: int | None = None
    height: int | None = None
    thumbnail: bytes = b''
    score: float | None = None
    error: str = ''
    rating: int | None = None


@dataclass
class Session:
    """A page.

    Methods may be called from any thread.

    Attributes:
        token: part of the addresses of its files.
        folder: of its files.
        metric: name of the metric that scores.
        base: name of the metric that ratings adapt.
        photos: by key.
        left_out: files that were too many, and the name of the first.
        notes: what the user should know of files that are not photos.
        arriving: names and paths of checkpoints that were sent and not opened yet.
        checkpoints: paths by the names they are offered under.
        opened: metrics of these checkpoints.
        job: the adaptation that runs or ran last.
        learned: names of the photos that it learned from.
    """

    token: str
    folder: Path
    metric: str
    base: str = ''
    photos: dict[int, Photo] = field(default_factory=dict)
    left_out: tuple[int, str] = (0, '')
    notes: list[str] = field(default_factory=list)
    arriving: list[tuple[str, Path]] = field(default_factory=list)
    checkpoints: dict[str, Path] = field(default_factory=dict)
    opened: dict[str, Any] = field(default_factory=dict)
    job: TasteJob | None = None
    learned: list[str] = field(default_factory=list)
    _waiting: list[int] = field(default_factory=list)
    _round: int = 0
    _keys: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _lock: Any = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.base = self.base or self.metric

    def add(self, name: str, max_files: int, more: int = 1) -> Photo | None:
        """A new photo, whose file is still to come.

        Args:
            name: of its file.
            max_files: that the page may hold.
            more: files that the user gave from this one on; all are left out where
                the page is full.

        Returns:
            None where the page is full.
        """
        with self._lock:
            if len(self.photos) >= max_files:
                count, first = self.left_out
                self.left_out = (count + more, first or name)
                return None
            photo = Photo(self.next_key(), self._unused_name(name))
            self.photos[photo.key] = photo
            return photo

    def next_key(self) -> int:
        """A number that was not used on this page."""
        return next(self._keys)

    def forget(self, photo: Photo) -> None:
        """Drop a photo whose file did not arrive."""
        with self._lock:
            del self.photos[photo.key]

    def _unused_name(self, name: str) -> str:
        used = {photo.name for photo in self.photos.values()}
        stem, dot, suffix = name.rpartition('.')
        stem, ending = (stem, dot + suffix) if stem else (name, '')
        names = (f'{stem} ({number}){ending}' for number in itertools.count(2))
        return next(free for free in itertools.chain([name], names) if free not in used)

    def arrived(self, photo: Photo, path: Path) -> None:
        """The file of a photo is complete: it waits for its score."""
        with self._lock:
            photo.path, photo.bytes = path, path.stat().st_size
            self._waiting.append(photo.key)

    def choose(self, metric: str) -> None:
        """Let all photos wait for the scores of another metric."""
        with self._lock:
            self.metric = metric
            self._round += 1
            kept = [photo for photo in self.photos.values() if photo.path is not None]
            for photo in kept:
                photo.score, photo.error = None, ''
            self._waiting = [photo.key for photo in kept]

    def take(self) -> tuple[Photo, int] | None:
        """The next photo without a score and the round it is scored in, if any."""
        with self._lock:
            if not self._waiting:
                return None
            return self.photos[self._waiting.pop(0)], self._round

    def finish(self, photo: Photo, of_round: int, score: float | None, error: str):
        """Note a score, unless another metric was chosen meanwhile."""
        with self._lock:
            if of_round == self._round:
                photo.score, photo.error = score, error

    def rate(self, key: int, stars: int) -> None:
        """Rate a photo; 0 takes the rating back. What is not a photo is ignored."""
        with self._lock:
            photo = self.photos.get(key)
            if photo is not None and stars in (0, *STARS):
                photo.rating = stars or None

    def rated(self) -> list[Photo]:
        """Photos that were rated and can be read, by name."""
        with self._lock:
            rated = [photo for photo in self.photos.values() if photo.rating]
            readable = [photo for photo in rated if photo.thumbnail]
            return sorted(readable, key=lambda photo: photo.name)

    def ordered(self, worst_first: bool, lower_better: bool = False) -> list[Photo]:
        """Scored photos in order, equal ones by name; then others, in order of arrival.

        Args:
            worst_first: otherwise best first.
            lower_better: low scores are good ones.
        """
        with self._lock:
            photos = list(self.photos.values())
        scored = [photo for photo in photos if photo.score is not None]
        sign = 1 if worst_first != lower_better else -1
        scored.sort(key=lambda photo: (sign * photo.score, photo.name))
        return scored + [photo for photo in photos if photo.score is None]

    def progress(self) -> tuple[int, int]:
        """Photos that have a score or an error, and all."""
        with self._lock:
            photos = self.photos.values()
            done = [photo for photo in photos if photo.score is not None or photo.error]
            return len(done), len(photos)

    def close(self) -> None:
        """Stop its work, and delete its files."""
        if self.job is not None:
            self.job.cancel()
        with self._lock:
            self._waiting = []
            self._round += 1
        shutil.rmtree(self.folder, ignore_errors=True)


class Sessions:
    """All open pages by their tokens.

    Args:
        folder: below it every page has one of its own.
        metric: that new pages score with.
    """

    def __init__(self, folder: Path, metric: str) -> None:
        self._folder, self._metric = folder, metric
        self._of_token: dict[str, Session] = {}
        self._token_of_page: dict[str, str] = {}
        self._lock = threading.Lock()

    def open(self, page: str) -> Session:
        """A fresh session for a page that was loaded; ends one it may have had."""
        self.close(page)
        token = secrets.token_urlsafe(24)
        folder = self._folder / token
        folder.mkdir(parents=True, mode=0o700)
        session = Session(token, folder, self._metric)
        with self._lock:
            self._of_token[token] = session
            self._token_of_page[page] = token
        return session

    def of_page(self, page: str) -> Session:
        """Raises UserError where the page was closed, or the command restarted."""
        with self._lock:
            session = self._of_token.get(self._token_of_page.get(page, ''))
        if session is None:
            raise UserError('this page has ended; reload it and drop the photos again')
        return session

    def of_token(self, token: str) -> Session | None:
        """The page with a token."""
        with self._lock:
            return self._of_token.get(token)

    def close(self, page: str) -> None:
        """End a page; no matter if there is none."""
        with self._lock:
            session = self._of_token.pop(self._token_of_page.pop(page, ''), None)
        if session is not None:
            session.close()

    def close_all(self) -> None:
        """End all pages."""
        for page in list(self._token_of_page):
            self.close(page)
