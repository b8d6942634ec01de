"""The contact sheet as a file, and in a real browser."""

import base64
import functools
import io
import json
import os
import re
import shutil
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from metaiqa_plugin.data.images import IMAGE_SUFFIXES
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score.contact_sheet import thumbnail, write_contact_sheet
from metaiqa_plugin.score.pipeline import ScoreRow
from metaiqa_plugin.score.sources import Reader

UP, DOWN = {'up': False}, {'<b>down</b>': True}
METRICS = UP | DOWN
HOSTILE = (
    '"><img src=x onerror=alert(1)>.png',
    '</script><script>alert(2)</script>.png',
    "'#%41 ?&amp;<!--.png",
    'größe 写真.png',
    'JavaScript:alert(3).png',
    'line\nbreak.png',
)
FAILED = '<i>broken</i>.png'
RATIO = """
([selector, behind]) => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = parts(color).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const back = getComputedStyle(document.querySelector(behind)).backgroundColor;
  return Math.min(...[...document.querySelectorAll(selector)].map((element) => {
    const pair = [light(back), light(getComputedStyle(element).color)];
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  }));
}
"""
VISIBLE = '[...document.querySelectorAll("#sheet > li")]'
ORDER = f'{VISIBLE}.map((card) => card.querySelector("a").title)'


def rows_of(page):
    """What a written page carries."""
    text = page.read_text(encoding='utf-8')
    assert text.count('</script>') == 2
    return json.loads(re.search(r'id="rows">(.*?)</script>', text, re.DOTALL)[1])


def sheet_image(path, *scores, error=''):
    return ScoreRow(str(path), scores, 40, 30, error)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Six images with names that could be markup, in folders that could, too."""
    folder = tmp_path_factory.mktemp('sheet') / 'a "b"&<c>'
    for place, name in enumerate(HOSTILE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (40, 30), (40 * place, 99, 0)).save(folder / name, 'PNG')
    return folder


@pytest.fixture(scope='module')
def written(folder):
    """The six, one that is gone, one without a second score, one never scored."""
    images = [
        sheet_image(folder / name, 0.1 * place, float((place * 2) % 7))
        for place, name in enumerate(HOSTILE)
    ]
    images.append(sheet_image(folder / 'gone.png', 0.25, None))
    why = '<img src=x onerror=alert(4)> is damaged'
    images.append(sheet_image(folder / FAILED, None, None, error=why))
    page = folder.parent / 'out' / 'sheet.html'
    write_contact_sheet(page, images[::-1], METRICS, progress=False)
    return page


@pytest.fixture
def open_page(browser, written):
    """Opens the page; what no page may do fails the test."""
    wrong, contexts = [], []
    address = written.as_uri()

    def opened(page_address=address, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on('console', lambda message: wrong.append(message.text))
        page.on('pageerror', lambda error: wrong.append(str(error)))
        page.on('dialog', lambda dialog: (wrong.append('dialog'), dialog.dismiss()))
        page.on('request', lambda request: note(request.url, page_address))
        page.goto(page_address)
        return page

    def note(url, page_address):
        beside = f'{page_address.removesuffix(".html")}.thumbnails/'
        if url != page_address and not url.startswith(('data:', 'blob:', beside)):
            wrong.append(url)

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def page(open_page):
    return open_page(permissions=['clipboard-read', 'clipboard-write'])


@pytest.fixture
def place_of(folder):
    """Names of the images of a page's paths."""
    return lambda paths: [path.removeprefix(f'{folder}/') for path in paths]


def check_list(page, *paths):
    page.evaluate('document.querySelector("#listing").open = true')
    expect(page.locator('#list')).to_have_value(''.join(f'{path}\n' for path in paths))


def test_the_worst_comes_first_and_the_order_turns(page, place_of):
    names = [*HOSTILE[:3], 'gone.png', *HOSTILE[3:]]
    assert place_of(page.evaluate(ORDER)) == names
    page.get_by_role('button', name='Order').click()
    assert place_of(page.evaluate(ORDER)) == names[::-1]
    assert page.get_by_role('button', name='best first').count() == 1


