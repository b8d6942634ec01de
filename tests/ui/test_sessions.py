"""Pages: their photos, their order, their ends."""

import pytest

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.ui.sessions import Sessions


@pytest.fixture
def sessions(tmp_path):
    return Sessions(tmp_path, 'metaiqa')


@pytest.fixture
def session(sessions):
    return sessions.open()


def arrive(session, *names):
    photos = [session.add(name, 10) for name in names]
    for photo in photos:
        path = session.folder / str(photo.key)
        path.write_bytes(b'x')
        session.arrived(photo, path)
    return photos


def test_a_name_that_is_taken_gets_a_number(session):
    names = ['a.jpg', 'a.jpg', '.jpg', '.jpg', 'a', 'a', 'a.jpg']
    added = [session.add(name, 10).name for name in names]
    assert added == [
        'a.jpg',
        'a (2).jpg',
        '.jpg',
        '.jpg (2)',
        'a',
        'a (2)',
        'a (3).jpg',
    ]


def test_a_full_page_counts_what_it_leaves_out(session):
    assert session.add('a', 1) is not None
    assert session.add('b', 1, more=4) is None
    assert session.add('c', 1) is None
    assert session.left_out == (5, 'b')
    assert len(session.photos) == 1


def test_order_is_by_score_then_name_and_unscored_come_last(session):
    photos = arrive(session, 'd', 'b', 'c', 'a')
    for _ in range(3):
        photo, of_round = session.take()
        session.finish(photo, of_round, 0.5 if photo.name != 'd' else 0.9, '')
    assert [photo.name for photo in session.ordered()] == ['b', 'c', 'd', 'a']
    assert session.ordered(lower_better=True)[0].name == 'd'
    assert session.progress() == (3, 4, None)
    assert photos[3].score is None


def test_a_score_of_a_metric_that_is_no_longer_chosen_is_dropped(session):
    (photo,) = arrive(session, 'a')
    taken, of_round = session.take()
    session.choose('rankiqa')
    session.finish(taken, of_round, 0.1, '')
    assert photo.score is None
    taken, of_round = session.take()
    session.finish(taken, of_round, 0.2, '')
    assert photo.score == 0.2
    assert session.take() is None


def test_another_metric_gives_refused_photos_a_second_chance_but_not_lost_ones(session):
    photo, lost = *arrive(session, 'small'), session.add('lost', 10)
    lost.error = 'too large'
    session.finish(*session.take(), None, 'too small')
    session.choose('rankiqa')
    assert (photo.error, lost.error) == ('', 'too large')
    assert session.take()[0] is photo
    assert session.take() is None


def test_one_scores_and_what_arrives_meanwhile_is_scored_by_it(session):
    assert not session.begin()
    arrive(session, 'a', 'b')
    assert session.begin() and not session.begin()
    session.finish(*session.take(), 0.1, '')
    arrive(session, 'c')
    assert not session.begin()
    assert session.progress()[:2] == (1, 3) and session.progress()[2] >= 0
    session.finish(*session.take(), 0.1, '')
    session.finish(*session.take(), 0.1, '')
    assert session.take() is None
    arrive(session, 'd')
    assert session.begin()


def test_what_was_changed_since_is_told_once(session):
    one, other = arrive(session, 'a', 'b')
    version, changed = session.since(0)
    assert changed == [one, other]
    assert session.since(version)[1] == []
    session.rate(other.key, 4)
    version, changed = session.since(version)
    assert [photo.facts()['rating'] for photo in changed] == [4]


def test_as_many_pages_as_allowed_are_open(tmp_path):
    sessions = Sessions(tmp_path, 'metaiqa', max_tabs=2)
    first = sessions.open()
    sessions.open()
    with pytest.raises(UserError, match=r'2 tabs are open.*--max-tabs'):
        sessions.open()
    first.watchers = 1
    sessions.close(first, unwatched=True)
    assert sessions.get(first.token) is first
    first.watchers = 0
    sessions.close(first, unwatched=True)
    assert sessions.open()


@pytest.mark.parametrize(
    ('given', 'kept'), [(5, 5), (1, 1), (0, None), (6, 3), (-1, 3), ('5', 3)]
)
def test_ratings_are_one_to_five_and_zero_takes_back(session, given, kept):
    (photo,) = arrive(session, 'a')
    session.rate(photo.key, 3)
    session.rate(photo.key, given)
    session.rate(99, 4)
    assert photo.rating == kept


def test_only_photos_that_could_be_read_count_as_rated(session):
    first, second, third = arrive(session, 'b', 'a', 'c')
    for photo in (first, second, third):
        session.rate(photo.key, 4)
    first.thumbnail = second.thumbnail = session.folder / 'small'
    assert [photo.name for photo in session.rated()] == ['a', 'b']


def test_pages_are_apart_and_leave_nothing_behind(sessions, tmp_path):
    one, other = sessions.open(), sessions.open()
    arrive(one, 'a')
    assert one.token != other.token
    assert not other.photos
    assert one.folder.stat().st_mode & 0o077 == 0
    sessions.close(one)
    assert not one.folder.exists()
    assert sessions.get(one.token) is None
    assert sessions.get(other.token) is other
    sessions.close_all()
    assert list(tmp_path.iterdir()) == []
