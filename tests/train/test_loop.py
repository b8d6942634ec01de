"""What a run writes, on networks of ours and of pyiqa's; what it refuses."""

import pytest
import torch
from PIL import Image
from pyiqa.data import build_dataset

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score import correlate
from metaiqa_plugin.train import logs, ranks
from metaiqa_plugin.train.data_order import DataOrder
from metaiqa_plugin.train.iqa_model import choose_device
from metaiqa_plugin.train.logs import plot_run
from metaiqa_plugin.train.metaiqa_model import choose_precision


def test_a_network_of_pyiqas_is_meta_trained_and_resumed(runs, meta_options, tmp_path):
    meta_options['network'] = {'type': 'CNNIQA', 'pretrained': None}
    meta_options['train']['meta'] |= {'head': ['fc'], 'alpha_head': 1e-3}
    meta_options['datasets']['train'] |= {'resize': 64, 'crop_size': 40}
    for root, lengths in {'whole': [2], 'parts': [1, 2]}.items():
        for length in lengths:
            meta_options['train']['total_iter'] = length
            runs.run(meta_options, tmp_path / root, resume=True)
    parts = runs.weights(tmp_path / 'parts')
    assert runs.same(runs.weights(tmp_path / 'whole'), parts)
    tasks = runs.rows(tmp_path / 'parts', 'task_losses.csv')
    types = {'gaussian_blur', 'jpeg', 'white_noise'}
    assert len(tasks) == 6 and {row['task'] for row in tasks} <= types


def test_a_run_logs_curves_tasks_tensorboard_and_a_picture(
    runs, meta_options, tmp_path
):
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    meta_options['logger'] |= {'use_tb_logger': True, 'print_freq': 1}
    meta_options['train']['total_iter'] = 4
    runs.run(meta_options, tmp_path)
    (runs.folder(tmp_path) / 'training_states' / '4.state').unlink()
    meta_options['train']['total_iter'] = 6
    runs.run(meta_options, tmp_path, resume=True)
    events = EventAccumulator(str(tmp_path / 'tb_logger' / 'tiny')).Reload()
    steps = [event.step for event in events.Scalars('losses/l_query')]
    assert steps == [1, 2, 3, 4, 5, 6]
    logged = [tag for tag in events.Tags()['scalars'] if tag.startswith('query_loss/')]
    assert logged
    curve = runs.rows(tmp_path, 'learning_curve.csv')
    for row in curve:
        tasks = [
            float(task['l_query'])
            for task in runs.rows(tmp_path, 'task_losses.csv')
            if task['iter'] == row['iter']
        ]
        assert float(row['l_query']) == pytest.approx(sum(tasks) / 3)
    with Image.open(runs.folder(tmp_path) / 'learning_curve.png') as picture:
        assert picture.width > 1000 and len(picture.convert('L').getcolors()) > 10


@pytest.mark.parametrize(('seconds', 'drawn'), [(0, [1, 2, 2]), (3600, [2])])
def test_the_picture_is_drawn_now_and_then_and_at_the_end(
    tmp_path, monkeypatch, seconds, drawn
):
    def draw(folder):
        found.append(len((folder / logs.CURVE).read_text().splitlines()) - 1)

    found = []
    monkeypatch.setattr(logs, 'plot_run', draw)
    monkeypatch.setattr(logs, 'PICTURE_SECONDS', seconds)
    run = logs.RunLogs(tmp_path, 0, None)
    run.picture(last=True)
    for iteration in (1, 2):
        run.losses(iteration, {'l_mos': 0.5}, [])
        run.picture()
    run.picture(last=True)
    assert found == drawn


def test_a_curve_without_tasks_is_drawn(tmp_path):
    (tmp_path / 'learning_curve.csv').write_text('iter,l_mos\n1,0.5\n2,0.25\n')
    with Image.open(plot_run(tmp_path)) as picture:
        assert picture.width < 1000


