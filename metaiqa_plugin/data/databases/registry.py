"""The databases that can be prepared: one row each."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaiqa_plugin.data.databases import readers
from metaiqa_plugin.data.databases.names import LIVE_FOLDERS
from metaiqa_plugin.data.databases.sources import Labels
from metaiqa_plugin.errors import UserError

__all__ = ['DATABASES', 'PublishedDatabase']


@dataclass(frozen=True)
class PublishedDatabase:
    """A published database, as people download it.

    Attributes:
        name: of the command line.
        images: how many it has.
        mos_range: worst-to-best scale of the published scores, as (low, high).
        lower_better: the scores are DMOS.
        folders: where the images are below the root, ``'A or B'``; the first that
            exists counts.
        needs: glob patterns of what else must be below the root; of ``'A or B'`` one.
        read: the labels below a root that is complete.
        root: folder where option files look for it.
        split: that option files train and test on: number or column.
        groups: csv of near-duplicates that a split keeps together, or None.
    """

    name: str
    images: int
    mos_range: tuple[float, float]
    folders: str
    needs: tuple[str, ...]
    read: Callable[[Path], Labels]
    lower_better: bool = False
    root: str = ''
    split: int | str = 1
    groups: Path | None = None

    @property
    def meta_info_name(self) -> str:
        """File name of the csv that ``metaiqa prepare`` writes."""
        return f'meta_info_{self.name}.csv'

    def options(self, root: str | os.PathLike | None = None) -> dict[str, Any]:
        """Option block of a download; nothing need be there.

        Args:
            root: its folder; None: ``root``, by default ``datasets/NAME``.
        """
        root = Path(root or self.root or f'datasets/{self.name}')
        folders = self._folders(root)
        images = next((path for path in folders if path.is_dir()), folders[0])
        return {
            'meta_info_file': str(root / self.meta_info_name),
            'dataroot_target': str(images),
            'mos_range': list(self.mos_range),
            'lower_better': self.lower_better,
            'split_index': self.split,
        }

    def images_folder(self, root: Path) -> Path:
        """The images folder of a complete download.

        Raises:
            UserError: ``root`` is not a folder, or something is missing; names it all.
        """
        if not root.is_dir():
            raise UserError(f'root={str(root)!r}: no such folder')
        missing = self._missing(root)
        if not missing:
            return next(path for path in self._folders(root) if path.is_dir())
        nested = [path for path in sorted(root.iterdir()) if path.is_dir()]
        inside = [path for path in nested if not self._missing(path)]
        hint = f'; {str(inside[0])!r} has it all: name that' if inside else ''
        raise UserError(
            f'root={str(root)!r} is not a complete download of {self.name}: there is '
            f'no {", no ".join(missing)}{hint}'
        )

    def labels(self, root: Path) -> list[Path]:
        """The files that :attr:`needs` names."""
        return [path for needed in self.needs for path in _found(root, needed)]

    def _missing(self, root: Path) -> list[str]:
        missing = [needed for needed in self.needs if not _found(root, needed)]
        if not any(path.is_dir() for path in self._folders(root)):
            missing.append(f'folder {self.folders}')
        return missing

    def _folders(self, root: Path) -> list[Path]:
        return [root / folder for folder in self.folders.split(' or ')]


def _found(root: Path, needed: str) -> list[Path]:
    return [path for pattern in needed.split(' or ') for path in root.glob(pattern)]


FACTS = Path(__file__).parents[1] / 'facts'
KONIQ = (
    ('koniq10k_scores_and_distributions.csv or koniq10k_distributions_sets.csv',),
    readers.read_koniq10k,
)
KONIQ_IN_FILES = {'root': 'datasets/koniq10k', 'split': 'official_split'}
LIVE_FILES = ('dmos_realigned.mat or dmos.mat', 'refnames_all.mat', *LIVE_FOLDERS)
LIVEC_FILES = tuple(f'Data/All{x}_release.mat' for x in ('Images', 'MOS', 'StdDev'))
SPAQ_FILES = ('Annotations/MOS and Image attribute scores.xlsx',)
BIQ2021_FILES = ('Train (Images and MOS).csv', 'Test (Images and MOS).csv')

# fmt: off
_TABLE = (
    # Ponomarenko et al., "Image database TID2013", SPIC 2015
    PublishedDatabase('tid2013', 3000, (0, 9), 'distorted_images',
                      ('mos_with_names.txt',), readers.read_tid2013),
    # Lin, Hosu, Saupe, "KADID-10k", QoMEX 2019
    PublishedDatabase('kadid10k', 10125, (1, 5), 'images',
                      ('dmos.csv',), readers.read_kadid10k),
    # Sheikh, Sabir, Bovik, "A statistical evaluation", IEEE TIP 2006
    PublishedDatabase('live', 779, (-3, 112), '.',
                      LIVE_FILES, readers.read_live, lower_better=True),
    # Larson, Chandler, "Most apparent distortion", JEI 2010
    PublishedDatabase('csiq', 866, (0, 1), 'dst_imgs',
                      ('csiq.DMOS.xlsx or csiq_label.txt',), readers.read_csiq,
                      lower_better=True),
    # Ghadiyaram, Bovik, "Massive online crowdsourced study", TIP 2016
    PublishedDatabase('livec', 1162, (0, 100), 'Images',
                      LIVEC_FILES, readers.read_livec),
    # Hosu, Lin, Sziranyi, Saupe, "KonIQ-10k", IEEE TIP 2020
    PublishedDatabase('koniq10k', 10073, (1, 5), '512x384', *KONIQ, **KONIQ_IN_FILES),
    PublishedDatabase('koniq10k-1024', 10073, (1, 5), '1024x768',
                      *KONIQ, **KONIQ_IN_FILES),
    # Virtanen et al., "CID2013", IEEE TIP 2015
    PublishedDatabase('cid2013', 474, (0, 100), '.',
                      ('CID2013*.xlsx',), readers.read_cid2013),
    # Fang et al., "Smartphone photography", CVPR 2020
    PublishedDatabase('spaq', 11125, (0, 100), 'TestImage',
                      SPAQ_FILES, readers.read_spaq, root='datasets/SPAQ'),
    # Ciancio et al., "No-reference blur assessment", IEEE TIP 2011
    PublishedDatabase('bid', 586, (0, 5), 'ImageDatabase or .',
                      ('DatabaseGrades.xlsx',), readers.read_bid),
    # Ahmed, Asif, "BIQ2021: a large-scale blind image quality assessment database",
    # JEI 31(5), 2022
    PublishedDatabase('biq2021', 12000, (0, 1), 'Images',
                      BIQ2021_FILES, readers.read_biq2021, split='official_split',
                      groups=FACTS / 'biq2021_near_duplicates.csv'),
)
# fmt: on

DATABASES = {database.name: database for database in _TABLE}