def test_of_a_metric_that_is_lower_better_the_highest_is_worst(page, place_of):
    page.select_option('#metric', label='<b>down</b>')
    # 0 2 4 6 1 3, and one without a score
    names = [HOSTILE[place] for place in (3, 2, 5, 1, 4, 0)]
    assert place_of(page.evaluate(ORDER)) == [*names, 'gone.png']
    page.get_by_role('button', name='Order').click()
    assert place_of(page.evaluate(ORDER)) == [*names[::-1], 'gone.png']
    assert page.locator('#count').inner_text() == '2 of 6 above'
    page.fill('#threshold', '2')
    assert page.locator('#count').inner_text() == '3 of 6 above'
    assert page.locator('.card.worse').count() == 3


def test_the_threshold_counts_dims_and_filters(page, place_of):
    assert page.locator('#threshold').input_value() == '0.2500'
    assert page.locator('#count').inner_text() == '3 of 7 below'
    page.fill('#threshold', '0.1')
    assert page.locator('#count').inner_text() == '1 of 7 below'
    page.fill('#threshold', '0.25')
    assert page.locator('.card.worse').count() == 3
    dimmed = page.locator('.card.worse img').first
    assert dimmed.evaluate('(img) => getComputedStyle(img).opacity') == '0.75'
    page.select_option('#show', 'worse')
    assert place_of(page.evaluate(ORDER)) == list(HOSTILE[:3])
    page.select_option('#show', 'rest')
    assert place_of(page.evaluate(ORDER)) == ['gone.png', *HOSTILE[3:]]


def test_the_slider_moves_the_threshold_in_the_histogram(page):
    page.locator('#slider').focus()
    page.keyboard.press('End')
    assert page.locator('#threshold').input_value() == '0.5000'
    assert page.locator('#count').inner_text() == '6 of 7 below'
    for _ in range(500):
        page.keyboard.press('ArrowLeft')
    assert page.locator('#threshold').input_value() == '0.2500'
    line = page.locator('#histogram line')
    assert float(line.get_attribute('x1')) == 50
    side = page.locator('#worse-side rect')
    assert [side.get_attribute(name) for name in ('x', 'width')] == ['0', '50']
    thumb = page.locator('#slider').bounding_box()
    drawn = line.bounding_box()
    middle = drawn['x'] + drawn['width'] / 2
    assert middle == pytest.approx(thumb['x'] + thumb['width'] / 2, abs=1.5)


def test_the_histogram_has_all_scores_in_their_bins(page):
    bars = page.locator('.bars').first.get_attribute('d')
    heights = [float(found) for found in re.findall(r'v-?([\d.]+)h', bars)]
    # 0, .1, .2, .25, .3, .4, .5 of [0, .5], the last bin closed
    expected = np.histogram([0, 0.1001, 0.2001, 0.2501, 0.3001, 0.4001, 0.5], 50)[0]
    assert heights == (96 * expected).tolist()


def test_ticked_paths_are_copied_in_the_order_of_their_names(page, folder):
    assert page.get_by_role('button', name='Copy').is_disabled()
    for name in (HOSTILE[3], HOSTILE[0]):
        page.locator('.card', has=page.get_by_title(name)).locator('input').check()
    page.get_by_role('button', name='Copy').click()
    expect(page.locator('#ticked')).to_have_text('list copied')
    text = page.evaluate('navigator.clipboard.readText()')
    assert text == ''.join(f'{folder}/{name}\n' for name in (HOSTILE[0], HOSTILE[3]))
    with page.expect_download() as loading:
        page.get_by_role('button', name='Download').click()
    with open(loading.value.path(), encoding='utf-8', newline='') as file:
        assert file.read() == text
    page.select_option('#show', 'ticked')
    assert len(page.evaluate(ORDER)) == 2
    page.get_by_role('button', name='Untick all').click()
    assert page.evaluate(ORDER) == []
    assert page.locator('#nothing').is_visible()


