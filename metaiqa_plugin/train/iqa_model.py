"""pyiqa's trainer for labelled images, without what is broken in it.

What is fixed, of pyiqa 0.1.16: it resumes the optimizer without the weights, keeps no
best results and no random states, writes weights in place and carries on when that
fails, trains on when the loss is NaN, needs a ``val`` section, reads
``best_metric_results`` at the end of a run that validated nothing, loads torch files
only, and knows CUDA and nothing else.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from pyiqa.models.general_iqa_model import GeneralIQAModel
from pyiqa.utils import get_root_logger

from metaiqa_plugin.archs.base import ConfiguredNetwork, load_exactly
from metaiqa_plugin.archs.checkpoint import read_state_dict
from metaiqa_plugin.data.crops import FrozenMaps
from metaiqa_plugin.data.datasets import LabelledDataset
from metaiqa_plugin.errors import UserError, one_of
from metaiqa_plugin.train import ranks
from metaiqa_plugin.train.adapt import features_of, train_head
from metaiqa_plugin.train.network import training_mode
from metaiqa_plugin.train.settings import BatchNorm, HeadFirst, WarmupCosine
from metaiqa_plugin.train.state import collect, put_back, save_durably, write_state

__all__ = [
    'Choice',
    'IQAModel',
    'choose_device',
    'load_weights',
    'require_same_stages',
]

NO_VALIDATION = {'val_freq': 10**9, 'save_img': False, 'metrics': {}}


class Choice(NamedTuple):
    """A choice and the reason, for the line at the start of a run."""

    value: str
    why: str


def choose_device(num_gpu: int | str) -> Choice:
    """The device of this process for pyiqa's option ``num_gpu``.

    Args:
        num_gpu: 0: the CPU; 1: the GPU (CUDA, else Apple's MPS); ``'auto'``: the GPU
            if there is one. With several ranks each takes the CUDA device of its
            LOCAL_RANK.

    Raises:
        UserError: several GPUs in one process, no such device, or no such option.
    """
    if type(num_gpu) is int and num_gpu > 1:
        raise UserError(
            f'num_gpu={num_gpu}: one process trains on one device; give num_gpu: 1 and '
            f'start {num_gpu} processes: torchrun --nproc_per_node={num_gpu} '
            '-m metaiqa_plugin.train -opt FILE --launcher pytorch'
        )
    one_of('num_gpu', num_gpu, (0, 1, 'auto'))
    if num_gpu == 0:
        return Choice('cpu', 'num_gpu: 0')
    if torch.cuda.is_available():
        name = f'cuda:{torch.cuda.current_device()}'
    elif torch.backends.mps.is_available():
        name = 'mps'
    elif num_gpu == 1:
        raise UserError('num_gpu=1, but torch finds no GPU; num_gpu: 0 is the CPU')
    else:
        return Choice('cpu', 'num_gpu: auto found no GPU')
    return Choice(name, f'num_gpu: {num_gpu}' + ' found it' * (num_gpu == 'auto'))


class IQAModel(GeneralIQAModel):
    """Adam or any optimizer on labelled images: adaptation (Eq. 9 and 10).

    The options are those of pyiqa's ``GeneralIQAModel``, and ``train.batchnorm``:
    ``running``, or ``frozen``, which keeps BatchNorm's statistics as they came.
    ``train.scheduler.type`` may be ``WarmupCosine``, which changes the rates at every
    step; pyiqa changes them after an epoch. ``train.head_first``: train the head
    alone before, see :class:`HeadFirst`; of a network with frozen stages and a data
    set of their maps.
    ``num_gpu``: 0 is the CPU, 1 the GPU, ``auto`` the GPU if there is one.

    Raises:
        UserError: a bad option, or an optimizer step that gives NaN.
        CheckpointError: ``path.pretrain_network`` does not fit the network.
    """

    takes_ranks = False

    def __init__(self, opt: dict[str, Any]) -> None:
        self._device_choice = choose_device(opt['num_gpu'])
        opt['num_gpu'] = 0 if self._device_choice.value == 'cpu' else 1
        if ranks.count() > 1 and not self.takes_ranks:
            raise UserError(
                f'model_type: {type(self).__name__} trains in one process; start it '
                'without torchrun'
            )
        opt.setdefault('val', dict(NO_VALIDATION))
        self.batchnorm = opt.get('train', {}).get('batchnorm', 'running')
        one_of('train.batchnorm', self.batchnorm, get_args(BatchNorm))
        maps = opt.get('datasets', {}).get('train', {}).get('maps')
        head_first = opt.get('train', {}).get('head_first')
        self._head_first = None
        if head_first is not None:
            self._head_first = HeadFirst.from_options(head_first)
            if maps is None:
                raise UserError(
                    'train.head_first needs datasets.train.maps, and a network whose '
                    'frozen stages make them'
                )
        super().__init__(opt)
        self.best_metric_results = {}
        if maps is not None:
            require_same_stages(self.get_bare_model(self.net), maps)

    def prepare(self, dataset: LabelledDataset) -> None:
        """What is trained before the first iteration of a run that does not resume."""
        if self._head_first is None:
            return
        network = self.get_bare_model(self.net)
        get_root_logger().info('Trains the head alone first.')
        features = features_of(network, dataset.pixels)
        seed = self.opt.get('manual_seed') or 0
        train_head(network, features, dataset.rows.mos, self._head_first, seed)
        self._head_first = None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return torch.device(self._device_choice.value)

    @device.setter
    def device(self, chosen: torch.device) -> None:
        """pyiqa sets CUDA wherever ``num_gpu`` is not 0; the choice stays."""

    def setup_optimizers(self) -> None:
        """As pyiqa's, which warns of every parameter that is not trained."""
        logger = get_root_logger()
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            super().setup_optimizers()
        finally:
            logger.setLevel(level)

    def setup_schedulers(self, scheduler_name: str = 'scheduler') -> None:
        """As pyiqa's, or our schedule of single steps."""
        self._rates = None
        block = dict(self.opt['train'][scheduler_name])
        if block.pop('type') != WarmupCosine.__name__:
            super().setup_schedulers(scheduler_name)
            return
        self._rates = WarmupCosine(**block)
        for group in self.optimizer.param_groups:
            group['initial_lr'] = group['lr']

    def set_rates(self, current_iter: int) -> None:
        """Those of one iteration, where they change with every iteration."""
        if self._rates is None:
            return
        factor = self._rates.factor(current_iter, self.opt['train']['total_iter'])
        for group in self.optimizer.param_groups:
            group['lr'] = factor * group['initial_lr']

    def load_network(
        self,
        net: torch.nn.Module,
        load_path: str,
        strict: bool = True,
        param_key: str = 'params',
    ) -> None:
        """Load any weight file that ``create_metric`` loads, every key matching.

        ``strict`` and ``param_key`` are part of pyiqa's signature and have no use here.
        """
        load_weights(self.get_bare_model(net), load_path)
        get_root_logger().info(f'Loaded {load_path}.')

    def optimize_parameters(self, current_iter: int) -> None:
        if self._head_first is not None and current_iter == 1:
            raise UserError(
                'train.head_first: not known to this trainer; start with metaiqa train'
            )
        self.set_rates(current_iter)
        training_mode(self.net, self.batchnorm)
        super().optimize_parameters(current_iter)
        self.refuse_divergence(current_iter)

    def refuse_divergence(self, current_iter: int) -> None:
        """Raises UserError where a loss of ``log_dict`` is NaN or infinite."""
        for name, value in self.log_dict.items():
            if name.startswith('l_') and not math.isfinite(value):
                raise UserError(
                    f'training diverged at iteration {current_iter}: {name} is '
                    f'{value}; lower train.optim.lr'
                )

    def save_network(
        self,
        net: torch.nn.Module,
        net_label: str,
        current_iter: int | None = None,
        param_key: str = 'params',
    ) -> None:
        """As pyiqa's, but whole or not at all.

        Raises:
            OSError: the file cannot be written.
        """
        if ranks.rank():
            return
        ending = {None: '', -1: '_latest'}.get(current_iter, f'_{current_iter}')
        path = Path(self.opt['path']['models']) / f'{net_label}{ending}.pth'
        state = self.get_bare_model(net).state_dict()
        save_durably({param_key: {k: v.cpu() for k, v in state.items()}}, path)

    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Called by pyiqa's script: all that :meth:`resume_training` needs.

        pyiqa asks for one of iteration -1 beside ``net_latest``; there is none.
        """
        if ranks.rank() or current_iter == -1:
            return
        state = collect(self) | {'epoch': epoch, 'iter': current_iter}
        write_state(self.opt, state)

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Called by pyiqa's script, which then starts the epoch from its first batch.

        Raises:
            UserError: the state was written by pyiqa's own model and has no weights.
        """
        if 'network' not in resume_state:
            raise UserError(
                'path.resume_state has no weights: it was written by another model; '
                'start over with path.pretrain_network'
            )
        put_back(self, resume_state)


def load_weights(network: torch.nn.Module, path: str) -> None:
    """Load any weight file that ``create_metric`` loads, every key matching.

    Raises:
        CheckpointError: the file is damaged or of another network.
    """
    if isinstance(network, ConfiguredNetwork):
        state, _ = network.read_checkpoint(path)
    else:
        state = read_state_dict(path)
    load_exactly(network, state, path)


def require_same_stages(network: torch.nn.Module, options: Mapping[str, Any]) -> None:
    """Raises UserError where a network could not have made its training maps.

    Args:
        network: that is to be trained.
        options: the block ``maps`` of its dataset.
    """
    maps = FrozenMaps.from_options(options)
    config = getattr(network, 'config', None)
    theirs = (getattr(config, 'backbone', None), getattr(config, 'frozen', None))
    if theirs != (maps.backbone, maps.stages):
        raise UserError(
            f'maps={dict(options)}: the network has backbone={theirs[0]!r} and '
            f'frozen={theirs[1]}; they must be the same'
        )
    expected = maps.network.backbone.frozen_state()
    found = network.backbone.frozen_state()
    changed = [key for key, value in expected.items() if not _same(value, found[key])]
    if changed:
        raise UserError(
            f'maps={dict(options)} are made with ImageNet weights, and those of the '
            f'network differ from them ({changed[0]} and {len(changed) - 1} more): it '
            'comes from a training that did not freeze these stages; leave out maps'
        )


def _same(value: torch.Tensor, found: torch.Tensor) -> bool:
    """Equal, or as equal as weights that were float16 on disk can be."""
    found = found.to(value.device, value.dtype)
    return torch.equal(found, value) or torch.equal(found, value.half().to(value.dtype))
