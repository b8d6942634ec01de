"""What ``metaiqa score`` tells: rows, a contact sheet, a summary."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from metaiqa_plugin.score.formats import Csv

if TYPE_CHECKING:
    from metaiqa_plugin.score.rows import ScoreRow
    from metaiqa_plugin.score.summary import Summary

__all__ = ['Printing', 'print_rows', 'report', 'write_sheet']


class Printing:
    """Rows on standard output, as csv; the reader gets each at once."""

    def __init__(self, names: Sequence[str]) -> None:
        self._format = Csv(names)
        self._print(self._format.header)

    def __call__(self, row: ScoreRow) -> None:
        self._print(self._format.encode(row))

    def _print(self, record: bytes) -> None:
        sys.stdout.write(record.decode('utf-8', 'backslashreplace'))
        sys.stdout.flush()


def print_rows(names: Sequence[str], rows: Iterable[ScoreRow]) -> None:
    show = Printing(names)
    for row in rows:
        show(row)


def write_sheet(
    path: str,
    rows: Sequence[ScoreRow],
    names: Sequence[str],
    directions: Sequence[bool],
) -> None:
    from metaiqa_plugin.score.contact_sheet import SheetMetric, write_contact_sheet

    metrics = [SheetMetric(*pair) for pair in zip(names, directions, strict=True)]
    write_contact_sheet(path, rows, metrics, progress=sys.stderr.isatty())
    print(f'{path}: contact sheet', file=sys.stderr)


def report(
    summary: Summary, directions: Sequence[bool], before: int, seconds: float
) -> None:
    """On a terminal for a person, elsewhere a line of JSON; both on stderr."""
    if not sys.stderr.isatty():
        print(json.dumps(_facts(summary, before, seconds)), file=sys.stderr)
        return
    from metaiqa_plugin.score.summary import drawn

    now = summary.images - before
    line = f'{now} images in {seconds:.1f} s ({now / max(seconds, 1e-9):.1f} a second)'
    line += f', {before} before' if before else ''
    print(line, file=sys.stderr)
    for name, lower_better in zip(summary.metrics, directions, strict=True):
        found = summary.distribution(name)
        better = 'lower' if lower_better else 'higher'
        print(
            f'\n{name} ({better} is better): mean {found.mean:.4g}, standard deviation '
            f'{found.sd:.4g}, median {found.median:.4g}\n{drawn(found)}',
            file=sys.stderr,
        )


def _facts(summary: Summary, before: int, seconds: float) -> dict:
    """The summary as JSON takes it: no NaN."""
    metrics = {}
    for name in summary.metrics:
        found = vars(summary.distribution(name))
        metrics[name] = found if found['images'] else {'images': 0}
    return {
        'images': summary.images,
        'before': before,
        'failed': summary.failed,
        'seconds': round(seconds, 3),
        'metrics': metrics,
    }
