"""Runs the cells of a plan: each once, in processes of their own, here or on Ray."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from importlib import metadata
from itertools import chain
from pathlib import Path
from statistics import fmean

from tqdm import tqdm

import metaiqa_plugin
from metaiqa_plugin.benchmark.plan import Cell, Plan, fingerprint
from metaiqa_plugin.benchmark.records import (
    CELL,
    ERROR,
    LOG,
    PLAN,
    RESULT,
    read_cell,
    read_json,
    write_json,
)
from metaiqa_plugin.errors import Stopped, UserError, whole_number
from metaiqa_plugin.files import locked
from metaiqa_plugin.parallel import ray_map
from metaiqa_plugin.train.loop import StopSignals
from metaiqa_plugin.train.state import differences

__all__ = ['Outcome', 'TimeLeft', 'prepare', 'run_plan', 'state_of']

CELL_MODULE = 'metaiqa_plugin.benchmark.cell'
THREAD_LIMITS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')
PACKAGES = (
    'metaiqa_plugin pyiqa torch torchvision timm learn2learn numpy scipy scikit-learn '
    'pillow'
).split()


@dataclass(frozen=True)
class Outcome:
    """What a run of a plan did.

    Attributes:
        folder: of the experiment.
        finished: labels of cells that it finished.
        before: how many were finished before.
        failed: error of each cell that failed, by label.
    """

    folder: Path
    finished: list[str] = field(default_factory=list)
    before: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def run_plan(
    plan: Plan,
    root: str | os.PathLike = 'runs',
    workers: int = 1,
    ray: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = tqdm.write,
    command: str = 'run_plan, from Python',
) -> Outcome:
    """Run what is not finished.

    Args:
        plan: the experiment.
        root: folder of all experiments; what they share is in it, too.
        workers: cells at a time on this machine.
        ray: address of a Ray cluster, or ``'auto'``: cells run there, see ``ray_map``.
        overwrite: rerun cells that were finished under other options.
        say: takes a line as each cell ends.
        command: how it was asked for, to be noted.

    Raises:
        UserError: a finished cell has other options, or another process runs this
            experiment.
        Stopped: SIGTERM or SIGINT; cells that train have saved where they are.
    """
    whole_number('workers', workers)
    root = Path(root).resolve()
    experiment = root / plan.cells[0].folder.partition('/')[0]
    if plan.file.alone and (workers > 1 or ray):
        raise UserError(
            f'{plan.file.name}: protocol runtime measures time and memory, so its '
            'cells run one by one; leave --workers and --ray out'
        )
    busy = (
        f'{str(experiment)!r} is being run by another process; wait for it, or give '
        '--workers to that one'
    )
    with locked(experiment / '.lock', busy):
        for cell in (*plan.shared, *plan.cells):
            prepare(root, cell, overwrite)
        waiting = _waiting(root, plan)
        cells = [cell for cell in plan.cells if cell.folder in waiting]
        _write_plan(experiment, plan, command, bool(cells))
        outcome = Outcome(experiment, before=len(plan.cells) - len(cells))
        every, at_a_time = list(waiting.values()), None if ray else workers
        progress = _Progress(root, every, at_a_time, outcome, say)
        order = TopologicalSorter(
            {folder: waiting.keys() & _needs(waiting[folder]) for folder in waiting}
        )
        order.prepare()
        with progress.bar:
            while order.is_active():
                wave = [waiting[folder] for folder in order.get_ready()]
                ready = [cell for cell in wave if _has_needs(root, cell)]
                ending = (
                    _on_ray(root, ready, ray) if ray else _here(root, ready, workers)
                )
                lacking = (cell for cell in wave if cell not in ready)
                for cell in chain(lacking, ending):
                    progress.ended(cell)
                order.done(*(cell.folder for cell in wave))
        return outcome


def state_of(root: str | os.PathLike, cell: Cell) -> str:
    """``'finished'``, ``'failed'``, ``'begun'``, ``'open'`` or ``'other options'``."""
    folder = Path(root) / cell.folder
    if not (folder / CELL).is_file():
        return 'open'
    same = fingerprint(read_json(folder / CELL)) == cell.fingerprint
    if (folder / RESULT).is_file():
        return 'finished' if same else 'other options'
    if not same:
        return 'open'
    if (folder / ERROR).is_file():
        return 'failed'
    return 'begun' if (folder / LOG).is_file() else 'open'


def prepare(root: Path, cell: Cell, overwrite: bool = False) -> None:
    """Make its folder, with nothing in it but part of the very same work.

    Raises:
        UserError: it was finished under other options, and ``overwrite`` is not set.
    """
    folder, known = root / cell.folder, root / cell.folder / CELL
    before = read_json(known) if known.is_file() else None
    if before is not None and fingerprint(before) == cell.fingerprint:
        return
    if (folder / RESULT).is_file() and before is not None and not overwrite:
        different = sorted(
            f'{where.strip(".")}: {then!r:.100} -> {now!r:.100}'
            for where, now, then in differences('', cell.description, before)
            if where != '.label'
        )
        raise UserError(
            f'{cell.label}: finished under other options ({"; ".join(different[:3])}); '
            'give the experiment another name, or --overwrite what is different'
        )
    if folder.is_dir():
        shutil.rmtree(folder)
    write_json(known, cell.description)


def _needs(cell: Cell) -> list[str]:
    return list(cell.description['needs'].values())


def _waiting(root: Path, plan: Plan) -> dict[str, Cell]:
    """By folder: shared work that a cell still waits for, then cells, unfinished."""
    shared = {cell.folder: cell for cell in plan.shared}
    wanted: set[str] = set()

    def want(cell: Cell) -> None:
        if cell.folder not in wanted and not (root / cell.folder / RESULT).is_file():
            wanted.add(cell.folder)
            for folder in _needs(cell):
                want(shared[folder])

    for cell in plan.cells:
        want(cell)
    every = (*plan.shared, *plan.cells)
    return {cell.folder: cell for cell in every if cell.folder in wanted}


def _has_needs(root: Path, cell: Cell) -> bool:
    lacking = [
        folder for folder in _needs(cell) if not (root / folder / RESULT).is_file()
    ]
    if lacking:
        reason = f'{lacking[0]} failed, see its {LOG}'
        (root / cell.folder / ERROR).write_text(reason + '\n', encoding='utf-8')
    return not lacking


class TimeLeft:
    """How long the cells to come will take, from how long their like took.

    Args:
        cells: all that are to come.
        at_a_time: how many run beside each other; None: found from what ends.
    """

    def __init__(self, cells: Iterable[Cell], at_a_time: int | None) -> None:
        self._waiting = Counter(map(self._like, cells))
        self._at_a_time = at_a_time
        self._took: dict[tuple, list[float]] = defaultdict(list)

    @staticmethod
    def _like(cell: Cell) -> tuple:
        return cell.description['kind'], cell.description.get('method')

    def ended(self, cell: Cell, seconds: float | None) -> None:
        """Note a cell that took so long; None: it failed, which tells nothing."""
        self._waiting[self._like(cell)] -= 1
        if seconds is not None:
            self._took[self._like(cell)].append(seconds)

    def seconds(self, elapsed: float) -> float | None:
        """Of all that wait or run, ``elapsed`` seconds after the start.

        A kind of which none has ended is taken to last as long as the mean of all
        others. None while nothing is known.
        """
        took = [seconds for group in self._took.values() for seconds in group]
        if not took:
            return None
        work = sum(
            count * fmean(self._took.get(group, took))
            for group, count in self._waiting.items()
        )
        at_a_time = self._at_a_time or sum(took) / max(elapsed, 1e-3)
        return work / max(1.0, min(at_a_time, self._waiting.total()))


class _Progress:
    """A bar on a terminal; a line for each cell that ends, wherever."""

    def __init__(
        self,
        root: Path,
        waiting: Sequence[Cell],
        at_a_time: int | None,
        outcome: Outcome,
        say: Callable[[str], None],
    ) -> None:
        self._root, self._outcome, self._say = root, outcome, say
        self._left = TimeLeft(waiting, at_a_time)
        form = '{l_bar}{bar}| {n_fmt}/{total_fmt} cells, {elapsed}{postfix}'
        name = outcome.folder.name
        self.bar = tqdm(None, name, len(waiting), disable=None, bar_format=form)
        self._started, self._done = time.monotonic(), 0

    def ended(self, cell: Cell) -> None:
        """Note how a cell ended, and about how long the others will take."""
        result = self._root / cell.folder / RESULT
        measures = read_json(result)['measures'] if result.is_file() else {}
        self._left.ended(cell, measures.get('seconds'))
        left = self._left.seconds(time.monotonic() - self._started)
        known = '' if left is None else f', about {tqdm.format_interval(left)} left'
        self._done += 1
        self.bar.update()
        self.bar.set_postfix_str(known.lstrip(', '))
        place = f'[{self._done}/{self.bar.total}{known}]'
        self._say(f'{place} {self._note(cell, measures)}')

    def _note(self, cell: Cell, measures: dict[str, float]) -> str:
        if not measures:
            error = self._root / cell.folder / ERROR
            reason = f'killed, see its {LOG}'
            if error.is_file():
                reason = error.read_text(encoding='utf-8').strip()
            self._outcome.failed[cell.label] = reason
            return f'FAILED {cell.label}: {reason}'
        if 'method' not in cell.description:
            return cell.label
        self._outcome.finished.append(cell.label)
        record = read_cell(self._root, {**cell.description, 'folder': cell.folder})
        results = [
            f'{name} SROCC {test.srocc:.4f} PLCC {test.plcc:.4f}'
            for name, test in record.tests.items()
        ] or [f'{measures["images_per_second"]:.2f} images/s']
        return f'{cell.label}: {", ".join(results)} ({measures["seconds"]:.0f} s)'


def _on_ray(root: Path, cells: Sequence[Cell], address: str) -> Iterator[Cell]:
    """Cells as they end, however they end."""
    jobs = {cell.folder: cell.description['threads'] for cell in cells}
    where = os.getcwd()

    def run_cell(folder: str) -> str:
        with _started(root, folder, jobs[folder], where) as process:
            process.wait()
        return folder

    by_folder = {cell.folder: cell for cell in cells}
    for folder in ray_map(run_cell, list(jobs), address, max(jobs.values(), default=1)):
        yield by_folder[folder]


def _here(root: Path, cells: Sequence[Cell], workers: int) -> Iterator[Cell]:
    """Cells as they end, however they end; stopping them lets them save."""
    waiting = deque(cells)
    running: dict[subprocess.Popen, Cell] = {}
    with StopSignals() as signals:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    cell = waiting.popleft()
                    threads = cell.description['threads']
                    running[_started(root, cell.folder, threads, os.getcwd())] = cell
                for process in [one for one in running if one.poll() is not None]:
                    process.stdin.close()
                    yield running.pop(process)
                if signals.received:
                    raise Stopped(
                        f'{signal.Signals(signals.received).name}: cells that were '
                        'training have saved; the same command continues',
                        signals.received,
                    )
                time.sleep(0.05)
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()


def _started(root: Path, folder: str, threads: int, where: str) -> subprocess.Popen:
    """A cell in a process of its own; what it says goes to its log."""
    place = root / folder
    (place / ERROR).unlink(missing_ok=True)
    with (place / LOG).open('ab') as log:
        return subprocess.Popen(
            [sys.executable, '-m', CELL_MODULE, str(root), str(place)],
            cwd=where,
            env=os.environ | dict.fromkeys(THREAD_LIMITS, str(threads)),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the run, which tells its cells
        )


def _write_plan(experiment: Path, plan: Plan, command: str, runs: bool) -> None:
    """The commits are those of all runs that had something to do."""
    path = experiment / PLAN
    commits = read_json(path)['commit'].split(', ') if path.is_file() else []
    if runs or not commits:
        commits = list(dict.fromkeys([*commits, _commit()]))
    facts = plan.facts() | {
        'options': Path(plan.path).read_text(encoding='utf-8'),
        'command': command,
        'commit': ', '.join(commits),
        'environment': _environment(),
    }
    write_json(path, facts)


def _environment() -> dict[str, str]:
    """Python, packages, processor, cores, system."""
    versions = {'python': platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = 'not installed'
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(':')[2].strip() for line in lines if 'model name' in line]
    return versions | {
        'system': f'{platform.system()} {platform.machine()}',
        'processor': names[0] if names else platform.processor() or 'unknown',
        'cores': str(os.cpu_count()),
    }


def _commit() -> str:
    """Of the package's repository, ``+changes`` where it is not clean; else its
    version."""
    git = ['git', '-C', str(Path(metaiqa_plugin.__file__).parent)]

    def said(*arguments: str) -> str:
        output = subprocess.run(
            [*git, *arguments], check=True, capture_output=True, text=True
        ).stdout
        return output.strip()

    try:
        said('ls-files', '--error-unmatch', '__init__.py')
        found = said('rev-parse', 'HEAD')
        changes = said('status', '--porcelain', '--untracked-files=no', '.')
    except (OSError, subprocess.CalledProcessError):
        return f'version {metadata.version("metaiqa_plugin")}'
    return found + ('+changes' if changes else '')
