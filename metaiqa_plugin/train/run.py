"""pyiqa's training pipeline with runs written below a folder of the user's.

``python -m metaiqa_plugin.train -opt X.yml`` takes the arguments of
``python -m pyiqa.train``. pyiqa itself writes below its own installation
(``site-packages/experiments``); here the root is the current folder, or ``--root``.

On several GPUs, processes or machines::

    torchrun --nproc_per_node=N -m metaiqa_plugin.train -opt X.yml --launcher pytorch
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metaiqa_plugin.errors import UserError, run
from metaiqa_plugin.files import remove_unfinished
from metaiqa_plugin.train import ranks
from metaiqa_plugin.train.options import check_options, read_options

__all__ = ['main', 'train']


def train(
    arguments: Sequence[str],
    root: str | Path = '.',
    resume: bool = False,
    launcher: str = 'none',
) -> dict[str, Any]:
    """Train as an option file says.

    Args:
        arguments: ``-opt FILE`` and more, as on pyiqa's command line.
        root: folder that gets ``experiments/NAME`` and ``tb_logger/NAME``.
        resume: go on from the newest state of ``experiments/NAME``; from the start,
            if there is none.
        launcher: ``'pytorch'``: this is a process of torchrun's.

    Returns:
        the best validation results, per data set and metric; empty on other ranks
        than 0.

    Raises:
        UserError: an option file with faults, all of them named; weights to start from
            that do not exist; whatever :class:`~metaiqa_plugin.train.loop.Run`
            refuses.
        Stopped: SIGTERM or SIGINT; a state was saved.
    """
    file = _option_file(arguments)
    options = read_options(file)
    check_options(options, file)
    paths = options['path']
    if paths.get('resume_state'):
        raise UserError(
            'path.resume_state is for pyiqa.train; here --resume finds the newest '
            'state of the run'
        )
    _require_start(paths.get('pretrain_network'))
    ranks.start(launcher)
    try:
        return _run(_parsed(arguments, root, options), file, resume)
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


def _option_file(arguments: Sequence[str]) -> str:
    parser = argparse.ArgumentParser(prog='metaiqa train', add_help=False)
    parser.add_argument('-opt', required=True)
    return parser.parse_known_args(list(arguments))[0].opt


def _parsed(
    arguments: Sequence[str], root: str | Path, options: dict[str, Any]
) -> dict[str, Any]:
    """pyiqa's parsed options.

    pyiqa 0.1.16 reads the command line of the process, turns ``num_gpu: auto`` into
    the number of GPUs, and seeds each rank by itself; ours all begin alike.
    """
    from pyiqa.utils import set_random_seed
    from pyiqa.utils.options import parse_options

    before = sys.argv
    sys.argv = ['metaiqa train', *arguments]
    try:
        opt, _ = parse_options(str(Path(root).resolve()))
    finally:
        sys.argv = before
    forced = any(argument.startswith('num_gpu=') for argument in arguments)
    if options['num_gpu'] == 'auto' and not forced:
        opt['num_gpu'] = 'auto'
    opt['root_path'] = str(Path(root).resolve())
    opt['manual_seed'] = ranks.share(opt['manual_seed'])
    set_random_seed(opt['manual_seed'])
    return opt


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
    if weights and not Path(weights).is_file():
        raise UserError(
            f'path.pretrain_network={weights!r}: no such file; train it first (the '
            'first lines of the option file say how), name another, or start from '
            'ImageNet with ~ there and network.pretrained: imagenet'
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the top of this module."""
    parser = argparse.ArgumentParser(
        prog='metaiqa train',
        description='Meta-train a quality prior; takes the options of pyiqa.train.',
        epilog='-opt FILE.yml is required; --force_yml key:key=value changes it.',
    )
    parser.add_argument('--root', default='.', help='folder for experiments/NAME')
    parser.add_argument(
        '--resume',
        '--auto_resume',
        action='store_true',
        help='go on from the newest state of the run, if there is one',
    )
    parser.add_argument(
        '--launcher', default='none', help='pytorch: under torchrun; default: none'
    )
    known, rest = parser.parse_known_args(arguments)
    train(rest, known.root, known.resume, known.launcher)
    return 0


if __name__ == '__main__':
    sys.exit(run(main))
