"""Protocols: which images each method may learn from, and which it is tested on.

A protocol is a function of databases and of its options that gives the splits, or
raises UserError for an option that the databases cannot meet. Nothing here trains or
reads a pixel.

Sources: Table 2 (:func:`leave_one_distortion_out`), Tables 3 and 4 and Figure 4
(:func:`authentic`) of the MetaIQA paper, CVPR 2020, Section 4; the others are not in
the paper.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from metaiqa_plugin.data.datasets import database_options
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.data.rows import LabelledRows, written_places
from metaiqa_plugin.errors import UserError, one_of, whole_number
from metaiqa_plugin.files import sha256_of

__all__ = ['PROTOCOLS', 'LabelledDatabase', 'Part', 'Split', 'block_of', 'read_splits']

DEFAULTS = [(key.name, key.default) for key in fields(DatabaseOptions)]


def block_of(
    where: str, value: Any, known: Iterable[str] | None = None
) -> Mapping[str, Any]:
    """``value``; UserError where it is no block of options, or has unknown ones."""
    if not isinstance(value, Mapping):
        raise UserError(f'{where}={value!r}: expected a block of options')
    unknown = [] if known is None else sorted({*value} - {*known}, key=str)
    if unknown:
        raise UserError(f'{where}: unknown options {unknown}; it takes {sorted(known)}')
    return value


class LabelledDatabase:
    """A labelled database of a benchmark file.

    Args:
        name: in the file.
        block: its options there, see :func:`database_options`; without a split. Of
            ``store`` see :class:`~metaiqa_plugin.data.datasets.DatasetImages`.
    """

    def __init__(self, name: str, block: Mapping[str, Any]) -> None:
        where = f'databases.{name}'
        for key in {'split_index', 'rows'} & set(block_of(where, block)):
            raise UserError(f'{where}: {key} is for the protocol to say')
        options = {key: value for key, value in block.items() if key != 'store'}
        self.name, self.store = name, block.get('store')
        self.options = database_options({**options, 'split_index': None}, where)

    @cached_property
    def rows(self) -> LabelledRows:
        """All of it."""
        return read_rows(self.options)

    @cached_property
    def sha256(self) -> str:
        """Of its csv."""
        return sha256_of(self.options.meta_info_file)

    @cached_property
    def groups(self) -> np.ndarray:
        """(N,) of each row: its reference; negative: an image that is its own."""
        own = -1 - np.arange(len(self.rows))
        return np.where(self.rows.reference_of < 0, own, self.rows.reference_of)

    @cached_property
    def whole(self) -> Part:
        return self.part(range(len(self.rows)))

    def part(self, rows: Iterable[int]) -> Part:
        return Part(self, tuple(int(row) for row in rows))

    def of_type(self, task: str) -> tuple[Part, Part]:
        """Images of one distortion type, and those of all others."""
        own = self.rows.task_of == self.rows.tasks.index(task)
        return self.part(np.flatnonzero(own)), self.part(np.flatnonzero(~own))

    def split(self, index: int | str) -> tuple[Part, Part]:
        """Train and test part of a split of its csv, see :func:`read_rows`."""
        options = replace(self.options, split_index=index)
        places = {image: place for place, image in enumerate(self.rows.images)}
        return tuple(
            self.part(places[image] for image in read_rows(options, phase).images)
            for phase in ('train', 'test')
        )


@dataclass(frozen=True)
class Part:
    """Some images of a database: their places in its ``rows``."""

    database: LabelledDatabase
    rows: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def block(self) -> dict[str, Any]:
        """Options of a dataset of these images alone, in this order."""
        options = replace(self.database.options, rows=written_places(self.rows))
        given = ((key.name, getattr(options, key.name)) for key in fields(options))
        return dict(item for item in given if item not in DEFAULTS)

    def files(self) -> set[str]:
        """The images, whatever name their folder goes by."""
        rows = self.database.rows
        folder = os.path.realpath(rows.folders[0])
        return {os.path.join(folder, rows.images[index]) for index in self.rows}

    def types(self) -> set[str]:
        """Distortion types of the images."""
        rows = self.database.rows
        return {rows.tasks[code] for code in set(rows.task_of[[*self.rows]])}

    def without_groups_of(self, other: Part) -> Part:
        """Less what shares a group with ``other`` of the same database, or is in it."""
        rows, groups = np.asarray(self.rows), self.database.groups
        return self.database.part(rows[~np.isin(groups[rows], groups[[*other.rows]])])


@dataclass(frozen=True)
class Split:
    """One column of the grid of cells.

    Attributes:
        name: unique within the experiment; a folder is named by it.
        facets: what varies, for tables and pictures.
        tests: what is predicted, by name.
        source: what priors learn from, of one or several databases.
        train: labelled images of the target; None: there are none.
        pool: how many ``train`` were drawn from, where they are a few of a part.
    """

    name: str
    facets: Mapping[str, Any]
    tests: Mapping[str, Part]
    source: Sequence[Part] = ()
    train: Part | None = None
    pool: int = 0


Splits = int | Sequence[int | str]
"""How many splits of the csv, from the first, or which."""


def authentic(
    target: LabelledDatabase,
    splits: Splits = 10,
    source: Sequence[Part] = (),
    labels: int | None = None,
    seed: int = 123,
) -> Iterator[Split]:
    """Tables 3 and 4: adapt to one part of the target, test on the other.

    Args:
        target: the database to adapt to.
        splits: of it.
        source: the databases that priors learn from.
        labels: beyond the paper: adapt to this many images of the train part only.
        seed: of their draw.
    """
    for place, index, name in _indices(splits):
        whole, test = target.split(index)
        train = whole
        if labels is not None:
            train = _first(whole, (seed, place, 0), labels, index)
        facets = {'split': index}
        yield Split(name, facets, {target.name: test}, source, train, len(whole))


def few_shot(
    target: LabelledDatabase,
    labels: Sequence[int] = (10, 20, 50, 100, 200),
    draws: int = 3,
    splits: Splits = 1,
    source: Sequence[Part] = (),
    seed: int = 123,
) -> Iterator[Split]:
    """Adapt to a few labelled images of the train part, test on the test part.

    Within a draw the larger sets contain the smaller ones.

    Args:
        target, splits, source: see :func:`authentic`.
        labels: how many labelled images.
        draws: of them, for each split.
        seed: of the draws.
    """
    whole_number('draws', draws)
    for place, index, name in _indices(splits):
        whole, test = target.split(index)
        for draw in range(draws):
            for count in labels:
                yield Split(
                    f'{count} labels, draw {draw}, split {name}',
                    {'labels': count, 'draw': draw, 'split': index},
                    {target.name: test},
                    source,
                    _first(whole, (seed, place, draw), count, index),
                    len(whole),
                )


def leave_one_distortion_out(
    database: LabelledDatabase,
    types: Sequence[str] | None = None,
    labels: int = 0,
    draws: int = 1,
    references: int = 5,
    seed: int = 123,
) -> Iterator[Split]:
    """Table 2: learn from all types but one, test on that one.

    As in the paper, the images of the other types show the same reference photos, and
    nothing of the unseen type is seen before the test. Beyond the paper, a second
    round adapts to a few labelled images of the unseen type, of some reference photos,
    and tests on the images of the others.

    Args:
        database: with distortion types and references.
        types: to leave out, one by one; None: every one.
        labels: m, labelled images of the unseen type; 0: no second round.
        draws: of the labelled images.
        references: how many reference photos the labelled images come from.
        seed: of the draws.
    """
    whole_number('labels', labels, minimum=0)
    whole_number('draws', draws)
    whole_number('references', references)
    for task in _left_out(database, 'types', types):
        unseen, others = database.of_type(task)
        facets = {'type': task, 'labels': 0}
        yield Split(task, facets, {database.name: unseen}, (others,))
        code = database.rows.tasks.index(task)
        for draw in range(draws if labels else 0):
            train, test = _labelled_references(
                unseen, labels, references, (seed, code, draw)
            )
            yield _labelled(task, labels, draw, test, others, train)


def leave_one_subset_out(
    database: LabelledDatabase,
    subsets: Sequence[str] | None = None,
    labels: Sequence[int] = (0, 10, 50),
    draws: int = 3,
    seed: int = 123,
) -> Iterator[Split]:
    """Learn from all subsets of authentic photos but one, test on that one.

    Not in the paper. A subset is a value of the database's ``task_column``. Without
    labels of the unseen subset all of it is tested. With some, each of a group of its
    own (the images of one reference), the test is on the photos of all other groups:
    the same ones for any number of labels within a draw, where larger sets contain the
    smaller ones. Nothing is learned from photos whose group has a photo in the unseen
    subset.

    Args:
        database: with two subsets or more.
        subsets: to leave out, one by one; None: every one.
        labels: how many labelled photos of the unseen subset.
        draws: of the labelled photos.
        seed: of the draws.
    """
    whole_number('draws', draws)
    few = [count for count in labels if count != 0]
    for count in few:
        whole_number('protocol.labels', count, 2)
    for subset in _left_out(database, 'subsets', subsets):
        unseen, others = database.of_type(subset)
        source = others.without_groups_of(unseen)
        if not len(source):
            raise UserError(
                f'subsets={subset!r}: every other image of {database.name!r} shares a '
                'reference with it; for distortion types there is '
                'leave_one_distortion_out'
            )
        if 0 in labels:
            facets = {'type': subset, 'labels': 0}
            yield Split(subset, facets, {database.name: unseen}, (source,))
        code = database.rows.tasks.index(subset)
        for draw in range(draws if few else 0):
            order = np.random.default_rng((seed, code, draw)).permutation(unseen.rows)
            _, first = np.unique(database.groups[order], return_index=True)
            apart = order[np.sort(first)]
            if len(apart) <= max(few):
                raise UserError(
                    f'protocol.labels={max(few)}: subset {subset!r} of '
                    f'{database.name!r} has {len(apart)} groups; some must be left to '
                    'test on'
                )
            test = unseen.without_groups_of(database.part(apart[: max(few)]))
            for count in few:
                train = database.part(apart[:count])
                yield _labelled(subset, count, draw, test, source, train)


def cross_database(
    train: Sequence[LabelledDatabase],
    test: Sequence[LabelledDatabase] | None = None,
    split: int | str | None = None,
    source: Sequence[Part] = (),
) -> Iterator[Split]:
    """Adapt to one database, test on the others.

    Args:
        train: databases to adapt to, one by one.
        test: databases to test on; None: all of ``train``.
        split: adapt to the train part of this split, and test on the test part of the
            same database, too; None: adapt to all of it.
        source: see :func:`authentic`.
    """
    for database in train:
        learn, held_out = database.whole, None
        if split is not None:
            learn, held_out = database.split(split)
        parts = {
            other.name: held_out if other is database else other.whole
            for other in test or train
        }
        parts = {key: part for key, part in parts.items() if part is not None}
        if not parts:
            raise UserError(
                f'train={[one.name for one in train]}: nothing is left to test '
                f'{database.name!r} on; name another database in test, or a split'
            )
        yield Split(database.name, {'train': database.name}, parts, source, learn)


def zero_shot(
    targets: Sequence[LabelledDatabase],
    splits: Splits | None = None,
    source: Sequence[Part] = (),
) -> Iterator[Split]:
    """No label of the target is seen: metrics as they are, and priors.

    Args:
        targets: databases to test on.
        splits: test on the test parts of these splits, as methods that are trained
            are; None: on all images.
        source: see :func:`authentic`.
    """
    if splits is None:
        yield Split('all', {}, {one.name: one.whole for one in targets}, source)
        return
    for _, index, name in _indices(splits):
        parts = {one.name: one.split(index)[1] for one in targets}
        yield Split(name, {'split': index}, parts, source)


def runtime(
    database: LabelledDatabase, images: int = 50, rounds: int = 3
) -> Iterator[Split]:
    """Images per second and memory: every method on the same images, in turns.

    Args:
        database: of the images.
        images: how many, spread evenly over the database.
        rounds: how often each method is timed.
    """
    whole_number('images', images, minimum=2)
    whole_number('rounds', rounds)
    count = min(images, len(database.rows))
    chosen = np.linspace(0, len(database.rows) - 1, count).round().astype(int)
    tests = {database.name: database.part(chosen)}
    for number in range(1, rounds + 1):
        yield Split(f'round {number}', {'round': number}, tests)


PROTOCOLS: dict[str, Callable[..., Iterator[Split]]] = {
    'authentic': authentic,
    'leave_one_distortion_out': leave_one_distortion_out,
    'leave_one_subset_out': leave_one_subset_out,
    'few_shot': few_shot,
    'parameters': authentic,
    'cross_database': cross_database,
    'zero_shot': zero_shot,
    'runtime': runtime,
}
"""``parameters``, Figure 4, compares the points of a sweep on these splits."""

NAMES_ONE = ('target', 'database')
NAMES_SEVERAL = ('train', 'test', 'targets', 'source')
"""Options that name databases of the file; one or a list."""


def read_splits(
    block: Mapping[str, Any], databases: Mapping[str, LabelledDatabase]
) -> list[Split]:
    """The splits of a benchmark file's protocol.

    Args:
        block: ``type``, a key of ``PROTOCOLS``, and options of that function, with
            databases by their names.
        databases: by name.

    Raises:
        UserError: an option that is unknown, missing, or wrong; a method could
            learn from an image that it is tested on.
    """
    options = {key: value for key, value in block.items() if key != 'type'}
    one_of('protocol.type', block.get('type'), tuple(PROTOCOLS))
    protocol = PROTOCOLS[block['type']]
    takes = inspect.signature(protocol).parameters
    where = f'protocol {block["type"]}'
    block_of(where, options, takes)
    needs = {key for key, value in takes.items() if value.default is value.empty}
    if missing := sorted(needs - {*options}):
        raise UserError(f'{where}: missing {missing}; it takes {list(takes)}')
    splits = list(protocol(**_with_databases(options, databases)))
    names = [split.name for split in splits]
    if len(set(names)) < len(names):
        raise UserError(f'the splits {names} are not all different')
    for split in splits:
        _refuse_leaks(split)
    return splits


def _with_databases(
    options: Mapping[str, Any], databases: Mapping[str, LabelledDatabase]
) -> dict[str, Any]:
    """The options with what their names of databases stand for."""

    def known(argument: str, name: Any) -> LabelledDatabase:
        if not isinstance(name, str) or name not in databases:
            raise UserError(
                f'protocol.{argument}={name!r}: the databases of the file are '
                f'{sorted(databases)}'
            )
        return databases[name]

    found = dict(options)
    for key in set(NAMES_ONE) & set(found):
        found[key] = known(key, found[key])
    for key in set(NAMES_SEVERAL) & set(found):
        names = found[key]
        names = [names] if isinstance(names, str) else names or ()
        if len(set(names)) < len(names):
            raise UserError(f'protocol.{key}={names}: a database twice')
        found[key] = tuple(known(key, name) for name in names)
    if 'source' in found:
        found['source'] = tuple(database.whole for database in found['source'])
    return found


def _refuse_leaks(split: Split) -> None:
    learnt = [('protocol.source', part) for part in split.source]
    learnt += [('its train part', split.train)] if split.train else []
    for name, test in split.tests.items():
        tested = test.files()
        for where, part in learnt:
            seen = len(tested & part.files())
            if seen:
                raise UserError(
                    f'{where} ({part.database.name}) has {seen} of {len(tested)} '
                    f'images that split {split.name} tests on ({name}); learn from '
                    'another database, or from a split'
                )


def _left_out(
    database: LabelledDatabase, argument: str, names: Sequence[str] | None
) -> Sequence[str]:
    """The types to leave out, one by one."""
    tasks = database.rows.tasks
    if len(tasks) < 2:
        raise UserError(
            f'database={database.name!r} has one distortion type, {tasks[0]!r}; none '
            'can be left out'
        )
    unknown = sorted(set(names or ()) - set(tasks))
    if unknown:
        raise UserError(f'{argument}={unknown}: {database.name!r} has {tasks}')
    return tasks if names is None else names


def _labelled(
    task: str, count: int, draw: int, test: Part, source: Part, train: Part
) -> Split:
    """Of an unseen type or subset, after labels of it."""
    return Split(
        f'{task}, {count} labels, draw {draw}',
        {'type': task, 'labels': count, 'draw': draw},
        {test.database.name: test},
        (source,),
        train,
    )


def _indices(splits: Splits) -> Iterator[tuple[int, int | str, str]]:
    """Place, index and name of each."""
    if isinstance(splits, int):
        whole_number('protocol.splits', splits)
        splits = range(1, splits + 1)
    for place, index in enumerate(splits):
        yield place, index, f'{index:02d}' if isinstance(index, int) else index


def _first(train: Part, seed: Sequence[int], labels: int, split: int | str) -> Part:
    """The first of its images in an order drawn by ``seed``."""
    whole_number('protocol.labels', labels, minimum=2)
    if labels > len(train):
        raise UserError(
            f'protocol.labels={labels}: the train part of split {split} of '
            f'{train.database.name!r} has {len(train)} images'
        )
    order = np.random.default_rng(seed).permutation(train.rows)
    return train.database.part(order[:labels])


def _labelled_references(
    part: Part, labels: int, references: int, seed: Sequence[int]
) -> tuple[Part, Part]:
    """``labels`` images of some references, and all images of the others."""
    database, rows = part.database, np.asarray(part.rows)
    groups = database.rows.reference_of[rows]
    names = np.unique(groups)
    if (groups < 0).any() or len(names) <= references:
        raise UserError(
            f'protocol.references={references}: {database.name!r} has '
            f'{len(names)} reference photos; some must be left to test on'
        )
    generator = np.random.default_rng(seed)
    chosen = generator.choice(names, references, replace=False)
    given = np.isin(groups, chosen)
    if given.sum() < labels:
        raise UserError(
            f'protocol.labels={labels}: {references} reference photos have '
            f'{given.sum()} images of a type; raise references'
        )
    train = generator.choice(rows[given], labels, replace=False)
    return database.part(np.sort(train)), database.part(rows[~given])
