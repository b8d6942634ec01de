"""The page in a real browser, served by the real command."""

import csv
import io
import re
import signal

import pyiqa
import pytest
import torch
from playwright.sync_api import expect

from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.archs.rankiqa_arch import RankIQA
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.score import open_metric

LONG = 60_000
SCORES = '[...document.querySelectorAll(".tile .score")].map(one => one.innerText)'
NAMES = '[...document.querySelectorAll(".tile .name")].map(one => one.innerText)'
LIMITS = (
    '--max-tabs',
    '30',
    '--max-files',
    '12',
    '--max-megabytes',
    '1',
    '--max-megapixels',
    '1',
)


@pytest.fixture(scope='module')
def served(start, checkpoint):
    """The command with the tiny checkpoint, tight limits and few steps."""
    return start('--metric', checkpoint, *LIMITS, '--steps', '3')


@pytest.fixture(scope='module')
def wrong():
    """What no page may do: console messages, errors, requests for anything else."""
    return []


@pytest.fixture
def open_page(browser, served, wrong):
    """Opens the page in a browser's context of its own."""
    contexts = []

    def opened(**options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(LONG)
        page.on('console', lambda message: said(message.text))
        page.on('pageerror', lambda error: wrong.append(str(error)))
        page.on('request', lambda request: note(request.url))
        page.goto(served.address)
        page.wait_for_selector('.drop input:enabled')
        return page

    def said(text):
        if 'status of 400' not in text:  # the page tells of it itself
            wrong.append(text)

    def note(url):
        if not url.startswith((f'{served.address}/', 'data:', 'blob:')):
            wrong.append(url)

    yield opened
    for context in contexts:
        context.close()


def drop(page, paths, scored):
    page.set_input_files('.drop input', list(paths))
    text = page.locator('#status')
    done = re.compile(rf'^\s*{scored} photos scored')
    expect(text).to_have_text(done, timeout=LONG)
    expect(page.locator('.tile .score')).to_have_count(scored, timeout=LONG)


def rate(page, paths, stars):
    for path, star in zip(paths, stars, strict=True):
        tile = page.locator('.tile', has=page.get_by_text(path.name, exact=True))
        tile.locator('.stars button').nth(star - 1).click()


@pytest.fixture(scope='module')
def tiny_rival(tmp_path_factory):
    """A checkpoint of another network of ours."""
    torch.manual_seed(1)
    network = RankIQA('test_efficientnet', pretrained=False, crop_size=32, crops=1)
    path = tmp_path_factory.mktemp('rival') / 'rival.safetensors'
    write_state_dict(path, network.state_dict())
    return path


@pytest.fixture(scope='module')
def expected(checkpoint, nine):
    """Names and scores of the photos, the worst first."""
    metric = open_metric(str(checkpoint))
    scores = {path.name: metric(read_rgb(path)).item() for path in nine}
    return sorted(scores.items(), key=lambda item: item[1])


def test_scores_are_those_of_the_metric_sorted_and_in_the_csv(
    open_page, served, nine, expected
):
    page = open_page()
    drop(page, nine, 9)
    names, scores = zip(*expected, strict=True)
    expect(page.locator('.tile .name')).to_have_text(list(names), timeout=LONG)
    assert page.evaluate(SCORES) == [f'{score:.3f}' for score in scores]
    page.select_option('#order', label='best first')
    expect(page.locator('.tile .name').first).to_have_text(names[-1])
    assert page.evaluate(NAMES) == list(names)[::-1]

    page.get_by_text('Table and csv').click()
    link = page.locator('#table a').get_attribute('href')
    text = page.request.get(served.address + link).text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row['image'] for row in rows] == list(names)
    for row, score in zip(rows, scores, strict=True):
        assert float(row['score']) == pytest.approx(score, abs=1e-5)
        assert (row['width'], row['height'], row['error']) == ('96', '64', '')
    assert page.locator('#table tbody tr').count() == 9


