"""The page in a real browser."""

import re

import pytest

RATIO = """
(selector) => {
  const channel = (value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  };
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).map(Number).map(channel);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const page = light(getComputedStyle(document.body).backgroundColor);
  return Math.min(...[...document.querySelectorAll(selector)].map((element) => {
    const style = getComputedStyle(element);
    const ink = light(element instanceof SVGElement ? style.fill : style.color);
    const [high, low] = [Math.max(ink, page), Math.min(ink, page)];
    return (high + 0.05) / (low + 0.05);
  }));
}
"""
BACK = 'getComputedStyle(document.body).backgroundColor'
TEXT = 'p, td, th, a, figcaption, dt, dd, summary, figure svg text, .missing, .nan'


@pytest.fixture(scope='module')
def address(report):
    return (report / 'report.html').as_uri()


@pytest.fixture(scope='module')
def wrong():
    """What no page may do: console messages, errors, requests for anything else."""
    return []


@pytest.fixture(scope='module')
def open_page(browser, address, wrong):
    """Opens the report with the options of a browser's context."""

    def opened(**options):
        page = browser.new_context(**options).new_page()
        page.on('console', lambda message: wrong.append(message.text))
        page.on('pageerror', lambda error: wrong.append(str(error)))
        page.on('request', lambda request: note(request.url))
        page.goto(address)
        return page

    def note(url):
        if url.partition('#')[0] != address and not url.startswith('data:'):
            wrong.append(url)

    return opened


@pytest.fixture(scope='module')
def opened(open_page):
    """On a desk, in daylight."""
    return open_page(color_scheme='light')


@pytest.fixture
def page(opened, wrong):
    yield opened
    assert wrong == []


def keys(page, table, column):
    """Keys of a column in the order of the rows; None where there is none."""
    return page.locator(table).evaluate(
        '(table, column) => [...table.tBodies[0].rows]'
        '.map((row) => row.cells[column].dataset.key ?? null)',
        column,
    )


def test_pictures_are_there(page):
    page.evaluate('document.querySelectorAll("details").forEach((one) => one.open = 1)')
    sizes = page.evaluate('[...document.images].map((image) => image.naturalWidth)')
    assert len(sizes) > 50 and min(sizes) > 0
    boxes = page.evaluate(
        '[...document.querySelectorAll("svg")].map((svg) => {'
        'const box = svg.getBoundingClientRect();'
        'return Math.min(box.width, box.height)})'
    )
    assert len(boxes) > 30 and min(boxes) > 50
    drawn = page.evaluate(
        '[...document.querySelectorAll("svg")].map((svg) => svg.getBBox().width)'
    )
    assert min(drawn) > 50
    page.evaluate('document.querySelectorAll("details").forEach((one) => one.open = 0)')


def test_numbers_stand_to_the_right(page):
    aligned = page.evaluate(
        '[...document.querySelectorAll("table")].flatMap((table) => {'
        'const titles = [...table.querySelectorAll("[aria-sort]")];'
        'const align = (cell) => getComputedStyle(cell).textAlign;'
        'return [...table.querySelectorAll("tbody tr, tfoot tr")].flatMap((row) =>'
        '[...row.cells].map((cell) => [cell.dataset.key ?? "", align(cell),'
        'align(titles[cell.cellIndex])]))})'
    )
    numbers = [row[1:] for row in aligned if re.fullmatch(r'-?\d+\.\d{5,}', row[0])]
    assert len(numbers) > 200
    assert {tuple(row) for row in numbers} == {('right', 'right')}
    texts = [row[1:] for row in aligned if row[0] == 'metaiqa']
    assert {tuple(row) for row in texts} == {('left', 'left')}


def test_many_methods_are_folded(page):
    assert page.locator('#e8 .panels').is_visible() is False
    page.locator('#e8 summary', has_text='Show all 10 methods').first.click()
    assert page.locator('#e8 .panels').is_visible()