def test_the_list_is_selected_where_the_browser_refuses_to_copy(page, folder):
    page.evaluate(
        '() => { navigator.clipboard.writeText = () => Promise.reject();'
        'document.execCommand = () => false; }'
    )
    page.locator('.card input').first.check()
    page.get_by_role('button', name='Copy').click()
    expect(page.locator('#ticked')).to_contain_text('selected below')
    selected = page.evaluate('getSelection().toString()')
    assert selected.strip() == f'{folder}/{HOSTILE[0]}'


def test_ticking_the_worse_spares_what_is_not_shown(page, folder):
    page.fill('#threshold', '0.25')
    page.fill('#filter', 'SCRIPT')
    page.get_by_role('button', name='Tick worse').click()
    check_list(page, f'{folder}/{HOSTILE[1]}')


def test_a_name_with_a_line_break_is_left_out_of_the_list_and_told(page, folder):
    for name in (HOSTILE[0], 'line'):
        page.locator('.card', has=page.get_by_title(name)).locator('input').check()
    check_list(page, f'{folder}/{HOSTILE[0]}')
    assert '2 ticked, 1 not in the list' in page.locator('#ticked').inner_text()


def test_the_filter_knows_parts_of_paths_whatever_their_case(page, place_of):
    page.fill('#filter', 'GRÖSSE')
    assert page.evaluate(ORDER) == []
    page.fill('#filter', 'GRÖßE')
    assert place_of(page.evaluate(ORDER)) == [HOSTILE[3]]
    page.fill('#filter', 'javascript:')
    assert place_of(page.evaluate(ORDER)) == [HOSTILE[4]]


def test_hostile_names_are_shown_as_they_are(page, folder):
    shown = page.locator('.card bdi').all_text_contents()
    assert shown == [*HOSTILE[:3], 'gone.png', *HOSTILE[3:]]
    assert page.locator('#metric option').all_text_contents()[1] == '<b>down</b>'
    assert page.locator('img').count() == len(HOSTILE)


def test_images_that_were_not_scored_are_counted_on_top_with_their_reasons(
    page, folder
):
    count = page.get_by_text('1 not scored')
    assert count.bounding_box()['y'] < page.locator('.bar').bounding_box()['y']
    assert not page.locator('#errors ul').is_visible()
    count.click()
    one = page.locator('#errors li')
    expect(one.locator('a')).to_have_text(f'{folder}/{FAILED}')
    expect(one.locator('span')).to_have_text('<img src=x onerror=alert(4)> is damaged')
    assert page.locator('#summary').inner_text() == '7 images scored.'


def test_links_lead_to_the_originals(page, written, folder):
    links = page.evaluate(
        '[...document.querySelectorAll(".card a")]'
        '.map((link) => [link.href, link.getAttribute("href"), link.title])'
    )
    for address, relative, path in links:
        assert unquote(address.removeprefix('file://')) == path
        assert relative.startswith('../a%20')
    assert {title for *_, title in links} > {f'{folder}/{name}' for name in HOSTILE}


def test_a_click_opens_the_original_in_a_new_tab(page):
    with page.context.expect_page() as opening:
        page.locator('.card a').nth(4).click()
    tab = opening.value
    tab.wait_for_load_state()
    assert tab.url.endswith('gr%C3%B6%C3%9Fe%20%E5%86%99%E7%9C%9F.png')
    assert tab.evaluate('document.images[0].naturalWidth') == 40
    assert tab.evaluate('opener') is None


def test_a_vanished_image_has_a_placeholder(page, folder):
    card = page.locator('.card', has=page.get_by_title('gone.png'))
    assert card.locator('img').count() == 0
    assert card.locator('.lost').inner_text() == 'no preview'
    assert card.locator('dd').all_text_contents() == ['0.2500', '–']