def test_a_click_shows_the_maps_of_that_photo(open_page, nine, expected):
    page = open_page()
    drop(page, nine, 9)
    expect(page.locator('.tile .name').nth(2)).to_have_text(expected[2][0])
    page.locator('.tile').nth(2).locator('.shot').click()
    panel = page.locator('#details')
    expect(panel).to_contain_text('Quality of each part', timeout=LONG)
    assert panel.locator('img').count() == 2
    panel.get_by_role('button', name='where the metric looks').click()
    expect(panel).to_contain_text('bright pixels change the score', timeout=LONG)
    expect(panel.locator('h2')).to_have_text(expected[2][0])
    pictures = page.evaluate(
        'Promise.all([...document.querySelectorAll("#details img")].map('
        'one => one.decode().then(() => [one.naturalWidth, one.naturalHeight])))'
    )
    assert pictures == [[96, 64]] * 3
    sources = page.evaluate(
        '[...document.querySelectorAll("#details img")].map(one => one.src)'
    )
    assert len({*sources}) == 3
    low, high = (
        float(text.split()[index])
        for text, index in zip(
            panel.locator('.scale span').all_inner_texts(), (1, 0), strict=True
        )
    )
    assert 0 <= low <= high <= 1


def test_what_is_no_photo_is_named_and_the_others_are_scored(
    open_page, nine, odd_files
):
    page = open_page()
    drop(page, [*odd_files.values(), *nine[:2]], 2)
    expect(page.locator('#status')).to_contain_text('5 could not be')
    told = dict(
        text.split(': ', 1) for text in page.locator('.failed li').all_inner_texts()
    )
    assert set(told) == set(odd_files)
    assert 'cannot identify' in told['notes.txt']
    assert 'cannot be read' in told['<b>"cut".png']
    assert '1200x1000 pixels are more than 1 megapixels' in told['large.png']
    assert 'Image size' in told['bomb.png']
    assert 'more than 1 MB' in told['heavy.png']
    assert '/tmp' not in page.locator('main').inner_text()


def test_more_photos_than_the_page_takes_are_counted(open_page, nine):
    page = open_page()
    drop(page, [*nine, *nine[:5]], 12)
    text = page.locator('#status').inner_text()
    assert '2 more left out, the first is photo 3.png' in text
    assert '--max-files' in text
    assert 'photo 0 (2).png' in page.evaluate(NAMES)


def test_two_pages_do_not_see_each_others_photos(open_page, served, nine):
    one, other = open_page(), open_page()
    drop(one, nine[:3], 3)
    drop(other, nine[3:5], 2)
    assert sorted(one.evaluate(NAMES)) == [path.name for path in nine[:3]]
    assert sorted(other.evaluate(NAMES)) == [path.name for path in nine[3:5]]
    assert one.evaluate('base') != other.evaluate('base')
    guessed = other.request.get(f'{served.address}/session/{"x" * 32}/scores.csv')
    assert guessed.status == 404


def test_files_of_a_page_are_deleted_when_it_is_closed(open_page, served, nine):
    page, watcher = open_page(), open_page()
    drop(page, nine[:3], 3)
    token = page.evaluate('page.token')
    (folder,) = served.folder.glob(f'metaiqa-ui-*/{token}')
    assert len(list(folder.iterdir())) == 6
    page.close()
    for _ in range(600):
        if not folder.exists():
            break
        watcher.wait_for_timeout(100)
    assert not folder.exists()


def test_ratings_are_learned_and_the_checkpoint_scores_as_the_page_does(
    open_page, served, nine, expected, tmp_path
):
    page = open_page()
    drop(page, nine, 9)
    learn = page.get_by_role('button', name='Learn my taste')
    expect(learn).to_be_disabled()
    rate(page, nine[:7], (5, 3, 1, 5, 3, 1, 4))
    expect(page.locator('#missing')).to_contain_text('1 more photo')
    rate(page, nine[6:7], (4,))
    expect(page.locator('#missing')).to_contain_text('2 more photos')
    rate(page, nine[6:8], (4, 2))
    expect(page.locator('#missing')).to_contain_text('8 rated')
    learn.click()
    result = page.locator('#result')
    expect(result.locator('a.download')).to_be_visible(timeout=LONG)
    expect(result).to_contain_text('no measure of quality')
    expect(result).to_contain_text('on photos left out')
    expect(page.locator('#metric')).to_have_value('my taste')
    first = result.locator('details tbody tr').first.locator('td').all_text_contents()
    assert first[:2] == [nine[0].name, '★★★★★']
    assert first[2] == f'{dict(expected)[nine[0].name]:.3f}'

    link = served.address + result.locator('a.download').get_attribute('href')
    adapted = tmp_path / 'my-taste.safetensors'
    adapted.write_bytes(page.request.get(link).body())
    metric = pyiqa.create_metric('metaiqa', pretrained_model_path=str(adapted))
    after = {path.name: metric(str(path)).item() for path in nine}
    assert after != dict(expected)
    names = sorted(after, key=after.get)
    expect(page.locator('.tile .name')).to_have_text(list(names), timeout=LONG)
    assert page.evaluate(SCORES) == [f'{after[name]:.3f}' for name in names]