def test_averaged_weights_are_what_is_saved(runs, meta_options, tmp_path):
    meta_options['train']['total_iter'] = 2
    meta_options['train']['meta']['ema'] = 0.9
    meta_options['logger']['save_latest_freq'] = 1
    runs.run(meta_options, tmp_path)
    states = runs.folder(tmp_path) / 'training_states'
    first = torch.load(states / '1.state', weights_only=True)
    second = torch.load(states / '2.state', weights_only=True)
    before = first['own']['average']['module.head.0.weight']
    expected = torch.lerp(before, second['network']['head.0.weight'], 0.1)
    saved = runs.weights(tmp_path)['head.0.weight']
    torch.testing.assert_close(saved, expected)
    assert not torch.allclose(saved, second['network']['head.0.weight'], rtol=1e-3)
    test_set = build_dataset(meta_options['datasets']['val'] | {'phase': 'val'})
    weights = str(runs.folder(tmp_path) / 'models' / 'net_latest.pth')
    network = MetaIQA(pretrained_model_path=weights).eval()
    with torch.no_grad():
        scores = [network(item['img'][None]).item() for item in test_set]
    found = correlate(scores, [item['mos_label'].item() for item in test_set])
    validated = float(runs.rows(tmp_path, 'validation.csv')[-1]['plcc'])
    assert found.plcc == pytest.approx(validated, abs=1e-4)


def test_the_order_is_that_of_pyiqas_loop():
    order = DataOrder(10, 3, {'total_epoch': 2})
    assert (order.per_epoch, order.total) == (3, 8)
    batches = list(order.from_iteration(0))
    assert len(batches) == 8
    epoch = [index for batch in batches[:3] for index in batch]
    assert len(set(epoch)) == 9
    assert batches[:3] != batches[3:6]
    for done in range(9):
        assert list(order.from_iteration(done)) == batches[done:]


def test_the_order_of_endless_items_goes_on_over_epochs():
    order = DataOrder(10, 3, {'total_epoch': 2}, endless=True)
    batches = list(order.from_iteration(0))
    assert [index for batch in batches for index in batch] == [*range(24)]
    assert list(order.from_iteration(5)) == batches[5:]


@pytest.mark.parametrize(
    ('train', 'message'),
    [({'total_iter': 3}, 'batch_size_per_gpu=11'), ({}, 'total_epoch or')],
)
def test_an_order_that_can_not_be_is_refused(train, message):
    size = 11 if train else 2
    with pytest.raises(UserError, match=message):
        DataOrder(10, size, train)


@pytest.mark.parametrize(
    ('cuda', 'mps', 'asked', 'chosen'),
    [
        (False, False, 'auto', 'cpu'),
        (False, False, 0, 'cpu'),
        (True, False, 'auto', 'cuda:2'),
        (True, True, 1, 'cuda:2'),
        (True, False, 0, 'cpu'),
        (False, True, 'auto', 'mps'),
        (False, True, 1, 'mps'),
    ],
)
def test_the_device_is_the_one_there_is(monkeypatch, cuda, mps, asked, chosen):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: cuda)
    monkeypatch.setattr(torch.cuda, 'current_device', lambda: 2)
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: mps)
    assert choose_device(asked).value == chosen


@pytest.mark.parametrize('asked', [2, -1, True, 'all', None, 1.0])
def test_no_other_device_is_taken(asked):
    with pytest.raises(UserError, match='num_gpu=') as refused:
        choose_device(asked)
    if asked == 2:
        assert 'torchrun --nproc_per_node=2' in str(refused.value)


@pytest.mark.parametrize(('seconds', 'chosen'), [(0.02, 'bf16'), (0.05, 'fp32')])
def test_the_faster_precision_is_chosen(monkeypatch, seconds, chosen):
    clock = [0.0]
    monkeypatch.setattr('time.perf_counter', lambda: clock[0])

    def step(precision):
        clock[0] += seconds if precision == 'bf16' else 0.05

    choice = choose_precision('auto', step)
    assert choice.value == chosen and 'times as fast' in choice.why


def test_a_trial_of_the_precision_leaves_no_trace(runs, meta_options, tmp_path):
    meta_options['train']['total_iter'] = 1
    meta_options['train']['meta']['batchnorm'] = 'running'
    meta_options['train']['meta']['precision'] = 'auto'
    runs.run(meta_options, tmp_path / 'auto')
    state = runs.folder(tmp_path / 'auto') / 'training_states' / '1.state'
    chosen = torch.load(state, weights_only=True)['own']['precision']
    meta_options['train']['meta']['precision'] = chosen
    runs.run(meta_options, tmp_path / 'asked')
    assert runs.same(runs.weights(tmp_path / 'auto'), runs.weights(tmp_path / 'asked'))


def test_one_process_is_rank_zero_of_one():
    tensor = torch.ones(2)
    ranks.add_up([tensor])
    assert (ranks.rank(), ranks.count()) == (0, 1)
    assert ranks.gather('a') == ['a'] and ranks.share('a') == 'a'
    assert torch.equal(tensor, torch.ones(2))
