"""Protocols: which images each method may learn from, and which it is tested on.

A protocol is a function of databases and of its options that gives the splits. Nothing
here trains or reads a pixel.

Sources: Table 2 (:func:`leave_one_distortion_out`), Tables 3 and 4 and Figure 4
(:func:`authentic`) of the MetaIQA paper, CVPR 2020, Section 4; the others are not in
the paper.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metaiqa_plugin.benchmark.parts import LabelledDatabase, Part
from metaiqa_plugin.errors import UserError, one_of, whole_number

__all__ = ['PROTOCOLS', 'Split', 'read_splits']


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
    source: tuple[Part, ...] = ()
    train: Part | None = None
    pool: int = 0


Databases = Mapping[str, LabelledDatabase]


def authentic(
    databases: Databases,
    target: str,
    splits: int | Sequence[int | str] = 10,
    source: str | Sequence[str] | None = None,
    labels: int | None = None,
    seed: int = 123,
) -> Iterator[Split]:
    """Tables 3 and 4: adapt to one part of the target, test on the other.

    Args:
        databases: by name.
        target: the database to adapt to.
        splits: how many splits of its csv, from the first, or which.
        source: the database that priors learn from, or several.
        labels: beyond the paper: adapt to this many images of the train part only.
        seed: of their draw.

    Raises:
        UserError: more labels than the train part has images.
    """
    prior = _sources(databases, source)
    database = _known(databases, 'target', target)
    for place, index in enumerate(_indices(splits)):
        train, test = database.split(index)
        pool = len(train)
        if labels is not None:
            order = _draw(train, (seed, place, 0))
            train = _first(database, order, labels, index)
        yield Split(
            _split_name(index),
            {'split': index},
            {target: test},
            prior,
            train,
            pool,
        )


def leave_one_distortion_out(
    databases: Databases,
    database: str,
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
        databases: by name.
        database: with distortion types and references.
        types: to leave out, one by one; None: every one.
        labels: m, labelled images of the unseen type; 0: no second round.
        draws: of the labelled images.
        references: how many reference photos the labelled images come from.
        seed: of the draws.

    Raises:
        UserError: a type that the database lacks; too few images or references.
    """
    whole_number('labels', labels, minimum=0)
    whole_number('draws', draws)
    whole_number('references', references)
    known = _known(databases, 'database', database)
    tasks = known.rows.tasks
    for task in _left_out(known, 'types', types):
        unseen, others = known.of_type(task), known.but_type(task)
        facets = {'type': task, 'labels': 0}
        yield Split(task, facets, {database: unseen}, (others,))
        for draw in range(draws if labels else 0):
            train, test = _labelled_references(
                known, unseen, labels, references, (seed, tasks.index(task), draw)
            )
            yield Split(
                f'{task}, {labels} labels, draw {draw}',
                {'type': task, 'labels': labels, 'draw': draw},
                {database: test},
                (others,),
                train,
            )


def leave_one_subset_out(
    databases: Databases,
    database: str,
    subsets: Sequence[str] | None = None,
    labels: Sequence[int] = (0, 10, 50),
    draws: int = 3,
    seed: int = 123,
) -> Iterator[Split]:
    """Learn from all subsets of authentic photos but one, test on that one.

    Not in the paper. A subset is a value of the database's ``task_column``. Without
    labels of the unseen subset all of it is tested. With some, each of a group of its
    own, the test is on the photos of all other groups: the same ones for any number of
    labels within a draw, where larger sets contain the smaller ones. Nothing is learned
    from photos whose group has a photo in the unseen subset.

    Args:
        databases: by name.
        database: with two subsets or more.
        subsets: to leave out, one by one; None: every one.
        labels: how many labelled photos of the unseen subset.
        draws: of the labelled photos.
        seed: of the draws.

    Raises:
        UserError: a subset that the database has not; more labels than groups.
    """
    whole_number('draws', draws)
    few = [count for count in labels if count != 0]
    for count in few:
        whole_number('protocol.labels', count, 2)
    known = _known(databases, 'database', database)
    for subset in _left_out(known, 'subsets', subsets):
        unseen, others = known.of_type(subset), known.but_type(subset)
        source = known.without_groups_of(others, unseen)
        if not len(source):
            raise UserError(
                f'subsets={subset!r}: every other image of {database!r} shares a '
                'reference with it; for distortion types there is '
                'leave_one_distortion_out'
            )
        if 0 in labels:
            facets = {'type': subset, 'labels': 0}
            yield Split(subset, facets, {database: unseen}, (source,))
        for draw in range(draws if few else 0):
            order = _draw(unseen, (seed, known.rows.tasks.index(subset), draw))
            apart = known.one_of_each_group(order)
            if len(apart) <= max(few):
                raise UserError(
                    f'protocol.labels={max(few)}: subset {subset!r} of {database!r} '
                    f'has {len(apart)} groups; some must be left to test on'
                )
            given = known.part(apart[: max(few)])
            test = known.without_groups_of(unseen, given)
            for count in few:
                yield Split(
                    f'{subset}, {count} labels, draw {draw}',
                    {'type': subset, 'labels': count, 'draw': draw},
                    {database: test},
                    (source,),
                    known.part(apart[:count]),
                )


