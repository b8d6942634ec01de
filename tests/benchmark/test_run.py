"""Running a grid: each cell once, whatever fails, stops or kills it."""

import os
import signal
import time
from pathlib import Path

import pytest
from tiny_options import RANK

from metaiqa_plugin.benchmark.plan import Cell, read_plan
from metaiqa_plugin.benchmark.records import read_experiment, read_json
from metaiqa_plugin.benchmark.run import TimeLeft, prepare, run_plan, state_of
from metaiqa_plugin.cli import main
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import locked


def predictions_of(root, name='tiny'):
    cells = Path(root) / name / 'cells'
    return {
        str(path.relative_to(cells)): path.read_bytes()
        for path in sorted(cells.rglob('predictions-*.csv'))
    }


def one_network(tiny):
    tiny['protocol']['splits'] = 1
    tiny['methods'] = {'from scratch': tiny['methods']['from scratch']}
    return tiny


def test_a_grid_here_twice_and_on_ray(tiny, written, capfd, monkeypatch):
    """One cell at a time; then on a cluster of two workers, in another order."""
    one_network(tiny)['methods']['NIQE'] = {'metric': 'ssim'}
    path = written(tiny)
    assert main(['benchmark', '-opt', path, '--root', 'here']) == 1
    shown = capfd.readouterr()
    assert '1 are now, 1 failed' in shown.out
    assert "NIQE / 01 / seed 3: metric 'ssim' is not a no-reference" in shown.err
    experiment = read_experiment('here/tiny')
    assert [cell.state for cell in experiment.cells] == ['finished', 'failed']
    assert "'ssim'" in experiment.cells[1].error
    assert experiment.plan['options'] == Path(path).read_text()
    assert {'torch', 'processor'} <= set(experiment.plan['environment'])

    times = {
        cell.folder: (cell.folder / 'result.json').stat().st_mtime_ns
        for cell in experiment.finished
    }
    assert main(['benchmark', '-opt', path, '--root', 'here']) == 1
    assert '1 cells were finished, 0 are now, 1 failed' in capfd.readouterr().out
    assert times == {
        folder: (folder / 'result.json').stat().st_mtime_ns for folder in times
    }

    ray = pytest.importorskip('ray', reason='part of the development set-up')
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        tiny['methods'] = dict(reversed(tiny['methods'].items()))
        arguments = ['benchmark', '-opt', written(tiny), '--root', 'ray', '--ray']
        assert main(arguments) == 1
    finally:
        ray.shutdown()
    assert predictions_of('ray') == predictions_of('here')
    assert len(predictions_of('here')) == 1


def test_a_killed_run_goes_on_and_a_stopped_one_says_so(
    tiny, written, benchmark_process, do_here
):
    tiny['change']['prior']['train.total_epoch'] = 24
    tiny['protocol']['splits'] = 1
    del tiny['methods']['from scratch']
    path = written(tiny)
    first = benchmark_process('-opt', path, '--workers', '2')
    begun = wait_for(Path('runs/shared'), 'learning_curve.csv')
    first.kill()
    first.wait()
    log = begun.parent
    wait_until_quiet(log / 'learning_curve.csv')
    assert not list(Path('runs').rglob('result.json'))

    second = benchmark_process('-opt', path)
    time.sleep(1)
    wait_for_growth(log / 'learning_curve.csv')
    os.killpg(second.pid, signal.SIGINT)  # as Ctrl-C does
    assert second.wait() == 128 + signal.SIGINT
    assert 'the same command continues' in second.communicate()[1]

    assert main(['benchmark', '-opt', path]) == 0
    assert 'Continuing from' in (log.parents[1] / 'log.txt').read_text()
    do_here(path, 'whole')
    assert predictions_of('runs') == predictions_of('whole')


def wait_for(folder, name):
    for _ in range(600):
        found = list(folder.rglob(name))
        if found and found[0].stat().st_size > 100:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f'no {name} in {folder}')


def wait_until_quiet(path):
    """The cell ends by itself when the run that started it was killed."""
    size = -1
    for _ in range(20):
        time.sleep(1)
        if path.stat().st_size == size:
            return
        size = path.stat().st_size
    raise AssertionError('the cell outlived the run')


def wait_for_growth(path):
    size = path.stat().st_size
    for _ in range(600):
        if path.stat().st_size > size:
            return
        time.sleep(0.1)
    raise AssertionError('the run did not continue')


def test_other_options_are_refused_and_redone_where_asked(tiny, written):
    plan = read_plan(written(one_network(tiny)))
    (cell,) = plan.cells
    root = Path('runs')
    assert state_of(root, cell) == 'open'
    prepare(root, cell)
    (root / cell.folder / 'result.json').write_text('{"tests": {}, "measures": {}}')
    assert state_of(root, cell) == 'finished'

    tiny['change']['adapt']['train.optim.lr'] = 0.125
    (other,) = read_plan(written(tiny)).cells
    assert state_of(root, other) == 'other options'
    with pytest.raises(UserError, match=r'optim\.lr: 0\.001 -> 0\.125.*--overwrite'):
        prepare(root, other)
    prepare(root, other, overwrite=True)
    assert state_of(root, other) == 'open'
    assert read_json(root / other.folder / 'cell.json')['training']['train']['optim'][
        'lr'
    ] == pytest.approx(0.125)


