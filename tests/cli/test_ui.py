"""The command refuses what it cannot serve, and ends as it should."""

import logging
import socket
import sys

import pytest

from metaiqa_plugin.cli import main


def execute(*arguments):
    return main(['ui', *map(str, arguments)])


def one_line(capfd):
    lines = capfd.readouterr().err.splitlines()
    told = [line for line in lines if line.startswith('metaiqa:')]
    assert len(told) == 1
    return told[0]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--port', 65536], 'port=65536'),
        (['--port', -1], 'port=-1'),
        (['--host', 'no.such.host.invalid', '--port', 0], "host='no.such.host.inv"),
        (['--max-tabs', 0], '--max-tabs=0'),
        (['--max-files', 0], '--max-files=0'),
        (['--max-megabytes', -3], '--max-megabytes=-3'),
        (['--max-megapixels', 0], '--max-megapixels=0'),
        (['--max-checkpoint-megabytes', 0], '--max-checkpoint-megabytes=0'),
        (['--steps', -1, '--port', 0], 'steps=-1'),
        (['--seed', -1, '--port', 0], 'seed=-1'),
        (['--metric', 'nowhere.pth', '--port', 0], "'nowhere.pth' does not exist"),
    ],
)
def test_bad_arguments_are_one_line_and_a_code(capfd, arguments, message):
    assert execute(*arguments) == 2
    assert message in one_line(capfd)


def test_a_port_in_use_is_one_line(capfd):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        assert execute('--port', port) == 2
    assert f'port={port}' in one_line(capfd)


def test_a_missing_server_says_how_to_get_it(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, 'uvicorn', None)
    assert execute('--port', 0) == 2
    assert 'metaiqa_plugin[ui]' in one_line(capfd)


@pytest.fixture
def ended_at_once(monkeypatch):
    import uvicorn

    class Ended:
        def __init__(self, config):
            pass

        def run(self, sockets):
            raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn, 'Server', Ended)


def test_the_loggers_of_the_process_are_left_alone(ended_at_once):
    class Watched(logging.NullHandler):
        closed = False

        def close(self):
            self.closed = True
            super().close()

    handler = Watched()
    assert execute('--port', 0, '--metric', 'rankiqa') == 0
    assert not handler.closed


def test_another_address_is_warned_of(ended_at_once, capfd):
    given = ('--port', 0, '--metric', 'rankiqa')
    assert execute('--host', '0.0.0.0', *given) == 0
    assert 'warning' in one_line(capfd)
    assert execute(*given) == 0
    assert 'warning' not in capfd.readouterr().err