def few_shot(
    databases: Databases,
    target: str,
    labels: Sequence[int] = (10, 20, 50, 100, 200),
    draws: int = 3,
    splits: int | Sequence[int | str] = 1,
    source: str | Sequence[str] | None = None,
    seed: int = 123,
) -> Iterator[Split]:
    """Adapt to a few labelled images of the train part, test on the test part.

    Within a draw the larger sets contain the smaller ones.

    Args:
        databases, target, splits, source: see :func:`authentic`.
        labels: how many labelled images.
        draws: of them, for each split.
        seed: of the draws.

    Raises:
        UserError: more labels than the train part has images.
    """
    whole_number('draws', draws)
    prior = _sources(databases, source)
    database = _known(databases, 'target', target)
    for place, index in enumerate(_indices(splits)):
        train, test = database.split(index)
        for draw in range(draws):
            order = _draw(train, (seed, place, draw))
            for count in labels:
                yield Split(
                    f'{count} labels, draw {draw}, split {_split_name(index)}',
                    {'labels': count, 'draw': draw, 'split': index},
                    {target: test},
                    prior,
                    _first(database, order, count, index),
                    len(train),
                )


def cross_database(
    databases: Databases,
    train: Sequence[str],
    test: Sequence[str] | None = None,
    split: int | str | None = None,
    source: str | Sequence[str] | None = None,
) -> Iterator[Split]:
    """Adapt to one database, test on the others.

    Args:
        databases: by name.
        train: databases to adapt to, one by one.
        test: databases to test on; None: all of ``train``.
        split: adapt to the train part of this split, and test on the test part of the
            same database, too; None: adapt to all of it.
        source: the database that priors learn from, or several.
    """
    prior = _sources(databases, source)
    tests = [_known(databases, 'test', name) for name in test or train]
    for name in train:
        database = _known(databases, 'train', name)
        learn, held_out = database.whole, None
        if split is not None:
            learn, held_out = database.split(split)
        parts = {
            other.name: held_out if other is database else other.whole
            for other in tests
        }
        parts = {key: part for key, part in parts.items() if part is not None}
        if not parts:
            raise UserError(
                f'train={list(train)}: nothing is left to test {name!r} on; name '
                'another database in test, or a split'
            )
        yield Split(name, {'train': name}, parts, prior, learn)


def zero_shot(
    databases: Databases,
    targets: Sequence[str],
    splits: int | Sequence[int | str] | None = None,
    source: str | Sequence[str] | None = None,
) -> Iterator[Split]:
    """No label of the target is seen: metrics as they are, and priors.

    Args:
        databases: by name.
        targets: databases to test on.
        splits: test on the test parts of these splits, as methods that are trained
            are; None: on all images.
        source: the database that priors learn from, or several.
    """
    prior = _sources(databases, source)
    tests = [_known(databases, 'targets', name) for name in targets]
    if splits is None:
        parts = {database.name: database.whole for database in tests}
        yield Split('all', {}, parts, prior)
        return
    for index in _indices(splits):
        parts = {database.name: database.split(index)[1] for database in tests}
        yield Split(_split_name(index), {'split': index}, parts, prior)