def test_what_was_begun_under_other_options_starts_anew(tiny, written):
    (cell,) = read_plan(written(one_network(tiny))).cells
    prepare(Path('runs'), cell)
    left = Path('runs') / cell.folder / 'experiments'
    left.mkdir()
    prepare(Path('runs'), cell)
    assert left.exists(), 'the same work goes on'
    tiny['seeds'] = [3]
    tiny['change']['adapt']['train.optim.lr'] = 0.125
    (other,) = read_plan(written(tiny)).cells
    prepare(Path('runs'), other)
    assert not left.exists()


def test_list_shows_the_grid_and_runs_nothing(tiny, written, capfd):
    path = written(tiny)
    assert main(['benchmark', '-opt', path, '--list']) == 0
    shown = capfd.readouterr().out
    assert 'open           MetaIQA / 01 / seed 3' in shown
    assert '4 open' in shown
    assert not Path('runs').exists()


def test_one_run_at_a_time(tiny, written):
    plan = read_plan(written(one_network(tiny)))
    folder = Path('runs/tiny')
    with locked(folder / '.lock'), pytest.raises(UserError, match='another process'):
        run_plan(plan)


def test_time_is_measured_one_by_one(tiny, written):
    tiny['protocol'] = {'type': 'runtime', 'database': 'wild', 'images': 4}
    plan = read_plan(written(tiny))
    with pytest.raises(UserError, match='one by one'):
        run_plan(plan, workers=2)


def test_jobs_must_be_a_number(tiny, written, capfd):
    assert main(['benchmark', '-opt', written(tiny), '--workers', '0']) == 2
    assert 'workers=0' in capfd.readouterr().err
    assert os.listdir('.') == ['tiny.yml']


def test_shared_work_waits_for_what_it_needs_and_fails_with_it(tiny, written, capfd):
    tiny['protocol']['splits'] = 1
    prior = tiny['methods']['MetaIQA']
    rates = {'train.optim.lr': 1e30, 'train.optim.lr_backbone': 1e30}
    diverging = RANK | {'change': RANK['change'] | rates}
    tiny['methods'] = {
        'from rankings': {**prior, 'start': dict(RANK)},
        'from nothing': {**prior, 'start': diverging},
    }
    assert main(['benchmark', '-opt', written(tiny), '--workers', '2']) == 1
    said = capfd.readouterr()
    assert '1 are now, 3 failed' in said.out
    states = {
        name: [path.parent for path in Path('runs').rglob(name)]
        for name in ('result.json', 'error.txt')
    }
    done = sorted(path.name.split(',')[0] for path in states['result.json'])
    assert done == ['3', 'metaiqa_kodak', 'rank_kodak']
    (log,) = (path / 'log.txt' for path in states['result.json'] if 'meta' in path.name)
    assert 'Loaded' in log.read_text() and 'rank_kodak' in log.read_text()
    assert 'diverged' in said.err
    assert 'from nothing / 01 / seed 3: shared/metaiqa_kodak' in said.err
    assert 'shared/rank_kodak' in said.err


PRIOR = Cell('shared/a', {'kind': 'prior'})
FIRST = Cell('x/1', {'kind': 'trained', 'method': 'first'})
SECOND = Cell('x/2', {'kind': 'trained', 'method': 'second'})


def test_each_kind_and_method_takes_as_long_as_its_like():
    left = TimeLeft([PRIOR, PRIOR, *[FIRST] * 10, *[SECOND] * 10], at_a_time=2)
    assert left.seconds(1) is None
    left.ended(PRIOR, 1000)
    left.ended(FIRST, 100)
    assert left.seconds(1000) == (1000 + 9 * 100 + 10 * 550) / 2
    left.ended(SECOND, 10)
    assert left.seconds(1000) == (1000 + 9 * 100 + 9 * 10) / 2


def test_a_cell_that_failed_waits_no_more_and_tells_nothing():
    left = TimeLeft([FIRST] * 4, at_a_time=1)
    left.ended(FIRST, None)
    assert left.seconds(5) is None
    left.ended(FIRST, 60)
    assert left.seconds(65) == 120


def test_the_last_cells_do_not_fill_all_places():
    left = TimeLeft([FIRST] * 5, at_a_time=4)
    for _ in range(4):
        left.ended(FIRST, 60)
    assert left.seconds(60) == 60
    left.ended(FIRST, 60)
    assert left.seconds(120) == 0


def test_without_a_number_of_places_it_is_what_was_done_in_the_time():
    left = TimeLeft([FIRST] * 40, at_a_time=None)
    for _ in range(8):
        left.ended(FIRST, 60)
    assert left.seconds(120) == pytest.approx(32 * 60 / 4)
