"""pyiqa's training pipeline with runs written below a folder of the user's.

``python -m metaiqa_plugin.train -opt X.yml`` reads the files of
``python -m pyiqa.train``, and changes them with ``--set train.optim.lr=3e-4``; that one
runs code that a file or its ``--force_yml`` names. pyiqa itself writes below its own
installation (``site-packages/experiments``); here the root is the current folder, or
``--root``.

On several GPUs, processes or machines::

    torchrun --nproc_per_node=N -m metaiqa_plugin.train -opt X.yml --launcher pytorch
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaiqa_plugin.errors import UserError, whole_number
from metaiqa_plugin.files import remove_unfinished
from metaiqa_plugin.train import ranks
from metaiqa_plugin.train.options import changed, check_options, read_options

__all__ = ['train']


def train(
    file: str | os.PathLike,
    root: str | Path = '.',
    resume: bool = False,
    launcher: str = 'none',
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train as an option file says.

    Args:
        file: the option file.
        root: folder that gets ``experiments/NAME`` and ``tb_logger/NAME``.
        resume: go on from the newest state of ``experiments/NAME``; from the start,
            if there is none.
        launcher: ``'pytorch'``: this is a process of torchrun's.
        changes: of the file's options, by dotted key.

    Returns:
        the best validation results, per data set and metric; empty on other ranks
        than 0.

    Raises:
        UserError: an option file with faults, all of them named; weights to start from
            that do not exist; whatever :class:`~metaiqa_plugin.train.loop.Run`
            refuses.
        Stopped: SIGTERM or SIGINT; a state was saved.
    """
    file = os.fspath(file)
    options = changed(read_options(file), changes or {}, '--set')
    check_options(options, file)
    paths = options['path'] or {}
    if paths.get('resume_state'):
        raise UserError(
            'path.resume_state is for pyiqa.train; here --resume finds the newest '
            'state of the run'
        )
    _require_start(paths.get('pretrain_network'))
    ranks.start(launcher)
    try:
        return _run(_for_pyiqa(options, root), file, resume)
    except RuntimeError as error:
        # torch's signal handler may say so at any moment, even after the loop has
        if 'DataLoader worker' not in str(error):
            raise
        raise UserError(
            'a process that reads images died, perhaps for want of memory; go on with '
            '--resume and a smaller num_worker_per_gpu'
        ) from error
    finally:
        ranks.stop()


def _run(opt: dict[str, Any], file: str, resume: bool) -> dict[str, Any]:
    from pyiqa.utils import get_env_info, get_root_logger
    from pyiqa.utils.options import copy_opt_file, dict2str

    from metaiqa_plugin.train.loop import Run, refuse_other_options
    from metaiqa_plugin.train.state_files import newest_state

    folder = Path(opt['path']['experiments_root'])
    found, warnings = None, []
    if resume and ranks.rank() == 0:
        found = newest_state(opt['path']['training_states'], warnings.append)
    found = ranks.share(found)
    if ranks.rank() == 0:
        _make_folders(opt, keep=resume)
        copy_opt_file(file, folder)
    ranks.share(None)
    log = get_root_logger(log_level=logging.INFO, log_file=_log_file(opt))
    log.info(get_env_info())
    log.info(dict2str(opt))
    for warning in warnings:
        log.warning(warning)
    state = None
    if found is not None:
        path, state = found
        refuse_other_options(opt, state)
        log.info(f'Going on from {path}, iteration {state["iter"]}.')
    elif resume:
        log.info(f'No state in {opt["path"]["training_states"]}: from the start.')
    return Run(opt, state, _tensorboard(opt, state)).go()


def _for_pyiqa(options: Mapping[str, Any], root: str | Path) -> dict[str, Any]:
    """The options as pyiqa's models, data sets and loggers want them.

    pyiqa 0.1.16 reads the file itself, with a loader that runs code; turns ``num_gpu:
    auto`` into the number of GPUs; seeds each rank by itself, where ours begin alike;
    and changes what a run saves if its name has ``debug`` in it.
    """
    from pyiqa.utils import set_random_seed

    seed = options.get('manual_seed')
    if seed is None:
        seed = random.randint(1, 10000)
    whole_number('manual_seed', seed, least=0)
    seed = ranks.share(seed)
    set_random_seed(seed)
    root = str(Path(root).resolve())
    return {
        **options,
        'manual_seed': seed,
        'dist': False,
        'rank': ranks.rank(),
        'world_size': ranks.count(),
        'auto_resume': False,
        'is_train': True,
        'root_path': root,
        'datasets': {
            phase: {**block, 'phase': str(phase).split('_')[0]}
            for phase, block in options['datasets'].items()
        },
        'path': _paths(options, root),
    }


def _paths(options: Mapping[str, Any], root: str) -> dict[str, Any]:
    """The block ``path`` with the folders of the run."""
    paths = dict(options['path'] or {})
    if paths.get('pretrain_network'):
        paths['pretrain_network'] = os.path.expanduser(str(paths['pretrain_network']))
    folder = os.path.join(root, 'experiments', options['name'])
    own = ('models', 'training_states', 'visualization')
    own = {name: os.path.join(folder, name) for name in own}
    return {**paths, 'experiments_root': folder, 'log': folder, **own}


def _make_folders(opt: dict[str, Any], keep: bool) -> None:
    """Those of the run; what an older run of this name left is moved away."""
    from pyiqa.utils import make_exp_dirs, mkdir_and_rename

    if not keep:
        make_exp_dirs(opt)
        if opt['logger'].get('use_tb_logger'):
            os.makedirs(Path(opt['root_path']) / 'tb_logger_archived', exist_ok=True)
            mkdir_and_rename(_tensorboard_folder(opt))
        return
    for name in ('models', 'training_states', 'visualization'):
        Path(opt['path'][name]).mkdir(parents=True, exist_ok=True)
        remove_unfinished(opt['path'][name])
    remove_unfinished(opt['path']['experiments_root'])


def _tensorboard_folder(opt: dict[str, Any]) -> str:
    return str(Path(opt['root_path']) / 'tb_logger' / opt['name'])


def _tensorboard(opt: dict[str, Any], state: dict[str, Any] | None) -> Any:
    if not opt['logger'].get('use_tb_logger') or ranks.rank():
        return None
    from pyiqa.utils import init_wandb_logger
    from torch.utils.tensorboard import SummaryWriter

    if (opt['logger'].get('wandb') or {}).get('project'):
        init_wandb_logger(opt)
    purge = None if state is None else state['iter'] + 1
    return SummaryWriter(_tensorboard_folder(opt), purge_step=purge)


def _log_file(opt: dict[str, Any]) -> str:
    from pyiqa.utils import get_time_str

    return str(Path(opt['path']['log']) / f'train_{opt["name"]}_{get_time_str()}.log')


def _require_start(weights: str | None) -> None:
    if weights and not Path(str(weights)).expanduser().is_file():
        raise UserError(
            f'path.pretrain_network={weights!r}: no such file; train it first (the '
            'first lines of the option file say how), name another, or start from '
            'ImageNet with ~ there and network.pretrained: imagenet'
        )