def test_a_dropped_checkpoint_becomes_the_metric_and_a_bad_one_is_named(
    open_page, nine, tiny_rival, tmp_path
):
    page = open_page()
    (tmp_path / 'bad.pth').write_text('no weights')
    drop(page, [*nine[:3], tmp_path / 'bad.pth', tiny_rival], 3)
    expect(page.locator('#metric')).to_have_value(tiny_rival.name, timeout=LONG)
    assert 'bad.pth is not used' in page.locator('#status').inner_text()
    metric = open_metric(str(tiny_rival))
    scores = sorted(metric(read_rgb(path)).item() for path in nine[:3])
    assert page.evaluate(SCORES) == [f'{score:.3f}' for score in scores]


def test_the_page_is_not_for_other_hosts_or_sites(open_page, served):
    ask = open_page().request
    assert ask.get(served.address, headers={'Host': 'else.example'}).status == 400
    for site in ('cross-site', 'same-site'):
        given = {'headers': {'Sec-Fetch-Site': site}}
        assert ask.post(f'{served.address}/session', **given).status == 403
    answer = ask.get(served.address)
    policy = answer.headers['content-security-policy']
    assert "default-src 'none'" in policy and 'unsafe' not in policy
    for path in ('openapi.json', 'docs'):
        assert ask.get(f'{served.address}/{path}').status == 404


def test_a_folder_of_this_machine_is_scored_where_it_lies(open_page, nine, tmp_path):
    (tmp_path / 'below').mkdir()
    for path in nine[:3]:
        (tmp_path / 'below' / path.name).write_bytes(path.read_bytes())
    (tmp_path / 'broken.png').write_text('no image')
    page = open_page()
    page.fill('#path', str(tmp_path))
    page.get_by_role('button', name='Score it').click()
    expect(page.locator('#status')).to_contain_text('3 photos scored', timeout=LONG)
    assert sorted(page.evaluate(NAMES)) == [f'below/{path.name}' for path in nine[:3]]
    expect(page.locator('.failed li')).to_contain_text('broken.png: ')
    page.fill('#path', str(tmp_path / 'nowhere' / '*.png'))
    page.get_by_role('button', name='Score it').click()
    expect(page.locator('#hint')).to_contain_text('no file matches')


def test_one_tab_too_many_is_told_so_and_the_first_still_works(
    start, checkpoint, browser, nine
):
    served = start('--metric', checkpoint, '--max-tabs', '1')
    first, second = browser.new_page(), browser.new_page()
    first.goto(served.address)
    first.wait_for_selector('.drop input:enabled')
    second.goto(served.address)
    expect(second.locator('#hint')).to_contain_text('1 tabs are open')
    expect(second.locator('#hint')).to_contain_text('--max-tabs')
    drop(first, nine[:2], 2)
    first.close()
    for _ in range(100):
        second.reload()
        second.wait_for_timeout(200)
        if second.locator('.drop input:enabled').count():
            break
    expect(second.locator('.drop input')).to_be_enabled()
    second.close()


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_it_fits_a_phone(open_page, nine, scheme):
    size = {'width': 390, 'height': 844}
    page = open_page(viewport=size, color_scheme=scheme)
    drop(page, nine[:3], 3)
    assert page.evaluate('document.documentElement.scrollWidth') <= 390


def test_nothing_was_loaded_from_elsewhere_and_ctrl_c_ends_it(served, wrong):
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(60) == 0
    assert not list(served.folder.glob('metaiqa-ui-*'))
    assert wrong == []
    assert {*served.calls()} <= {'127.0.0.1', 'localhost'}
    told = served.stderr().splitlines()
    assert [line.split(':')[0] for line in told] == [
        'starting, 1 of 2',
        'starting, 2 of 2',
    ]


def test_sigterm_ends_it_with_zero_and_its_files_are_gone(start, checkpoint):
    served = start('--metric', checkpoint)
    assert list(served.folder.glob('metaiqa-ui-*'))
    served.process.terminate()
    assert served.process.wait(60) == 0
    assert not list(served.folder.glob('metaiqa-ui-*'))
    assert 'Traceback' not in served.stderr()
