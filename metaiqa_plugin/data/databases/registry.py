"""The databases that can be prepared: one row each."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaiqa_plugin.data.databases.authentic import (
    read_bid,
    read_cid2013,
    read_koniq10k,
    read_livec,
    read_spaq,
)
from metaiqa_plugin.data.databases.sources import Labels
from metaiqa_plugin.data.databases.synthetic import (
    read_csiq,
    read_kadid10k,
    read_live,
    read_tid2013,
)
from metaiqa_plugin.errors import UserError

__all__ = ['DATABASES', 'PublishedDatabase']


@dataclass(frozen=True)
class PublishedDatabase:
    """A published database, as people download it.

    Attributes:
        name: of the command line.
        citation: the publication.
        images: how many it has.
        mos_range: worst-to-best scale of the published scores, as (low, high).
        lower_better: the scores are DMOS.
        folders: where the images are below the root; the first that exists counts.
        needs: glob patterns of what else must be below the root; of each tuple one
            must be there.
        layout: both in words.
        read: the labels below a root that is complete.
        root: folder where option files look for it.
        split: that option files train and test on: number or column.
    """

    name: str
    citation: str
    images: int
    mos_range: tuple[float, float]
    lower_better: bool
    folders: tuple[str, ...]
    needs: tuple[tuple[str, ...], ...]
    layout: str
    read: Callable[[Path], Labels]
    root: str = ''
    split: int | str = 1

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
            UserError: ``root`` is no folder, or something is missing; names all of it.
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
            f'root={str(root)!r} is no complete download of {self.name}: there is no '
            f'{", no ".join(missing)}{hint}. Expected: {self.layout}'
        )

    def _missing(self, root: Path) -> list[str]:
        missing = [
            ' or '.join(patterns)
            for patterns in self.needs
            if not any(any(root.glob(pattern)) for pattern in patterns)
        ]
        if not any(path.is_dir() for path in self._folders(root)):
            missing.append('folder ' + ' or '.join(self.folders))
        return missing

    def _folders(self, root: Path) -> list[Path]:
        return [root / folder for folder in self.folders]


def _koniq10k(name: str, size: str) -> PublishedDatabase:
    scores = 'koniq10k_scores_and_distributions.csv'
    sets = 'koniq10k_distributions_sets.csv'
    return PublishedDatabase(
        name=name,
        citation='Hosu, Lin, Sziranyi, Saupe, "KonIQ-10k", IEEE TIP 2020',
        images=10073,
        mos_range=(1, 5),
        lower_better=False,
        folders=(size,),
        needs=((scores, sets),),
        layout=f'{size}/*.jpg and {scores} or {sets} (with the official parts) or both',
        read=read_koniq10k,
        root='datasets/koniq10k',
        split='official_split',
    )


_TABLE = (
    PublishedDatabase(
        name='tid2013',
        citation='Ponomarenko et al., "Image database TID2013", SPIC 2015',
        images=3000,
        mos_range=(0, 9),
        lower_better=False,
        folders=('distorted_images',),
        needs=(('mos_with_names.txt',),),
        layout=(
            'mos_with_names.txt, distorted_images/i01_01_1.bmp ..., and if you like '
            'mos_std.txt and reference_images/I01.BMP ...'
        ),
        read=read_tid2013,
    ),
    PublishedDatabase(
        name='kadid10k',
        citation='Lin, Hosu, Saupe, "KADID-10k", QoMEX 2019',
        images=10125,
        mos_range=(1, 5),
        lower_better=False,
        folders=('images',),
        needs=(('dmos.csv',),),
        layout='dmos.csv, images/I01_01_01.png ...',
        read=read_kadid10k,
    ),
    PublishedDatabase(
        name='live',
        citation='Sheikh, Sabir, Bovik, "A statistical evaluation", IEEE TIP 2006',
        images=779,
        mos_range=(-3, 112),
        lower_better=True,
        folders=('.',),
        needs=(
            ('dmos_realigned.mat', 'dmos.mat'),
            ('refnames_all.mat',),
            ('jp2k',),
            ('jpeg',),
            ('wn',),
            ('gblur',),
            ('fastfading',),
        ),
        layout=(
            'dmos_realigned.mat, refnames_all.mat, and folders jp2k, jpeg, wn, gblur, '
            'fastfading of img1.bmp ...'
        ),
        read=read_live,
    ),
    PublishedDatabase(
        name='csiq',
        citation='Larson, Chandler, "Most apparent distortion", JEI 2010',
        images=866,
        mos_range=(0, 1),
        lower_better=True,
        folders=('dst_imgs',),
        needs=(('csiq.DMOS.xlsx', 'csiq_label.txt'),),
        layout=(
            'csiq.DMOS.xlsx or csiq_label.txt, dst_imgs/awgn/1600.AWGN.1.png ... (or '
            'without the folder awgn)'
        ),
        read=read_csiq,
    ),
    PublishedDatabase(
        name='livec',
        citation='Ghadiyaram, Bovik, "Massive online crowdsourced study", TIP 2016',
        images=1162,
        mos_range=(0, 100),
        lower_better=False,
        folders=('Images',),
        needs=(
            ('Data/AllImages_release.mat',),
            ('Data/AllMOS_release.mat',),
            ('Data/AllStdDev_release.mat',),
        ),
        layout=(
            'Data/AllImages_release.mat, Data/AllMOS_release.mat, '
            'Data/AllStdDev_release.mat, Images/3.bmp ...'
        ),
        read=read_livec,
    ),
    _koniq10k('koniq10k', '512x384'),
    _koniq10k('koniq10k-1024', '1024x768'),
    PublishedDatabase(
        name='cid2013',
        citation='Virtanen et al., "CID2013", IEEE TIP 2015',
        images=474,
        mos_range=(0, 100),
        lower_better=False,
        folders=('.',),
        needs=(('CID2013*.xlsx',),),
        layout='CID2013*.xlsx, IS1/co1/IS_I_C01_D01.jpg ... (or without these folders)',
        read=read_cid2013,
    ),
    PublishedDatabase(
        name='spaq',
        citation='Fang et al., "Smartphone photography", CVPR 2020',
        images=11125,
        mos_range=(0, 100),
        lower_better=False,
        folders=('TestImage',),
        needs=(('Annotations/MOS and Image attribute scores.xlsx',),),
        layout=(
            'Annotations/MOS and Image attribute scores.xlsx, TestImage/00001.jpg ...'
        ),
        read=read_spaq,
        root='datasets/SPAQ',
    ),
    PublishedDatabase(
        name='bid',
        citation='Ciancio et al., "No-reference blur assessment", IEEE TIP 2011',
        images=586,
        mos_range=(0, 5),
        lower_better=False,
        folders=('ImageDatabase', '.'),
        needs=(('DatabaseGrades.xlsx',),),
        layout=(
            'DatabaseGrades.xlsx, ImageDatabase/DatabaseImage0001.JPG ... (or in the '
            'root)'
        ),
        read=read_bid,
    ),
)

DATABASES = {database.name: database for database in _TABLE}