def test_the_overview_leads_to_the_experiments(page):
    link = page.locator('table >> nth=0').locator('a', has_text='few_shot')
    chapter = page.locator(link.get_attribute('href')).locator('h2')
    assert chapter.inner_text().startswith('few_shot')


def test_a_click_sorts_both_ways_and_nan_comes_last(page):
    table = '#e2 table >> nth=0'
    header = page.locator(table).locator('thead tr:last-child th').nth(4)
    assert header.inner_text() == 'mean'
    for direction in ('descending', 'ascending'):
        header.locator('button').click()
        assert header.get_attribute('aria-sort') == direction
        found = keys(page, table, 4)
        known = [float(key) for key in found if key is not None]
        assert len(known) == 15
        assert known == sorted(known, reverse=direction == 'descending')
        assert found[15:] == [None] * 2
    name = page.locator(table).locator('thead tr:last-child th').nth(0)
    name.locator('button').click()
    assert header.get_attribute('aria-sort') == 'none'
    assert name.get_attribute('aria-sort') == 'ascending'


def test_the_keyboard_sorts_and_the_average_stays_below(page):
    table = '#e7 table >> nth=0'
    before = keys(page, table, 1)
    page.locator(table).locator('thead button').nth(1).focus()
    page.keyboard.press('Enter')
    found = [float(key) for key in keys(page, table, 1)]
    assert found == sorted(map(float, before), reverse=True)
    page.keyboard.press('Space')
    assert [float(key) for key in keys(page, table, 1)] == found[::-1]
    last = page.locator(table).locator('tr').last
    assert last.locator('th').inner_text() == 'Average'


def test_text_columns_sort_by_name(page):
    page.locator('#e7 table >> nth=0').locator('thead button').first.click()
    found = keys(page, '#e7 table >> nth=0', 0)
    assert found == sorted(found) and len(found) == 4


def test_a_phone_has_no_horizontal_scroll(open_page, wrong):
    page = open_page(viewport={'width': 390, 'height': 844}, is_mobile=True)
    width = page.evaluate('document.documentElement.scrollWidth')
    assert width <= 390
    wide = page.evaluate(
        '[...document.querySelectorAll(".scroll")]'
        '.filter((box) => box.scrollWidth > box.clientWidth).length'
    )
    assert wide > 0
    assert wrong == []


def test_dark_mode_keeps_contrast(page):
    backs = {}
    for scheme in ('dark', 'light'):
        page.emulate_media(color_scheme=scheme)
        backs[scheme] = page.evaluate(BACK)
        assert page.evaluate(RATIO, TEXT) >= 4.5
    assert backs['light'] == 'rgb(255, 255, 255)' != backs['dark']


def test_print_is_dark_on_white_without_contents(page):
    page.emulate_media(media='print', color_scheme='dark')
    assert page.evaluate(BACK) == 'rgb(255, 255, 255)'
    assert not page.locator('nav').is_visible()
    # a header that is repeated on the next page shows no buttons
    display = 'getComputedStyle(document.querySelector("thead button")).display'
    assert page.evaluate(display) == 'contents'
    assert page.evaluate(RATIO, TEXT) >= 4.5
    assert page.pdf(format='A4').startswith(b'%PDF')
    page.emulate_media(media='screen', color_scheme='light')


def test_contents_lead_to_sections(page):
    links = page.eval_on_selector_all(
        'nav a', '(links) => links.map((link) => link.getAttribute("href"))'
    )
    assert len(links) > 40
    found = page.evaluate(
        '(links) => links.map((link) => document.querySelectorAll(link).length)', links
    )
    assert set(found) == {1}
    page.locator('nav a', has_text='Differences').first.click()
    assert page.url.endswith('#e1-differences')


def test_options_are_folded(page):
    details = page.locator('#e2 details')
    assert not details.locator('pre').is_visible()
    details.locator('summary').click()
    assert '<script>alert(1)</script>' in details.locator('pre').inner_text()
