"""One training run: pyiqa's models, data sets and loggers in a loop that can resume.

pyiqa 0.1.16 has such a loop, in ``pyiqa.train``. This one gives the same weights from
the same options, and also resumes at any iteration, runs on several ranks, and
saves after a signal; pyiqa's resume starts the epoch again, loses the weights, and
fails on a CPU.
"""

from __future__ import annotations

import errno
import logging
import math
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from pyiqa.data import build_dataloader, build_dataset
from pyiqa.models import build_model
from pyiqa.utils import AvgTimer, MessageLogger, get_root_logger
from tqdm import tqdm

from metaiqa_plugin.errors import Stopped, UserError
from metaiqa_plugin.train import ranks
from metaiqa_plugin.train.data_order import DataOrder, mini_batches, train_loader
from metaiqa_plugin.train.logs import RunLogs
from metaiqa_plugin.train.state import (
    collect,
    fixed_options,
    put_back,
    state_files,
    write_state,
)

__all__ = ['Run', 'StopSignals']

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
STOPPING = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """While it is entered, the first SIGTERM or SIGINT is noted, a second interrupts.

    Outside of the main thread, where Python takes no handlers, nothing is noted.

    Attributes:
        received: the number of the signal, or 0.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._note) for n in STOPPING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = number


class Run:
    """A run, from its first iteration or from a state.

    Args:
        opt: pyiqa's parsed options; its folders are there.
        state: to resume from; None: from the start.
        tensorboard: a ``SummaryWriter``, or None.

    Raises:
        UserError: an option, an image or a state that cannot be used.
    """

    def __init__(
        self, opt: dict[str, Any], state: dict[str, Any] | None, tensorboard: Any
    ) -> None:
        self.opt = opt
        self.tensorboard = tensorboard
        self.folder = Path(opt['path']['experiments_root'])
        self.fixed = fixed_options(opt)
        self.done = 0 if state is None else state['iter']
        block = opt['datasets']['train']
        dataset = build_dataset(block)
        self.order = DataOrder(
            len(dataset),
            block['batch_size_per_gpu'],
            opt['train'],
            block.get('dataset_enlarge_ratio', 1),
            block.get('use_shuffle', True),
            getattr(dataset, 'endless', False),
        )
        opt['train']['total_iter'] = self.order.total
        self.loader = train_loader(
            dataset, block, self.order, self.done, opt['manual_seed']
        )
        self.validation_loaders = [
            build_dataloader(build_dataset(part), part, opt['num_gpu'])
            for phase, part in opt['datasets'].items()
            if phase.split('_')[0] == 'val'
        ]
        self.model = build_model(opt)
        if state is not None:
            put_back(self.model, state)
        elif hasattr(self.model, 'prepare'):
            self.model.prepare(dataset)
        self.logs = None
        if ranks.rank() == 0:
            self.logs = RunLogs(self.folder, self.done, tensorboard)
        self.saved = self.done if state else -1

    def go(self) -> dict[str, Any]:
        """Train to the end.

        Returns:
            the best validation results, per data set and metric.

        Raises:
            Stopped: SIGTERM or SIGINT; a state was saved.
            UserError: training diverged, the disk is full, a rank was lost.
        """
        try:
            with StopSignals() as signals, self._bar() as bar:
                self._iterations(signals, bar)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise self._disk_full(error) from error
            raise
        finally:
            if self.tensorboard:
                self.tensorboard.close()
        return getattr(self.model, 'best_metric_results', {})

    def _bar(self) -> tqdm:
        """On a terminal, which the log then leaves to it."""
        log = get_root_logger()
        log.info(f'Iterations {self.done + 1} to {self.order.total}.')
        show = ranks.rank() == 0 and sys.stderr.isatty()
        for handler in log.handlers:
            if show and type(handler) is logging.StreamHandler:
                handler.setLevel(logging.WARNING)
        return tqdm(
            total=self.order.total,
            initial=self.done,
            unit='update',
            desc=self.opt['name'],
            disable=not show,
        )

    def _iterations(self, signals: StopSignals, bar: tqdm) -> None:
        opt, logger = self.opt, self.opt['logger']
        message = MessageLogger(opt, self.done + 1, self.tensorboard)
        data_timer, timer = AvgTimer(), AvgTimer()
        for batch in mini_batches(self.loader):
            data_timer.record()
            self.done += 1
            self.model.feed_data(batch)
            self.model.optimize_parameters(self.done)
            timer.record()
            self._note(bar)
            if self.done % logger['print_freq'] == 0:
                self._message(message, timer, data_timer)
            if self.done % self.order.per_epoch == 0:
                self._end_epoch()
            if self._due(opt.get('val', {}).get('val_freq', math.inf)):
                self._validate()
            if self.done % logger.get('save_checkpoint_freq', math.inf) == 0:
                self.save_weights(self.done)
            if self._due(logger['save_latest_freq']):
                self._save()
            self._stop_if_asked(signals)
            data_timer.start()
            timer.start()
        if self.logs:
            self.logs.picture(last=True)

    def _due(self, every: float) -> bool:
        return self.done % every == 0 or self.done == self.order.total

    def _note(self, bar: tqdm) -> None:
        if self.logs is None:
            return
        losses = dict(self.model.get_current_log())
        tasks = getattr(self.model, 'task_losses', [])
        self.logs.losses(self.done, losses, tasks)
        bar.update()
        name = 'l_query' if 'l_query' in losses else next(iter(losses))
        bar.set_postfix({name: f'{losses[name]:.4f}'})

    def _message(
        self, message: MessageLogger, timer: AvgTimer, data_timer: AvgTimer
    ) -> None:
        values = {
            'epoch': (self.done - 1) // self.order.per_epoch,
            'iter': self.done,
            'lrs': self.model.get_current_learning_rate(),
            'time': timer.get_avg_time(),
            'data_time': data_timer.get_avg_time(),
        }
        message(values | dict(self.model.get_current_log()))

    def _end_epoch(self) -> None:
        epoch = self.done // self.order.per_epoch
        warmup = self.opt['train'].get('warmup_iter', -1)
        self.model.update_learning_rate(epoch + 1, warmup_iter=warmup)

    def _validate(self) -> None:
        """On rank 0."""
        if 'val' not in self.opt or self.logs is None:
            return
        for loader in self.validation_loaders:
            save_images = self.opt['val'].get('save_img', False)
            self.model.validation(loader, self.done, self.tensorboard, save_images)
            name = loader.dataset.opt['name']
            self.logs.validation(self.done, name, self.model.metric_results)

    def _save(self) -> None:
        """Once an iteration; the state comes last, so that what it says is there."""
        if self.logs is None or self.saved == self.done:
            return
        self.logs.to_disk()
        self.save_weights(-1)
        self.logs.picture()
        state = collect(self.model) | {
            'iter': self.done,
            'epoch': self.done // self.order.per_epoch,
            'options': self.fixed,
        }
        write_state(self.opt, state)
        self.saved = self.done

    def save_weights(self, iteration: int) -> None:
        """``net_ITERATION.pth``; -1: ``net_latest.pth``; on rank 0."""
        if self.logs is not None:
            result = getattr(self.model, 'result', self.model.net)
            self.model.save_network(result, 'net', iteration)

    def _stop_if_asked(self, signals: StopSignals) -> None:
        received = max(ranks.gather(signals.received))
        if not received:
            return
        self._save()
        if self.logs:
            self.logs.picture(last=True)
        raise Stopped(
            f'{signal.Signals(received).name} after iteration {self.done} of '
            f'{self.order.total}; saved, resume it with --resume',
            received,
        )

    def _disk_full(self, error: OSError) -> UserError:
        states = state_files(self.opt['path']['training_states'])
        last = (
            f'the last good state is {str(states[0])!r}' if states else 'no state yet'
        )
        return UserError(
            f'{str(self.folder)!r} cannot be written at iteration {self.done} '
            f'({error.strerror}); {last}; make room and resume with --resume'
        )
