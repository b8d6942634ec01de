"""The mini-batches of a run in their order, from any iteration on; who reads them."""

from __future__ import annotations

import math
import os
import random
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from pyiqa.data.data_sampler import EnlargedSampler
from torch.utils.data import BatchSampler, DataLoader, Dataset, default_collate

from metaiqa_plugin.errors import UserError

__all__ = ['READER_DIED', 'DataOrder', 'mini_batches', 'train_loader']

READER_DIED = (
    'a process that reads images died, perhaps for lack of memory; resume the run with '
    '--resume and a smaller num_worker_per_gpu'
)


class DataOrder:
    """Which items each iteration takes: as pyiqa's loader has it, without its epochs.

    pyiqa shuffles by the number of the epoch, drops the last short batch, and yet
    counts it; so a run of E epochs ends somewhat within epoch E + 1.

    Args:
        items: length of the data set.
        batch_size: items per iteration.
        train: the ``train`` section; ``total_epoch`` or ``total_iter``.
        ratio: pyiqa's ``dataset_enlarge_ratio``.
        shuffle: whether to.
        endless: items have any number from 0 on; each iteration takes the next ones,
            whatever ``shuffle`` is.

    Attributes:
        per_epoch: iterations until the learning rate is updated.
        total: iterations of the run.

    Raises:
        UserError: an epoch holds no whole batch, or the length of the run is not given.
    """

    def __init__(
        self,
        items: int,
        batch_size: int,
        train: dict[str, Any],
        ratio: float = 1,
        shuffle: bool = True,
        endless: bool = False,
    ) -> None:
        self._endless = endless
        self._sampler = EnlargedSampler(range(items), 1, 0, ratio, shuffle)
        self._batch_size = batch_size
        self.per_epoch = len(self._sampler) // batch_size
        if not self.per_epoch:
            raise UserError(
                f'batch_size_per_gpu={batch_size} is more than the '
                f'{len(self._sampler)} items of an epoch; make it smaller'
            )
        counted = math.ceil(items * ratio / batch_size)
        epochs, wanted = train.get('total_epoch'), train.get('total_iter')
        if epochs is not None:
            wanted = int(epochs) * counted
        elif wanted is None:
            raise UserError('train.total_epoch or train.total_iter must be given')
        last = math.ceil(int(wanted) / counted) + 1
        self.total = min(int(wanted), last * self.per_epoch)

    def from_iteration(self, done: int) -> Iterator[list[int]]:
        """The indices of each mini-batch after the first ``done``."""
        if self._endless:
            size = self._batch_size
            for first in range(done * size, self.total * size, size):
                yield [*range(first, first + size)]
            return
        for epoch in range(
            done // self.per_epoch, math.ceil(self.total / self.per_epoch)
        ):
            self._sampler.set_epoch(epoch)
            batches = BatchSampler(self._sampler, self._batch_size, drop_last=True)
            first = epoch * self.per_epoch
            for place, batch in enumerate(batches):
                if done <= first + place < self.total:
                    yield batch


class SeededItems(Dataset):
    """Items of any data set as a function of the seed and of their mini-batch.

    What pyiqa's data sets draw at random depends on the worker and on what it did
    before.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        whole = np.random.SeedSequence([self.seed, *indices]).generate_state(1)
        seed = int(whole[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        return [self.dataset[index] for index in indices]


def train_loader(
    dataset: Dataset, block: dict[str, Any], order: DataOrder, done: int, seed: int
) -> DataLoader:
    """A loader of all the mini-batches that are still to come.

    Its workers read ahead over the ends of epochs, and live as long as it does.

    Args:
        dataset: of the option block.
        block: its ``num_worker_per_gpu``, ``pin_memory`` are read.
        order: of the run.
        done: iterations that are done.
        seed: for data sets that draw from the global generators.
    """
    seeded = dataset if hasattr(dataset, '__getitems__') else SeededItems(dataset, seed)
    return DataLoader(
        seeded,
        batch_sampler=_Batches(order, done),
        num_workers=block['num_worker_per_gpu'],
        pin_memory=block.get('pin_memory', False),
        collate_fn=_collate,
        worker_init_fn=_prepare_reader,
        generator=torch.Generator(),  # else it draws from the global one at each start
    )


def mini_batches(loader: Iterable[Any]) -> Iterator[Any]:
    """Those of a loader.

    torch names a reader that died, unless it notices first that the reader does not
    answer.

    Raises:
        UserError: a reader does not answer.
    """
    batches = iter(loader)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (ConnectionError, EOFError) as error:
            raise UserError(READER_DIED) from error
        yield batch


class _Batches:
    def __init__(self, order: DataOrder, done: int) -> None:
        self._order, self._done = order, done

    def __iter__(self) -> Iterator[list[int]]:
        return self._order.from_iteration(self._done)

    def __len__(self) -> int:
        return self._order.total - self._done


def _collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """A rank beyond the k tasks of a mini-batch has none."""
    return default_collate(items) if items else {'task': []}


def _prepare_reader(_: int) -> None:
    """In a process that reads images: signals to the whole group are not for it.

    Ctrl-C and SLURM signal every process; a reader that died would end the run unsaved.
    SIGTERM of the parent itself, which is how it ends its readers, ends this one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, 'sigwaitinfo'):  # macOS: SIGTERM ends it, whoever sent it
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