def test_arrows_move_space_ticks_and_enter_opens(page, folder):
    page.set_viewport_size({'width': 400, 'height': 800})
    page.locator('.card input').first.focus()
    for key in ('Up', 'Down', 'Down', 'Right', 'Left', 'Up'):
        page.keyboard.press(f'Arrow{key}')
    page.keyboard.press('Space')
    # two columns: the third image is below the first
    check_list(page, f'{folder}/{HOSTILE[2]}')
    with page.context.expect_page() as opening:
        page.keyboard.press('Enter')
    opening.value.wait_for_load_state()
    assert unquote(opening.value.url).endswith(HOSTILE[2])


def test_a_phone_has_two_columns_and_no_horizontal_scroll(open_page):
    page = open_page(viewport={'width': 360, 'height': 740}, is_mobile=True)
    assert page.evaluate('document.documentElement.scrollWidth') <= 360
    tops = page.evaluate(f'{VISIBLE}.map((card) => card.offsetTop)')
    assert tops.count(tops[0]) == 2
    assert page.locator('.bar').bounding_box()['height'] < 740 / 4


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_texts_stand_out_by_day_and_by_night(open_page, scheme):
    page = open_page(color_scheme=scheme)
    page.fill('#threshold', '0.25')
    page.get_by_text('1 not scored').click()
    on_page = 'header p, label, #errors span, #errors a, summary'
    assert page.evaluate(RATIO, [on_page, 'body']) >= 4.5
    on_cards = '.card bdi, .card dt, .card dd, .lost, output, .ends span'
    assert page.evaluate(RATIO, [on_cards, '.card']) >= 4.5
    back = page.evaluate('getComputedStyle(document.body).backgroundColor')
    assert (back == 'rgb(255, 255, 255)') == (scheme == 'light')


@pytest.fixture(scope='module')
def many(tmp_path_factory, photos):
    """A page of 1,200 images, the last the best, with thumbnails in a folder."""
    folder = tmp_path_factory.mktemp('many')
    shutil.copy(photos[0], folder / '0000.webp')
    images = [sheet_image(folder / '0000.webp', 0.0)]
    for place in range(1, 1200):
        os.link(folder / '0000.webp', folder / f'{place:04}.webp')
        images.append(sheet_image(folder / f'{place:04}.webp', place / 1200))
    sheet = folder / 'the sheet.html'
    thumbnails = write_contact_sheet(sheet, images, UP, progress=False)
    assert thumbnails == folder / 'the sheet.thumbnails'
    return sheet, images


def test_all_of_many_images_are_counted_ticked_and_listed(many, open_page, tmp_path):
    sheet, images = many
    page = open_page(sheet.as_uri())
    page.fill('#threshold', '0.75')
    assert page.locator('#count').inner_text() == '900 of 1200 below'
    page.get_by_role('button', name='Tick worse').click()
    assert page.locator('#ticked').inner_text() == '900 ticked'
    with page.expect_download() as loading:
        page.get_by_role('button', name='Download').click()
    loading.value.save_as(tmp_path / 'ticked.txt')
    lines = (tmp_path / 'ticked.txt').read_text().splitlines()
    assert lines == [image.path for image in images[:900]]


def test_of_many_images_those_in_sight_are_in_the_page(many, open_page):
    sheet, images = many
    page = open_page(sheet.as_uri())
    seen = page.evaluate(ORDER)
    assert seen[0] == images[0].path and len(seen) < 100
    page.evaluate('scrollTo(0, document.body.scrollHeight)')
    last = page.locator('.card').last
    expect(last.locator('a')).to_have_attribute('title', images[-1].path)
    last.locator('input').check()
    page.evaluate('scrollTo(0, 0)')
    expect(page.locator('.card a').first).to_have_attribute('title', images[0].path)
    assert len(page.evaluate(ORDER)) < 100
    thumbnail = page.locator('.card img').first
    expect(thumbnail).to_have_js_property('naturalWidth', 256)
    check_list(page, images[-1].path)
    page.locator('.card input').first.focus()
    for _ in range(30):
        page.keyboard.press('ArrowDown')
    columns = page.evaluate('columns')
    expect(page.locator(':focus')).to_be_in_viewport()
    assert page.evaluate('document.activeElement.closest("li").place') == 30 * columns


