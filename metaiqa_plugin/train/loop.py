"""One training run: pyiqa's models, data sets and loggers in a loop that can resume.

pyiqa 0.1.16 has such a loop, in ``pyiqa.train``. This one gives the same weights from
the same options, and beside that goes on from any iteration, on several ranks, after a
signal; pyiqa's resume starts the epoch anew, loses the weights, and fails on a CPU.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pyiqa.data import build_dataloader, build_dataset
from pyiqa.models import build_model
from pyiqa.utils import AvgTimer, MessageLogger, get_root_logger
from tqdm import tqdm

from metaiqa_plugin.errors import Stopped, UserError
from metaiqa_plugin.train import ranks
from metaiqa_plugin.train.data_order import DataOrder, train_loader
from metaiqa_plugin.train.model_state import collect, put_back
from metaiqa_plugin.train.run_logs import RunLogs
from metaiqa_plugin.train.signals import StopSignals
from metaiqa_plugin.train.state_files import KEEP_STATES, state_files, write_state

__all__ = ['Run', 'refuse_other_options']

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FIXED = ('model_type', 'manual_seed', 'network', 'train', 'datasets.train')
"""Options that a resumed run must have as it began."""
MAY_CHANGE = {'total_epoch', 'total_iter', 'num_worker_per_gpu', 'pin_memory'}


class Run:
    """A run, from its first iteration or from a state.

    Args:
        opt: pyiqa's parsed options; its folders are there.
        state: to go on from; None: from the start.
        tensorboard: a ``SummaryWriter``, or None.

    Raises:
        UserError: an option, an image or a state that can not be used.
    """

    def __init__(
        self, opt: dict[str, Any], state: dict[str, Any] | None, tensorboard: Any
    ) -> None:
        self.opt = opt
        self.tensorboard = tensorboard
        self.folder = Path(opt['path']['experiments_root'])
        self.log = get_root_logger()
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
            with StopSignals() as signals:
                self._iterations(signals)
        except RuntimeError as error:
            if 'DataLoader worker' not in str(error):
                raise
            raise self._reader_died() from error
        except OSError as error:
            if error.errno in DISK_FULL:
                raise self._disk_full(error) from error
            raise
        finally:
            if self.tensorboard:
                self.tensorboard.close()
        return getattr(self.model, 'best_metric_results', {})

    def _iterations(self, signals: StopSignals) -> None:
        opt, logger = self.opt, self.opt['logger']
        self.log.info(f'Iterations {self.done + 1} to {self.order.total}.')
        show_bar = ranks.rank() == 0 and sys.stderr.isatty()
        if show_bar:
            _leave_terminal_to_the_bar(self.log)
        message = MessageLogger(opt, self.done + 1, self.tensorboard)
        data_timer, timer = AvgTimer(), AvgTimer()
        bar = tqdm(
            total=self.order.total,
            initial=self.done,
            unit='update',
            desc=opt['name'],
            disable=not show_bar,
        )
        with bar:
            for batch in self._batches():
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
                    self._save_numbered()
                if self._due(logger['save_latest_freq']):
                    self._save()
                self._stop_if_asked(signals)
                data_timer.start()
                timer.start()
        self._last_picture()

    def _batches(self) -> Iterator[Any]:
        """Those of the loader.

        torch names a reader that died, unless it notices first that the reader does
        not answer.
        """
        batches = iter(self.loader)
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (ConnectionError, EOFError) as error:
                raise self._reader_died() from error
            yield batch

    def _reader_died(self) -> UserError:
        return UserError(
            f'a process that reads images died at iteration {self.done + 1}, perhaps '
            'for want of memory; go on with --resume and a smaller num_worker_per_gpu'
        )

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
        self._save_weights(-1)
        self.logs.picture()
        write_state(
            self.opt['path']['training_states'],
            self._state(),
            self.done,
            self.opt['logger'].get('keep_states', KEEP_STATES),
        )
        self.saved = self.done

    def _last_picture(self) -> None:
        if self.logs is not None:
            self.logs.picture(last=True)

    def _save_numbered(self) -> None:
        if self.logs is not None:
            self._save_weights(self.done)

    def _save_weights(self, iteration: int) -> None:
        result = getattr(self.model, 'result', self.model.net)
        self.model.save_network(result, 'net', iteration)

    def _state(self) -> dict[str, Any]:
        return collect(self.model) | {
            'iter': self.done,
            'epoch': self.done // self.order.per_epoch,
            'options': self.fixed,
        }

    def _stop_if_asked(self, signals: StopSignals) -> None:
        received = max(ranks.gather(signals.received))
        if not received:
            return
        self._save()
        self._last_picture()
        raise Stopped(
            f'{signal.Signals(received).name} after iteration {self.done} of '
            f'{self.order.total}; saved, go on with --resume',
            received,
        )

    def _disk_full(self, error: OSError) -> UserError:
        states = state_files(self.opt['path']['training_states'])
        last = (
            f'the last good state is {str(states[0])!r}' if states else 'no state yet'
        )
        return UserError(
            f'{str(self.folder)!r} can not be written at iteration {self.done} '
            f'({error.strerror}); {last}; make room and go on with --resume'
        )


def fixed_options(opt: dict[str, Any]) -> str:
    """JSON of the options that a resumed run must have as it began."""
    return json.dumps({name: _plain(_at(opt, name)) for name in FIXED}, default=str)


def refuse_other_options(opt: dict[str, Any], state: dict[str, Any]) -> None:
    """Raises UserError where the run of ``state`` began with other options."""
    if 'options' not in state:
        raise UserError(
            f'--resume: the state of iteration {state["iter"]} was written under '
            'pyiqa.train and does not know its place in the data; go on there, or '
            'start anew with path.pretrain_network'
        )
    now, then = json.loads(fixed_options(opt)), json.loads(state['options'])
    for name in FIXED:
        for where, value, before in _differences(name, now[name], then[name]):
            raise UserError(
                f'--resume: {where} is {value!r}, the run began with {before!r}; give '
                'it its value back, or start a run of another name'
            )


def _at(opt: dict[str, Any], path: str) -> Any:
    for key in path.split('.'):
        opt = opt[key]
    return opt


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in MAY_CHANGE}
        return {key: _plain(item) for key, item in kept.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def _differences(where: str, now: Any, then: Any):
    if isinstance(now, dict) and isinstance(then, dict):
        for key in [*now, *(key for key in then if key not in now)]:
            yield from _differences(f'{where}.{key}', now.get(key), then.get(key))
    elif now != then:
        yield where, now, then


def _leave_terminal_to_the_bar(log: logging.Logger) -> None:
    for handler in log.handlers:
        if type(handler) is logging.StreamHandler:
            handler.setLevel(logging.WARNING)
