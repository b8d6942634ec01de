"""Images on which a metric may fail: versions of photos, and what is not a photo.

Text, screenshots, drawings and charts are made from what this repository and its
required packages carry, without a network. The same machine makes the same pixels;
other fonts make others.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType

import matplotlib
import numpy as np
import skimage
from matplotlib.figure import Figure
from PIL import Image

import metaiqa_plugin
from metaiqa_plugin.data.distortions import LEVELS, distort, seed_key
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.photos import carried_photos
from metaiqa_plugin.score.contact_sheet import write_contact_sheet
from metaiqa_plugin.score.pipeline import ScoreRow

__all__ = [
    'KINDS',
    'ORIGINAL',
    'PRISTINE',
    'VERSIONS',
    'charts',
    'distorted_levels',
    'drawings',
    'mean_luma',
    'open_browser',
    'text_pages',
]

matplotlib.use('Agg')

ORIGINAL = 'original'
PRISTINE = 'pristine'

Named = Iterator[tuple[str, Image.Image]]

REPOSITORY = Path(__file__).resolve().parents[1]
FACTS = Path(metaiqa_plugin.__file__).parent / 'data' / 'facts'
CHROMIUM = (
    '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run '
    '--disable-background-networking --disable-component-update --disable-sync'
).split()
DESKTOP, PHONE, PAGE = (1280, 800), (390, 844), (800, 1000)
TEXTS = (
    'README.md',
    'docs/benchmark.md',
    'docs/databases.md',
    'docs/results/distortions.md',
    'docs/training.md',
)
PLAIN_TEXTS = ('LICENSE', 'setup.py', 'docs/results/maps.csv')
ICONS = (
    'filesave hand help home matplotlib move qt4_editor_options zoom_to_rect'
).split()
ICON_SIDE = 480
PICTURES = ('horse.png', 'logo.png')
TEXT_STYLE = 'body {margin: 40px; font: 16px/1.5 serif} img {display: none}'
ICON_STYLE = f"""
body {{margin: 0; background: #fff}}
img {{width: {ICON_SIDE}px; height: {ICON_SIDE}px; object-fit: contain}}
"""


def mean_luma(image: Image.Image) -> float:
    """Mean of ITU-R BT.601 luma of an RGB image, 0 (black) to 255 (white).

    Each pixel is rounded to a whole number first, as Pillow converts to ``'L'``.
    """
    return float(np.asarray(image.convert('L'), np.float64).mean())


def resized(image: Image.Image, factor: float) -> Image.Image:
    """Both sides ``factor`` times as long, rounded, at least one pixel.

    Pillow's bicubic filter, which is widened when it shrinks, so it does not alias.
    """
    size = tuple(max(1, round(factor * side)) for side in image.size)
    return image.resize(size, Image.Resampling.BICUBIC)


def centre(image: Image.Image, share: float) -> Image.Image:
    """The middle ``share`` (in (0, 1]) of each side, rounded, at least one pixel."""
    width, height = (max(1, round(share * side)) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    """Saved as JPEG in memory and read again; Pillow's default 4:2:0 chroma."""
    file = io.BytesIO()
    image.save(file, 'JPEG', quality=quality)
    return _decoded(file)


VERSIONS: Mapping[str, Callable[[Image.Image], Image.Image]] = MappingProxyType(
    {
        ORIGINAL: lambda image: image,
        'gray': lambda image: image.convert('L').convert('RGB'),
        'enlarged 4x': partial(resized, factor=4),
        'enlarged 2x': partial(resized, factor=2),
        'shrunk to 1/2': partial(resized, factor=1 / 2),
        'shrunk to 1/4': partial(resized, factor=1 / 4),
        'shrunk to 1/8': partial(resized, factor=1 / 8),
        'centre 1/2': partial(centre, share=1 / 2),
        'centre 1/4': partial(centre, share=1 / 4),
        'JPEG 95': partial(recompressed, quality=95),
        'mirrored': lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        'turned by 90°': lambda image: image.transpose(Image.Transpose.ROTATE_90),
    }
)
"""What is done to each photo, by name; RGB images in and out, none is modified."""


def distorted_levels(job: tuple[Path, str]) -> list[tuple[int, Image.Image, float]]:
    """A photo, distorted by one type.

    Args:
        job: the photo, whose file name is a whole number, which seeds the draws; the
            type, or :data:`PRISTINE`.

    Returns:
        levels 1 to 5 with their images and the mean absolute difference of the pixels
        to the photo's, 0 to 255; of ``PRISTINE`` the photo itself, level 0.
    """
    path, name = job
    photo = read_rgb(path)
    if name == PRISTINE:
        return [(0, photo, 0.0)]
    pixels = np.asarray(photo, np.int16)
    made = []
    for level in LEVELS:
        rng = np.random.default_rng((int(path.stem), *seed_key(name, level)))
        image = distort(photo, name, level, rng)
        change = np.abs(np.asarray(image, np.int16) - pixels).mean()
        made.append((level, image, float(change)))
    return made


@contextmanager
def open_browser() -> Iterator:
    """Headless Chromium: ``$CHROMIUM``, or the one on the path.

    Raises:
        UserError: there is none, or no Playwright.
    """
    path = os.environ.get('CHROMIUM') or shutil.which('chromium')
    if path is None:
        raise UserError('no Chromium: apt-get install chromium, or set CHROMIUM')
    try:
        from playwright.sync_api import Error, sync_playwright
    except ModuleNotFoundError:
        raise UserError('no Playwright: pip install playwright') from None
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM)
        except Error as error:
            line = str(error).strip().splitlines()[0]
            raise UserError(f'CHROMIUM={path!r} does not start: {line}') from None
        yield browser
        browser.close()


def text_pages(browser) -> Named:
    """First pages of this repository's documents, and of plain text files.

    Raises:
        UserError: the package Markdown is missing.
    """
    try:
        from markdown import markdown
    except ModuleNotFoundError:
        raise UserError('no Markdown: pip install markdown') from None
    for name in TEXTS:
        text = (REPOSITORY / name).read_text(encoding='utf-8')
        body = markdown(text, extensions=['tables', 'fenced_code'])
        markup = f'<style>{TEXT_STYLE}</style>{body}'
        yield name, _shot(browser, PAGE, markup=markup)
    with tempfile.TemporaryDirectory() as folder:
        for name in PLAIN_TEXTS:
            copy = Path(folder, f'{Path(name).name}.txt')
            shutil.copyfile(REPOSITORY / name, copy)
            yield name, _shot(browser, PAGE, url=copy.as_uri())


def screenshots(browser) -> Named:
    """The contact sheet of the carried photos and a report, on desktop and phone.

    The scores on the sheet are made up, the same for all metrics.
    """
    report = REPOSITORY / 'docs' / 'results' / 'benchmark' / 'report.html'
    with tempfile.TemporaryDirectory() as folder:
        sheet = Path(folder, 'sheet.html')
        photos = carried_photos()
        rows = [
            ScoreRow(str(path), (round(place / len(photos), 3),), 768, 512)
            for place, path in enumerate(photos)
        ]
        write_contact_sheet(sheet, rows, {'score': False}, progress=False)
        for name, page in (('sheet', sheet.as_uri()), ('report', report.as_uri())):
            yield f'{name}, desktop', _shot(browser, DESKTOP, url=page)
            yield f'{name}, dark', _shot(browser, DESKTOP, url=page, scheme='dark')
            yield f'{name}, scrolled', _shot(browser, DESKTOP, url=page, down=1500)
            yield f'{name}, phone', _shot(browser, PHONE, url=page)


def drawings(browser) -> Named:
    """Icons that Matplotlib carries as SVG, two pictures of scikit-image."""
    folder = Path(matplotlib.get_data_path(), 'images')
    size = (ICON_SIDE, ICON_SIDE)
    with tempfile.TemporaryDirectory() as pages:
        for name in ICONS:
            source = (folder / f'{name}.svg').as_uri()
            page = Path(pages, f'{name}.html')
            page.write_text(f'<style>{ICON_STYLE}</style><img src="{source}">')
            yield f'{name}.svg', _shot(browser, size, url=page.as_uri())

    for name in PICTURES:
        with Image.open(Path(skimage.__file__).parent / 'data' / name) as image:
            paper = Image.new('RGBA', image.size, 'white')
            paper.alpha_composite(image.convert('RGBA'))
            yield name, paper.convert('RGB')


def charts() -> Named:
    """Charts of the opinions that the package carries: mean MOS by type and level."""
    with (FACTS / 'kadid10k_mos_by_type_and_level.csv').open(newline='') as file:
        mos = np.array([float(row['mean_mos']) for row in csv.DictReader(file)])
    mos = mos.reshape(-1, 5)
    levels = np.arange(1, 6)
    drawn = {
        'lines': lambda axes: axes.plot(levels, mos[:8].T),
        'points': lambda axes: axes.scatter(mos[:, 0], mos[:, 4], c=mos[:, 2]),
        'bars': lambda axes: axes.bar(range(len(mos)), mos[:, 4]),
        'histogram': lambda axes: axes.hist(mos.ravel(), bins=20),
        'boxes': lambda axes: axes.boxplot(mos),
        'map': lambda axes: axes.imshow(mos, aspect='auto'),
        'contours': lambda axes: axes.contourf(mos, levels=8),
        'pie': lambda axes: axes.pie(mos[:6, 0], labels=range(1, 7)),
    }
    with matplotlib.rc_context(matplotlib.rcParamsDefault):
        for name, draw in drawn.items():
            figure = Figure(figsize=(6.4, 4.8), dpi=100, layout='constrained')
            axes = figure.subplots()
            draw(axes)
            axes.set_title(f'KADID-10k, mean MOS: {name}')
            file = io.BytesIO()
            figure.savefig(file, format='png')
            yield name, _decoded(file)


KINDS: Mapping = MappingProxyType(
    {'text': text_pages, 'screenshots': screenshots, 'drawings': drawings}
)
"""What a browser draws, by kind."""


def _shot(
    browser,
    size: tuple[int, int],
    url: str | None = None,
    markup: str | None = None,
    scheme: str = 'light',
    down: int = 0,
) -> Image.Image:
    """What a window of that size shows of a page."""
    viewport = dict(zip(('width', 'height'), size, strict=True))
    page = browser.new_page(viewport=viewport, color_scheme=scheme)
    try:
        page.set_content(markup) if url is None else page.goto(url)
        page.evaluate(f'window.scrollTo(0, {down})')
        return _decoded(io.BytesIO(page.screenshot(animations='disabled')))
    finally:
        page.close()


def _decoded(file: io.BytesIO) -> Image.Image:
    with Image.open(file) as image:
        return image.convert('RGB')
