"""The metric of torchmetrics: a mean over batches and processes."""

import subprocess
import sys

import pytest
import torch
from torchmetrics import MetricCollection

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score import open_metric
from metaiqa_plugin.torchmetrics import MetaIQA

RANK = """
import sys
import torch
from torch import distributed
from metaiqa_plugin.torchmetrics import MetaIQA

checkpoint, store, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
distributed.init_process_group(
    'gloo', init_method=f'file://{store}', rank=rank, world_size=2
)
images = torch.rand((5, 3, 40, 50), generator=torch.Generator().manual_seed(0))
quality = MetaIQA(checkpoint)
quality.update(images[:4] if rank == 0 else images[4:])
print(repr(quality.compute().item()), int(quality.images))
quality.reset()
quality.update(images[rank : rank + 1])
print(repr(quality.compute().item()))
distributed.destroy_process_group()
"""


@pytest.fixture
def images():
    return torch.rand((5, 3, 40, 50), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def scores(checkpoint, images):
    return open_metric(checkpoint)(images).double().flatten()


def test_it_is_the_mean_over_batches_until_it_is_reset(checkpoint, images, scores):
    quality = MetaIQA(checkpoint)
    assert quality.higher_is_better
    quality.update(images[:3])
    quality.train().update(images[3:])
    assert quality.compute().item() == pytest.approx(scores.mean().item(), abs=1e-6)
    assert quality(images[:2]).item() == pytest.approx(scores[:2].mean().item(), 1e-5)
    quality.reset()
    quality.update(images[4:])
    assert quality.compute().item() == pytest.approx(scores[4].item(), abs=1e-6)


def test_its_direction_is_that_of_the_metric_and_collections_copy_it(checkpoint):
    both = MetricCollection({'ours': MetaIQA(checkpoint), 'piqe': MetaIQA('piqe')})
    other = both.clone(prefix='val_')
    assert not other['piqe'].higher_is_better
    other['piqe'].update(torch.rand(1, 3, 64, 64))
    assert both['piqe'].images == 0 and other['piqe'].images == 1


@pytest.mark.parametrize('wrong', [torch.rand(3, 9, 9), torch.ones(1, 3, 9, 9) * 255])
def test_what_is_no_batch_of_images_is_refused(checkpoint, wrong):
    quality = MetaIQA(checkpoint)
    with pytest.raises(UserError, match='images: '):
        quality.update(wrong)
    assert quality.images == 0


def test_two_processes_give_the_mean_of_all_images(checkpoint, scores, tmp_path):
    started = [
        subprocess.Popen(
            [sys.executable, '-c', RANK, checkpoint, str(tmp_path / 'store'), rank],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in ('0', '1')
    ]
    told = [process.communicate()[0].split() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert told[0][0] == told[1][0] and told[0][2] == told[1][2]
    assert float(told[0][0]) == pytest.approx(scores.mean().item(), abs=1e-6)
    assert [rank[1] for rank in told] == ['4', '1']
    assert float(told[0][2]) == pytest.approx(scores[:2].mean().item(), abs=1e-6)


def test_without_torchmetrics_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchmetrics', None)
    monkeypatch.delitem(sys.modules, 'metaiqa_plugin.torchmetrics')
    with pytest.raises(UserError, match=r'metaiqa_plugin\[torchmetrics\]'):
        import metaiqa_plugin.torchmetrics  # noqa: F401