def test_thumbnails_of_many_images_are_made_once_and_swept(tmp_path, photos):
    for name in ('a.webp', 'b.webp'):
        shutil.copy(photos[0], tmp_path / name)
    images = [sheet_image(tmp_path / name, 0.5) for name in ('a.webp', 'b.webp')]
    sheet = tmp_path / 'sheet.html'
    write = functools.partial(write_contact_sheet, sheet, metrics=UP, progress=False)
    folder = write(images, inside=1)
    made = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(made) == 2
    assert not {path.suffix for path in made} & IMAGE_SUFFIXES
    (tmp_path / 'b.webp').write_bytes(photos[1].read_bytes())
    write(images, inside=1)
    now = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(now) == 2 and len(made.items() & now.items()) == 1
    (folder / 'mine.txt').touch()
    assert write(images) is None
    assert [path.name for path in folder.iterdir()] == ['mine.txt']


@pytest.mark.parametrize('size', [(200, 50), (50, 200)])
def test_no_photo_stretches_its_card(tmp_path, open_page, size):
    images = []
    for name, shape in (('square', (60, 60)), ('other', size)):
        Image.new('RGB', shape).save(tmp_path / f'{name}.png')
        images.append(sheet_image(tmp_path / f'{name}.png', 0.5))
    write_contact_sheet(tmp_path / 'sheet.html', images, UP, progress=False)
    page = open_page((tmp_path / 'sheet.html').as_uri())
    shapes = page.evaluate(
        '[...document.querySelectorAll(".card a")].map((link) => '
        '[link.offsetWidth, link.offsetHeight])'
    )
    assert shapes[0] == shapes[1] and shapes[0][0] == shapes[0][1]


