"""Runs ``metaiqa ui`` and notes in the file CALLS where it connects to."""

import argparse
import os
import socket
import sys

connect = socket.socket.connect


def noted(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        with open(os.environ['CALLS'], 'a', encoding='utf-8') as file:
            file.write(f'{address[0]}\n')
    return connect(self, address)


def resolved(host, *arguments, **options):
    with open(os.environ['CALLS'], 'a', encoding='utf-8') as file:
        file.write(f'{host}\n')
    return resolve(host, *arguments, **options)


resolve = socket.getaddrinfo
socket.socket.connect = noted
socket.getaddrinfo = resolved

from metaiqa_plugin.cli import ui  # noqa: E402
from metaiqa_plugin.errors import run  # noqa: E402

parser = argparse.ArgumentParser()
ui.add_parser(parser.add_subparsers(required=True))
options = parser.parse_args(['ui', *sys.argv[1:]])
sys.exit(run(options.command, options))
