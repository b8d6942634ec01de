"""Runs the cells of a plan: each once, in processes of their own, here or on Ray."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from metaiqa_plugin.benchmark.environment import commit, environment
from metaiqa_plugin.benchmark.plan import Cell, Plan
from metaiqa_plugin.benchmark.records import read_cell, read_json, write_json
from metaiqa_plugin.benchmark.time_left import TimeLeft
from metaiqa_plugin.benchmark.workspace import ERROR, LOG, RESULT, prepare, unfinished
from metaiqa_plugin.errors import Stopped, UserError, whole_number
from metaiqa_plugin.parallel import ray_map
from metaiqa_plugin.train.loop import StopSignals

try:
    import fcntl
except ImportError:
    fcntl = None

__all__ = ['Outcome', 'run_plan']

THREAD_LIMITS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')


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
    jobs: int = 1,
    ray: str | None = None,
    redo: bool = False,
    say: Callable[[str], None] = tqdm.write,
    command: str = 'run_plan, from Python',
) -> Outcome:
    """Run what is not finished.

    Args:
        plan: the experiment.
        root: folder of all experiments; what they share is in it, too.
        jobs: cells at a time on this machine.
        ray: address of a Ray cluster, or ``'auto'``: cells run there, see ``ray_map``.
        redo: run cells anew that were finished under other options.
        say: takes a line as each cell ends.
        command: how it was asked for, to be noted.

    Raises:
        UserError: a finished cell has other options, or another process runs this
            experiment.
        Stopped: SIGTERM or SIGINT; cells that train have saved where they are.
    """
    whole_number('jobs', jobs)
    root = Path(root).resolve()
    experiment = root / plan.cells[0].folder.partition('/')[0]
    if plan.alone and (jobs > 1 or ray):
        raise UserError(
            f'{plan.name}: protocol runtime measures time and memory, so its cells run '
            'one by one; leave --workers and --ray out'
        )
    experiment.mkdir(parents=True, exist_ok=True)
    with _only_run(experiment):
        for cell in (*plan.shared, *plan.cells):
            prepare(root, cell, redo)
        shared = unfinished(root, _needed(plan, root))
        cells = unfinished(root, plan.cells)
        _write_plan(experiment, plan, command, bool(cells))
        outcome = Outcome(experiment, before=len(plan.cells) - len(cells))
        spread = partial(_spread, root=root, jobs=jobs, ray=ray)
        waiting = [*shared, *cells]
        left = TimeLeft(waiting, None if ray else jobs)
        with _Progress(root, len(waiting), left, outcome, say) as progress:
            for wave in _waves(waiting):
                ready = [cell for cell in wave if _has_needs(root, cell)]
                for cell in wave:
                    if cell not in ready:
                        progress.ended(cell)
                for cell in spread(ready):
                    progress.ended(cell)
        return outcome


def _needed(plan: Plan, root: Path) -> list[Cell]:
    """Shared work that a cell still waits for, or shared work that one waits for."""
    wanted: set[str] = set()
    for cell in unfinished(root, [*reversed(plan.cells), *reversed(plan.shared)]):
        if 'method' in cell.description or cell.folder in wanted:
            wanted.update(cell.description['needs'].values())
    return [cell for cell in plan.shared if cell.folder in wanted]


def _waves(waiting: list[Cell]) -> Iterator[list[Cell]]:
    """Those that wait for none of the others, then those that wait for these, ..."""
    while waiting:
        folders = {cell.folder for cell in waiting}
        wave = [
            cell
            for cell in waiting
            if folders.isdisjoint(cell.description['needs'].values())
        ]
        yield wave
        waiting = [cell for cell in waiting if cell not in wave]


def _has_needs(root: Path, cell: Cell) -> bool:
    lacking = [
        folder
        for folder in cell.description['needs'].values()
        if not (root / folder / RESULT).is_file()
    ]
    if lacking:
        reason = f'{lacking[0]} failed, see its {LOG}'
        (root / cell.folder / ERROR).write_text(reason + '\n', encoding='utf-8')
    return not lacking


class _Progress:
    """A bar on a terminal; a line for each cell that ends, wherever.

    Args:
        root: of all experiments.
        total: cells to come.
        left: is told of each, and asked.
        outcome: gets what finished and what failed.
        say: takes the lines.
    """

    def __init__(
        self,
        root: Path,
        total: int,
        left: TimeLeft,
        outcome: Outcome,
        say: Callable[[str], None],
    ) -> None:
        self._root, self._outcome, self._say = root, outcome, say
        self._left = left
        self._bar = tqdm(
            total=total,
            desc=outcome.folder.name,
            disable=None,
            bar_format='{l_bar}{bar}| {n_fmt}/{total_fmt} cells, {elapsed}{postfix}',
        )
        self._ended, self._total, self._started = 0, total, time.monotonic()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def ended(self, cell: Cell) -> None:
        """Note how a cell ended, and about how long the others will take."""
        self._bar.update()
        self._ended += 1
        self._left.ended(cell, self._seconds(cell))
        left = self._left.seconds(time.monotonic() - self._started)
        known = '' if left is None else f', about {tqdm.format_interval(left)} left'
        self._bar.set_postfix_str(known.lstrip(', '))
        self._say(f'[{self._ended}/{self._total}{known}] {self._note(cell)}')

    def _seconds(self, cell: Cell) -> float | None:
        result = self._root / cell.folder / RESULT
        if not result.is_file():
            return None
        return read_json(result)['measures']['seconds']

    def _note(self, cell: Cell) -> str:
        folder = self._root / cell.folder
        if not (folder / RESULT).is_file():
            reason = f'killed, see its {LOG}'
            if (folder / ERROR).is_file():
                reason = (folder / ERROR).read_text(encoding='utf-8').strip()
            self._outcome.failed[cell.label] = reason
            return f'FAILED {cell.label}: {reason}'
        if 'method' not in cell.description:
            return cell.label
        self._outcome.finished.append(cell.label)
        record = read_cell(self._root, {**cell.description, 'folder': cell.folder})
        results = [
            f'{name} SROCC {test.srocc:.4f} PLCC {test.plcc:.4f}'
            for name, test in record.tests.items()
        ]
        if not results:
            results = [f'{record.measures["images_per_second"]:.2f} images/s']
        return (
            f'{cell.label}: {", ".join(results)} ({record.measures["seconds"]:.0f} s)'
        )


def _spread(
    cells: Sequence[Cell], root: Path, jobs: int, ray: str | None
) -> Iterator[Cell]:
    """Cells as they end, however they end."""
    by_folder = {cell.folder: cell for cell in cells}
    work = [
        (str(root), cell.folder, os.getcwd(), cell.description['threads'])
        for cell in cells
    ]
    if ray is not None:
        cores = max((cell.description['threads'] for cell in cells), default=1)
        for folder in ray_map(_run_cell, work, ray, cores):
            yield by_folder[folder]
        return
    processes = _Processes()
    with StopSignals() as signals, ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(_run_cell, job, processes) for job in work]
        try:
            for one in _as_completed(running, signals):
                yield by_folder[one.result()]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.stop()
            raise


def _as_completed(running: Sequence, signals: StopSignals) -> Iterator:
    waiting = set(running)
    while waiting:
        with contextlib.suppress(TimeoutError):
            for one in as_completed(waiting, timeout=0.2):
                waiting.discard(one)
                yield one
                break
        if signals.received:
            raise Stopped(
                f'{signal.Signals(signals.received).name}: cells that were training '
                'have saved; the same command goes on',
                signals.received,
            )


class _Processes:
    """The cells that run; stopping them lets them save."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen] = set()
        self._stopped = False

    def start(self, command: Sequence[str], **options) -> subprocess.Popen | None:
        with self._lock:
            if self._stopped:
                return None
            process = subprocess.Popen(command, **options)
            self._running.add(process)
            return process

    def ended(self, process: subprocess.Popen) -> None:
        with self._lock:
            self._running.discard(process)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def _run_cell(
    job: tuple[str, str, str, int], processes: _Processes | None = None
) -> str:
    """One cell in a process of its own; what it says goes to its log."""
    root, folder, where, threads = job
    processes = processes or _Processes()
    place = Path(root) / folder
    limits = dict.fromkeys(THREAD_LIMITS, str(threads))
    (place / ERROR).unlink(missing_ok=True)
    with (place / LOG).open('ab') as log:
        process = processes.start(
            [sys.executable, '-m', 'metaiqa_plugin.benchmark.cell', root, str(place)],
            cwd=where,
            env={**os.environ, **limits},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the run, which tells its cells
        )
        if process is not None:
            process.wait()
            process.stdin.close()
            processes.ended(process)
    return folder


def _write_plan(experiment: Path, plan: Plan, command: str, runs: bool) -> None:
    """The commits are those of all runs that had something to do."""
    path = experiment / 'plan.json'
    commits = read_json(path)['commit'].split(', ') if path.is_file() else []
    if runs or not commits:
        commits = list(dict.fromkeys([*commits, commit()]))
    facts = plan.facts() | {
        'options': Path(plan.file.path).read_text(encoding='utf-8'),
        'command': command,
        'commit': ', '.join(commits),
        'environment': environment(),
    }
    write_json(path, facts)


@contextlib.contextmanager
def _only_run(experiment: Path) -> Iterator[None]:
    with (experiment / '.lock').open('w') as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(
                    f'{str(experiment)!r} is being run by another process; wait for '
                    'it, or give --workers to that one'
                ) from error
        yield