def runtime(
    databases: Databases, database: str, images: int = 50, rounds: int = 3
) -> Iterator[Split]:
    """Images per second and memory: every method on the same images, in turns.

    Args:
        databases: by name.
        database: of the images.
        images: how many, spread evenly over the database.
        rounds: how often each method is timed.
    """
    whole_number('images', images, minimum=2)
    whole_number('rounds', rounds)
    known = _known(databases, 'database', database)
    count = min(images, len(known.rows))
    chosen = np.linspace(0, len(known.rows) - 1, count).round().astype(int)
    for number in range(1, rounds + 1):
        yield Split(
            f'round {number}', {'round': number}, {database: known.part(chosen)}
        )


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


def read_splits(block: Mapping[str, Any], databases: Databases) -> list[Split]:
    """The splits of a benchmark file's protocol.

    Args:
        block: ``type``, a key of ``PROTOCOLS``, and options of that function.
        databases: by name.

    Raises:
        UserError: an option that is unknown, missing, or wrong; a method could
            learn from an image that it is tested on.
    """
    options = {key: value for key, value in block.items() if key != 'type'}
    one_of('protocol.type', block.get('type'), tuple(PROTOCOLS))
    protocol = PROTOCOLS[block['type']]
    takes = dict(inspect.signature(protocol).parameters)
    del takes['databases']
    needs = {key for key, value in takes.items() if value.default is value.empty}
    unknown, missing = sorted({*options} - {*takes}), sorted(needs - {*options})
    if unknown or missing:
        raise UserError(
            f'protocol {block["type"]}: unknown options {unknown}, missing {missing}; '
            f'it takes {list(takes)}'
        )
    splits = list(protocol(databases, **options))
    names = [split.name for split in splits]
    if len(set(names)) < len(names):
        raise UserError(f'the splits {names} are not all different')
    for split in splits:
        _refuse_leaks(split, databases)
    return splits


def _refuse_leaks(split: Split, databases: Databases) -> None:
    learnt = [('protocol.source', part) for part in split.source]
    learnt += [('its train part', split.train)] if split.train else []
    for name, test in split.tests.items():
        tested = databases[test.database].files(test)
        for where, part in learnt:
            seen = len(tested & databases[part.database].files(part))
            if seen:
                raise UserError(
                    f'{where} ({part.database}) has {seen} of {len(tested)} images '
                    f'that split {split.name} tests on ({name}); learn from another '
                    'database, or from a split'
                )


def _known(databases: Databases, argument: str, name: str) -> LabelledDatabase:
    if name not in databases:
        raise UserError(
            f'protocol.{argument}={name!r}: the databases of the file are '
            f'{sorted(databases)}'
        )
    return databases[name]


def _sources(
    databases: Databases, names: str | Sequence[str] | None
) -> tuple[Part, ...]:
    names = [names] if isinstance(names, str) else names or ()
    if len(set(names)) < len(names):
        raise UserError(f'protocol.source={names}: a database twice')
    return tuple(_known(databases, 'source', name).whole for name in names)


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


def _indices(splits: int | Sequence[int | str]) -> Sequence[int | str]:
    if isinstance(splits, int):
        whole_number('protocol.splits', splits)
        return range(1, splits + 1)
    return splits


def _split_name(index: int | str) -> str:
    return f'{index:02d}' if isinstance(index, int) else index


def _draw(train: Part, seed: Sequence[int]) -> np.ndarray:
    return np.random.default_rng(seed).permutation(train.rows)


def _first(
    database: LabelledDatabase, order: np.ndarray, labels: int, split: int | str
) -> Part:
    whole_number('protocol.labels', labels, minimum=2)
    if labels > len(order):
        raise UserError(
            f'protocol.labels={labels}: the train part of split {split} of '
            f'{database.name!r} has {len(order)} images'
        )
    return database.part(order[:labels])


def _labelled_references(
    database: LabelledDatabase,
    part: Part,
    labels: int,
    references: int,
    seed: Sequence[int],
) -> tuple[Part, Part]:
    """``labels`` images of some references, and all images of the others."""
    rows = np.asarray(part.rows)
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
