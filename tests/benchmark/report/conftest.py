"""An experiment of every protocol, and the report of all."""

import pytest
from made_experiments import EVERYTHING

from metaiqa_plugin.benchmark.report import write_report


@pytest.fixture(scope='session')
def experiments(tmp_path_factory):
    """A folder with an experiment of every protocol."""
    folder = tmp_path_factory.mktemp('runs')
    for maker in EVERYTHING:
        maker(folder / maker.__name__)
    return folder


@pytest.fixture(scope='session')
def report(experiments, tmp_path_factory):
    """The folder with the report of all of them."""
    out = tmp_path_factory.mktemp('report')
    write_report([experiments], out)
    return out