def test_lists_hold_no_formulas_and_no_options(tmp_path, open_page, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ('=1+1.png', '-rf.png', 'a=b.png')
    images = [sheet_image(name, 0.5) for name in names]
    write_contact_sheet('sheet.html', images, UP, progress=False)
    page = open_page((tmp_path / 'sheet.html').as_uri())
    for box in page.locator('.card input').all():
        box.check()
    check_list(page, './-rf.png', './=1+1.png', 'a=b.png')


def test_no_image_at_all_is_a_page_that_says_so(tmp_path, open_page):
    sheet = tmp_path / 'sheet.html'
    write_contact_sheet(sheet, [], METRICS, progress=False)
    page = open_page(sheet.as_uri())
    assert page.locator('#nothing').is_visible()
    assert page.locator('#summary').inner_text() == '0 images scored.'


def test_alike_scores_have_a_scale(tmp_path, open_page):
    images = [sheet_image(f'{place}.png', 0.5) for place in range(3)]
    sheet = tmp_path / 'sheet.html'
    write_contact_sheet(sheet, images, UP, progress=False)
    page = open_page(sheet.as_uri())
    assert page.locator('#low').inner_text() == '0.000'
    assert page.locator('#threshold').input_value() == '0.500'
    assert page.locator('#count').inner_text() == '0 of 3 below'


def test_scores_that_are_no_numbers_are_missing(tmp_path):
    images = [sheet_image('a.png', float('inf')), sheet_image('b.png', 1.0)]
    sheet = tmp_path / 'sheet.html'
    write_contact_sheet(sheet, images, UP, progress=False)
    assert [row['scores'] for row in rows_of(sheet)['images']] == [[None], [1.0]]


def test_names_are_told_apart_by_their_folders(tmp_path):
    paths = [tmp_path / 'one' / 'a.png', tmp_path / 'two' / 'a.png']
    sheet = tmp_path / 'sheet.html'
    images = [sheet_image(path, 0.5) for path in paths]
    write_contact_sheet(sheet, images, UP, progress=False)
    assert [row['name'] for row in rows_of(sheet)['images']] == [
        'one/a.png',
        'two/a.png',
    ]


def test_a_name_that_is_no_unicode_can_be_written_and_linked(tmp_path):
    name = os.fsdecode(b'\xff.png')
    sheet = tmp_path / 'sheet.html'
    image = sheet_image(tmp_path / name, 0.5)
    write_contact_sheet(sheet, [image], UP, progress=False)
    [row] = rows_of(sheet)['images']
    assert (row['link'], row['listable']) == ('%FF.png', False)


def test_the_same_images_give_the_same_bytes_in_any_order(tmp_path, folder):
    images = [sheet_image(folder / name, 0.5) for name in HOSTILE]
    pages = []
    for place, order in enumerate((images, images[::-1])):
        sheet = tmp_path / f'{place}.html'
        write_contact_sheet(sheet, order, UP, progress=False)
        pages.append(sheet.read_bytes())
    assert pages[0] == pages[1]


@pytest.mark.parametrize('as_seen', [False, True])
def test_thumbnails_are_small_and_turned_as_the_image_is_that_is_scored(
    tmp_path, as_seen
):
    photo = Image.new('RGB', (1000, 500), 'red')
    photo.paste('blue', (0, 0, 500, 500))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: what was left comes up
    photo.save(tmp_path / 'photo.jpg', exif=exif, comment=b'private')
    small = Image.open(io.BytesIO(thumbnail(tmp_path / 'photo.jpg', as_seen)))
    scored = Reader(as_seen)(str(tmp_path / 'photo.jpg'))
    assert (small.format, small.size) == ('JPEG', (128, 256) if as_seen else (256, 128))
    assert scored.height > scored.width if as_seen else scored.height < scored.width
    for place in ((20, 20), (-20, -20)):
        spot = tuple(side % size for side, size in zip(place, small.size, strict=True))
        same = tuple(at * scored.width // small.width for at in spot)
        assert small.getpixel(spot) == pytest.approx(scored.getpixel(same), abs=9)
    assert not small.getexif() and 'comment' not in small.info


def test_16_bits_are_not_clipped_to_white(tmp_path):
    pixels = np.full((20, 30), 20000, np.uint16)
    Image.fromarray(pixels).save(tmp_path / 'deep.png')
    small = Image.open(io.BytesIO(thumbnail(tmp_path / 'deep.png')))
    assert small.getpixel((5, 5)) == pytest.approx((78,) * 3, abs=2)


def test_small_images_are_not_enlarged_and_embedded_whole(written):
    images = rows_of(written)['images']
    shown = {row['name']: row['thumbnail'] for row in images}
    decoded = Image.open(
        io.BytesIO(base64.b64decode(shown[HOSTILE[0]].partition(',')[2]))
    )
    assert decoded.size == (40, 30)
    assert shown['gone.png'] is None


def test_a_damaged_file_has_no_thumbnail(tmp_path, photos):
    (tmp_path / 'cut.webp').write_bytes(photos[0].read_bytes()[:2000])
    (tmp_path / 'text.png').write_text('text')
    assert thumbnail(tmp_path / 'cut.webp') is None
    assert thumbnail(tmp_path / 'text.png') is None


@pytest.mark.parametrize(
    ('images', 'metrics', 'message'),
    [
        ([], {}, 'metrics='),
        ([sheet_image('a.png', 0.5)], METRICS, "'a.png' has 1 scores of 2"),
    ],
)
def test_bad_input_names_itself_and_leaves_the_page(tmp_path, images, metrics, message):
    sheet = tmp_path / 'sheet.html'
    sheet.write_text('before')
    with pytest.raises(UserError, match=message):
        write_contact_sheet(sheet, images, metrics, progress=False)
    assert sheet.read_text() == 'before'
    assert [path.name for path in tmp_path.iterdir()] == ['sheet.html']
