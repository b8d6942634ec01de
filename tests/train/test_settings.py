"""Rates that change with every step, against torch's own schedulers."""

import re

import pytest
import torch
from torch.optim import lr_scheduler

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.iqa_model import IQAModel
from metaiqa_plugin.train.options import find_faults
from metaiqa_plugin.train.settings import WarmupCosine


@pytest.mark.parametrize(('warmup', 'steps'), [(0.1, 50), (0, 7), (0.9, 20), (0.3, 1)])
def test_the_factor_is_torchs_line_times_its_cosine(warmup, steps):
    schedule = WarmupCosine(warmup)
    weight = torch.zeros(1, requires_grad=True)
    cosine = torch.optim.SGD([weight], lr=1.0)
    cosine_of = lr_scheduler.CosineAnnealingLR(cosine, steps)
    for step in range(1, steps + 1):
        line = min(1.0, step / (warmup * steps + 1))
        expected = line * cosine.param_groups[0]['lr']
        assert schedule.factor(step, steps) == pytest.approx(expected, abs=1e-12)
        cosine.step()
        cosine_of.step()


def test_rates_rise_to_their_height_and_fall_to_nearly_nothing():
    factors = [WarmupCosine(0.1).factor(step, 1000) for step in range(1, 1001)]
    top = factors.index(max(factors))
    assert factors[0] == pytest.approx(0.0099, rel=0.01)
    assert 95 <= top <= 105 and max(factors) > 0.97
    assert factors[-1] < 1e-5


@pytest.mark.parametrize('warmup', [-0.1, 1, 'long'])
def test_a_share_of_the_steps_is_at_least_none_and_less_than_all(warmup):
    with pytest.raises(UserError, match=re.escape('train.scheduler.warmup')):
        WarmupCosine(warmup)


def test_an_argument_that_it_does_not_have_is_found(adapt_options):
    adapt_options['train']['scheduler'] = {'type': 'WarmupCosine', 'warm_up': 0.1}
    faults = ' '.join(find_faults(adapt_options))
    assert 'train.scheduler.warm_up' in faults


def test_adaptation_uses_them_for_every_group_and_goes_on_with_them(
    runs, adapt_options, tmp_path, monkeypatch
):
    adapt_options['datasets']['train']['num_worker_per_gpu'] = 1
    adapt_options['train']['scheduler'] = {'type': 'WarmupCosine', 'warmup': 0.2}
    adapt_options['train']['optim'] = {'type': 'AdamW', 'lr': 0.1, 'lr_backbone': 0.01}
    adapt_options['logger'] |= {'print_freq': 1}
    runs.run(adapt_options, tmp_path / 'whole')
    log = next(runs.folder(tmp_path / 'whole').glob('*.log')).read_text()
    logged = re.findall(r'lr:\(([^,]+),([^,]+),\)', log)
    factors = [WarmupCosine(0.2).factor(step, 10) for step in range(1, 11)]
    expected = [(f'{0.01 * f:.3e}', f'{0.1 * f:.3e}') for f in factors]
    assert logged == expected
    step = IQAModel.optimize_parameters

    def failing(model, iteration):
        if iteration == 6:
            raise UserError('the power went')
        step(model, iteration)

    with monkeypatch.context() as patch:
        patch.setattr(IQAModel, 'optimize_parameters', failing)
        with pytest.raises(UserError, match='the power went'):
            runs.run(adapt_options, tmp_path / 'killed')
    runs.run(adapt_options, tmp_path / 'killed', resume=True)
    assert runs.figures(tmp_path / 'whole') == runs.figures(tmp_path / 'killed')
    assert runs.same(
        runs.weights(tmp_path / 'whole'), runs.weights(tmp_path / 'killed')
    )
