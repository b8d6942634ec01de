"""Which files of the package a job goes through, found by running it.

A *walk* is a job of the command line, run under ``sys.setprofile`` and
``threading.setprofile``. Python processes of the package that it starts with
``python -m`` are followed, too.

**Files**: the distinct files of the package in which a function was called between the
start of the command and its end (or the end of the walk's last function). What runs
because a module is imported does not count, neither the module's own lines nor what
they call; nor does code that has no .py file, as that of dataclasses and templates.

**Edges**: a call of a function in file B, whose nearest caller in the package is in
another file A, makes the edge A -> B. Frames of other packages between them are passed
over, so a call through torch or pyiqa is an edge as well, and so is a callback or the
next item of a generator. The first call in a process makes an edge from the file that
started the process; the first call in a thread makes none.

**Turns back**: the distinct edges are taken in the order of their first call. An edge
A -> B is a turn back if B already leads to A over earlier edges that are none: the
call goes back up to a file that is above. The others form a graph without cycles; with
arrows that only go down there is no turn back.
"""

from __future__ import annotations

import importlib
import json
import runpy
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import tiny_jobs

__all__ = ['WALKS', 'walk']


def _image_to_score(package: Path, work: Path) -> list[list[str]]:
    photos = tiny_jobs.copy_photos(package, work / 'photos', 1)
    out = work / 'scores.csv'
    return [tiny_jobs.command('score', photos=photos, out=out, metrics='')]


def _episode_to_update(package: Path, work: Path) -> list[list[str]]:
    path = tiny_jobs.write_options(
        work / 'train.yml', tiny_jobs.meta_training(_synthesized(package, work))
    )
    return [tiny_jobs.command('train', options=path, root=work)]


def _cell_to_row(package: Path, work: Path) -> list[list[str]]:
    options = tiny_jobs.one_cell(_synthesized(package, work), work)
    path = tiny_jobs.write_options(work / 'one.yml', options)
    return [
        tiny_jobs.command('benchmark', options=path, root=work / 'runs'),
        tiny_jobs.command('report', root=work / 'runs', out=work / 'report'),
    ]


WALKS = {
    'image to score': (_image_to_score, ''),
    'episode to update': (_episode_to_update, 'optimize_parameters'),
    'cell to row': (_cell_to_row, ''),
}
"""What makes the commands, and the function that ends the walk when it returns."""


def _synthesized(package: Path, work: Path) -> Path:
    photos = tiny_jobs.copy_photos(package, work / 'pristine', 6)
    out = work / 'small'
    arguments = tiny_jobs.command('synthesize', photos=photos, out=out)
    _traced(package, work / 'not-counted', '', arguments)
    return out


def walk(package: Path, work: Path, name: str) -> dict:
    """Run a walk below ``work``; its files and turns."""
    commands, end = WALKS[name]
    work.mkdir(parents=True)
    trace = work / 'trace'
    for arguments in commands(package, work):
        _traced(package, trace, end, arguments)
    calls = [json.loads(line) for line in trace.read_text().splitlines()]
    calls.sort(key=lambda call: call['time'])
    files = list(dict.fromkeys(call['to'] for call in calls))
    edges = dict.fromkeys((call['from'], call['to']) for call in calls if call['from'])
    back = _turns_back(edges)
    return {
        'files': len(files),
        'turns_back': len(back),
        'entered': files,
        'back': [f'{above} -> {below}' for above, below in back],
    }


def _turns_back(edges) -> list[tuple[str, str]]:
    below: dict[str, set[str]] = {}
    back = []
    for caller, called in edges:
        if caller == called:
            continue
        if caller in _reached(below, called):
            back.append((caller, called))
        else:
            below.setdefault(caller, set()).add(called)
    return back


def _reached(below: dict[str, set[str]], start: str) -> set[str]:
    found, waiting = set(), [start]
    while waiting:
        for name in below.get(waiting.pop(), ()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found


def _traced(package: Path, trace: Path, end: str, arguments: list[str]) -> None:
    command = _command(package, trace, end, '', tiny_jobs.CLI_MODULE, arguments)
    done = subprocess.run(command, cwd=trace.parent, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'{" ".join(arguments)}: {done.stderr[-2000:]}')


def _command(package, trace, end, starter, module, arguments) -> list[str]:
    here = [sys.executable, str(Path(__file__).resolve())]
    return [*here, str(package), str(trace), end, starter, module, *arguments]


class _Tracer:
    """Notes the first call of each edge, and of each file.

    Args:
        package: its folder.
        trace: file to add the calls to when the process ends.
        end: function of the package after whose return nothing counts.
        starter: file of the package that started this process, or ''.
    """

    def __init__(self, package: Path, trace: Path, end: str, starter: str) -> None:
        self.package, self.trace, self.end = package, trace, end
        self.starter = starter
        self.calls: dict[tuple[str, str], int] = {}
        self._places: dict[str, str] = {}
        self._ended = False

    def place(self, frame: FrameType) -> str:
        """File of a frame below the package; '' for others."""
        name = frame.f_code.co_filename
        if name not in self._places:
            path = Path(name)
            inside = path.suffix == '.py' and path.is_relative_to(self.package)
            self._places[name] = (
                path.relative_to(self.package).as_posix() if inside else ''
            )
        return self._places[name]

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if self._ended or event not in ('call', 'return') or not self.place(frame):
            return
        if event == 'return':
            self._ended = frame.f_code.co_name == self.end
            return
        call = (self.caller(frame.f_back), self.place(frame))
        if call not in self.calls and not _imports(frame):
            self.calls[call] = time.time_ns()

    def caller(self, frame: FrameType | None) -> str:
        """The nearest file of the package at or above a frame."""
        while frame is not None:
            if self.place(frame):
                return self.place(frame)
            frame = frame.f_back
        on_main = threading.current_thread() is threading.main_thread()
        return self.starter if on_main else ''

    def write(self) -> None:
        with self.trace.open('a', encoding='utf-8') as file:
            for (caller, called), when in self.calls.items():
                call = {'from': caller, 'to': called, 'time': when}
                file.write(json.dumps(call) + '\n')


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported at or above a frame."""
    while frame is not None:
        ours = frame.f_code.co_filename == __file__
        if frame.f_code.co_name == '<module>' and not ours:
            if frame.f_globals.get('__name__') != '__main__':
                return True
        frame = frame.f_back
    return False


def _follow_processes(tracer: _Tracer) -> None:
    """Trace what is started with ``python -m`` and a module of the package."""

    class Popen(subprocess.Popen):
        def __init__(self, args, *rest, **named) -> None:
            here = list(args)[:2] == [sys.executable, '-m']
            if here and args[2].startswith(tracer.package.name + '.'):
                starter = tracer.caller(sys._getframe())
                args = _command(
                    tracer.package, tracer.trace, '', starter, args[2], args[3:]
                )
            super().__init__(args, *rest, **named)

    subprocess.Popen = Popen


def main(package, trace, end, starter, module, *arguments) -> int:
    """Run a command, or a module as a program, traced."""
    package = Path(package)
    sys.path[0] = str(package.parent)
    tracer = _Tracer(package, Path(trace), end, starter)
    _follow_processes(tracer)
    threading.setprofile(tracer)
    sys.setprofile(tracer)
    try:
        if module == tiny_jobs.CLI_MODULE:
            cli = importlib.import_module(f'{package.name}.{module}')
            return cli.main(list(arguments))
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name='__main__', alter_sys=True)
        return 0
    finally:
        sys.setprofile(None)
        tracer.write()


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
