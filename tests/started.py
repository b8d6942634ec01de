"""Commands in processes of their own that do not wait for Python and torch to start.

A process that has imported what all commands import starts the others by forking, in a
second or less instead of six. From there they run as ``python -m`` or ``python -c``
would.
"""

import contextlib
import importlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile

PRELOADED = (
    'metaiqa_plugin.train.adapt',
    'metaiqa_plugin.cli',
    'metaiqa_plugin.data.synthesis',
    'metaiqa_plugin.train.run',
    'metaiqa_plugin.train.loop',
)
CONTEXT = multiprocessing.get_context('forkserver')


class Started:
    """As much of ``subprocess.Popen`` as the tests use.

    Args:
        command: ``[sys.executable, '-m', MODULE, ...]`` or ``'-c', CODE, ...``.
        stdout, stderr: ``subprocess.PIPE`` or ``DEVNULL``, or a descriptor; None: where
            those of the tests go.
        env: of the process.
        stdin: bytes that it reads.
    """

    def __init__(self, command, stdout=None, stderr=None, env=None, stdin=b''):
        assert command[0] == sys.executable
        CONTEXT.set_forkserver_preload([*PRELOADED])
        self._files = [_opened(stdout), _opened(stderr)]
        descriptors = [
            None if file is None else multiprocessing.reduction.DupFd(file.fileno())
            for file in (_holding(stdin), *self._files)
        ]
        place = (os.getcwd(), dict(os.environ if env is None else env))
        self._process = CONTEXT.Process(
            target=_run, args=(command[1], command[2], command[3:], descriptors, place)
        )
        self._process.start()
        self.pid = self._process.pid
        for file in self._files:
            if file is not None and not file.readable():
                file.close()

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired('a started process', timeout)
        return self._process.exitcode

    def communicate(self, timeout=None):
        self.wait(timeout)
        return tuple(map(_text, self._files))

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def finished(command, check=False, timeout=300, **options):
    """As ``subprocess.run`` with text that is captured."""
    process = Started(command, subprocess.PIPE, subprocess.PIPE, **options)
    stdout, stderr = process.communicate(timeout)
    assert not check or process.returncode == 0, stderr
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def _opened(target):
    if target is None:
        return None
    if target == subprocess.PIPE:
        return tempfile.TemporaryFile()
    if target == subprocess.DEVNULL:
        return open(os.devnull, 'wb')
    return open(os.dup(target), 'wb')


def _holding(content):
    file = tempfile.TemporaryFile()
    file.write(content)
    file.seek(0)
    return file


def _text(file):
    if file is None or file.closed:
        return None
    file.seek(0)
    return file.read().decode()


def _run(kind, what, arguments, descriptors, place):
    os.setsid()
    os.chdir(place[0])
    os.environ.clear()
    os.environ.update(place[1])
    for number, descriptor in enumerate(descriptors):
        if descriptor is not None:
            os.dup2(descriptor.detach(), number)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (
        os.fdopen(number, 'w', buffering=1, closefd=False) for number in (1, 2)
    )
    sys.argv = [what if kind == '-m' else '-c', *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if kind == '-m':
        importlib.import_module(what.rpartition('.')[0])
        sys.modules.pop(what, None)
        runpy.run_module(what, run_name='__main__', alter_sys=True)
    else:
        exec(compile(what, '-c', 'exec'), {'__name__': '__main__'})
    with contextlib.suppress(OSError):
        sys.stdout.flush()
