"""Pages: their photos, their order, their ends."""

import pytest

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.ui.sessions import Sessions


@pytest.fixture
def sessions(tmp_path):
    return Sessions(tmp_path, 'metaiqa')


@pytest.fixture
def session(sessions):
    return sessions.open('page')


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
    names = [photo.name for photo in session.ordered(worst_first=True)]
    assert names == ['b', 'c', 'd', 'a']
    names = [photo.name for photo in session.ordered(worst_first=False)]
    assert names[0] == 'd'
    names = [photo.name for photo in session.ordered(True, lower_better=True)]
    assert names[0] == 'd'
    assert session.progress() == (3, 4)
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
    first.thumbnail = second.thumbnail = b'jpeg'
    assert [photo.name for photo in session.rated()] == ['a', 'b']


def test_pages_are_apart_and_leave_nothing_behind(sessions, tmp_path):
    one, other = sessions.open('one'), sessions.open('other')
    arrive(one, 'a')
    assert one.token != other.token
    assert not other.photos
    assert one.folder.stat().st_mode & 0o077 == 0
    sessions.close('one')
    assert not one.folder.exists()
    assert sessions.of_token(one.token) is None
    with pytest.raises(UserError, match='reload'):
        sessions.of_page('one')
    assert sessions.of_page('other') is other
    again = sessions.open('other')
    assert again is not other
    assert not other.folder.exists()
    sessions.close_all()
    assert list(tmp_path.iterdir()) == []
