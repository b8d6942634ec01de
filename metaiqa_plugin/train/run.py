"""Training as an option file says, below a folder of the user's.

Reads the files of ``python -m pyiqa.train``, which runs code that a file or its
``--force_yml`` names, and writes below its own installation
(``site-packages/experiments``). Here a file is data and the root is the current folder,
or ``--root``.

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

from pyiqa.utils import (
    get_env_info,
    get_root_logger,
    get_time_str,
    init_wandb_logger,
    make_exp_dirs,
    mkdir_and_rename,
    set_random_seed,
)
from pyiqa.utils.logger import initialized_logger
from pyiqa.utils.options import copy_opt_file, dict2str

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import remove_unfinished
from metaiqa_plugin.option_yaml import dump
from metaiqa_plugin.train import ranks
from metaiqa_plugin.train.data_order import READER_DIED
from metaiqa_plugin.train.loop import Run
from metaiqa_plugin.train.options import (
    changed,
    check_options,
    option_file,
    read_options,
    require_data,
)
from metaiqa_plugin.train.state import newest_state, refuse_other_options

__all__ = ['train']

FOLDERS = ('models', 'training_states', 'visualization')
"""Those of a run, below its own."""


def train(
    options: str | os.PathLike | Mapping[str, Any],
    root: str | Path = '.',
    resume: bool = False,
    launcher: str = 'none',
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train as an option file says.

    Args:
        options: the file, see ``option_file``; or what it would hold.
        root: folder that gets ``experiments/NAME`` and ``tb_logger/NAME``.
        resume: resume from the newest state of ``experiments/NAME``; from the start,
            if there is none.
        launcher: ``'pytorch'``: this is a process of torchrun's.
        changes: of the options, by dotted key.

    Returns:
        the best validation results, per data set and metric; empty on other ranks
        than 0.

    Raises:
        UserError: options with faults, all of them named; weights to start from that
            do not exist; whatever :class:`~metaiqa_plugin.train.loop.Run` refuses.
        Stopped: SIGTERM or SIGINT; a state was saved.
    """
    file = None
    if not isinstance(options, Mapping):
        file = option_file(os.fspath(options), 'train')
        options = read_options(file)
    given = changed(options, changes or {}, '--set')
    check_options(given, file or 'options')
    paths = given['path'] or {}
    if paths.get('resume_state'):
        raise UserError(
            'path.resume_state is for pyiqa.train; here --resume finds the newest '
            'state of the run'
        )
    _require_start(paths.get('pretrain_network'))
    require_data(given)
    ranks.start(launcher)
    try:
        return _run(_for_pyiqa(given, root), file or given, resume)
    except RuntimeError as error:
        # torch's signal handler may say so at any moment, even after the loop has
        if 'DataLoader worker' not in str(error):
            raise
        raise UserError(READER_DIED) from error
    finally:
        ranks.stop()


def _run(
    opt: dict[str, Any], source: str | dict[str, Any], resume: bool
) -> dict[str, Any]:
    folder = Path(opt['path']['experiments_root'])
    found, warnings = None, []
    if resume and ranks.rank() == 0:
        found = newest_state(opt['path']['training_states'], warnings.append)
    found = ranks.share(found)
    if ranks.rank() == 0:
        _make_folders(opt, keep=resume)
        if isinstance(source, str):
            copy_opt_file(source, folder)
        else:
            (folder / 'options.yml').write_text(dump(source), encoding='utf-8')
    ranks.share(None)
    log = _fresh_log(folder / f'train_{opt["name"]}_{get_time_str()}.log')
    log.info(get_env_info())
    log.info(dict2str(opt))
    for warning in warnings:
        log.warning(warning)
    state = None
    if found is not None:
        path, state = found
        refuse_other_options(opt, state)
        log.info(f'Continuing from {path}, iteration {state["iter"]}.')
    elif resume:
        log.info(f'No state in {opt["path"]["training_states"]}: from the start.')
    return Run(opt, state, _tensorboard(opt, state)).go()


def _for_pyiqa(options: Mapping[str, Any], root: str | Path) -> dict[str, Any]:
    """The options as pyiqa's models, data sets and loggers want them.

    pyiqa 0.1.16 reads the file itself, with a loader that runs code; turns ``num_gpu:
    auto`` into the number of GPUs; seeds each rank by itself, where ours begin alike;
    and changes what a run saves if its name has ``debug`` in it.
    """
    seed = options.get('manual_seed')
    if seed is None:
        seed = random.randint(1, 10000)
    seed = ranks.share(seed)
    set_random_seed(seed)
    root = str(Path(root).resolve())
    folder = os.path.join(root, 'experiments', options['name'])
    paths = {**(options['path'] or {}), 'experiments_root': folder, 'log': folder}
    if paths.get('pretrain_network'):
        paths['pretrain_network'] = os.path.expanduser(str(paths['pretrain_network']))
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
        'path': paths | {name: os.path.join(folder, name) for name in FOLDERS},
    }


def _make_folders(opt: dict[str, Any], keep: bool) -> None:
    """Those of the run; what an older run of this name left is moved away."""
    if not keep:
        make_exp_dirs(opt)
        if opt['logger'].get('use_tb_logger'):
            os.makedirs(Path(opt['root_path']) / 'tb_logger_archived', exist_ok=True)
            mkdir_and_rename(_tensorboard_folder(opt))
        return
    for name in (*FOLDERS, 'experiments_root'):
        Path(opt['path'][name]).mkdir(parents=True, exist_ok=True)
        remove_unfinished(opt['path'][name])


def _fresh_log(file: Path) -> logging.Logger:
    """pyiqa's, which keeps the file of the first run of a process."""
    log = logging.getLogger('pyiqa')
    for handler in [*log.handlers]:
        log.removeHandler(handler)
        handler.close()
    initialized_logger.pop('pyiqa', None)
    return get_root_logger(log_level=logging.INFO, log_file=str(file))


def _tensorboard_folder(opt: dict[str, Any]) -> str:
    return str(Path(opt['root_path']) / 'tb_logger' / opt['name'])


def _tensorboard(opt: dict[str, Any], state: dict[str, Any] | None) -> Any:
    if not opt['logger'].get('use_tb_logger') or ranks.rank():
        return None
    from torch.utils.tensorboard import SummaryWriter

    if (opt['logger'].get('wandb') or {}).get('project'):
        init_wandb_logger(opt)
    purge = None if state is None else state['iter'] + 1
    return SummaryWriter(_tensorboard_folder(opt), purge_step=purge)


def _require_start(weights: str | None) -> None:
    if weights and not Path(str(weights)).expanduser().is_file():
        raise UserError(
            f'path.pretrain_network={weights!r}: no such file; train it first (the '
            'first lines of the option file say how), name another, or start from '
            'ImageNet with ~ there and network.pretrained: imagenet'
        )
