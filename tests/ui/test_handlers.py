"""Events of a page, without a browser."""

from types import SimpleNamespace

import pytest

from metaiqa_plugin.train.adapt import AdaptSettings
from metaiqa_plugin.ui.handlers import WORST, Handlers
from metaiqa_plugin.ui.scoring import Metrics
from metaiqa_plugin.ui.sessions import Limits, Sessions

REQUEST = SimpleNamespace(session_hash='page')


@pytest.fixture
def opened(tmp_path, checkpoint, nine):
    """Handlers of a page on which nine photos were scored and rated; it, too."""

    def started(steps):
        metrics = Metrics([str(checkpoint)])
        sessions = Sessions(tmp_path, metrics.default)
        settings = AdaptSettings(steps=steps)
        handlers = Handlers(sessions, metrics, Limits(), settings)
        handlers.load(REQUEST)
        session = sessions.of_page('page')
        for number, path in enumerate(nine):
            photo = session.add(path.name, 20)
            copy = session.folder / f'photo-{photo.key}'
            copy.write_bytes(path.read_bytes())
            session.arrived(photo, copy)
            session.rate(photo.key, 1 + number % 5)
        list(handlers.sent(WORST, REQUEST))
        return handlers, session

    return started


def test_learning_can_be_cancelled_and_changes_nothing(opened):
    handlers, session = opened(10**6)
    scores = {key: photo.score for key, photo in session.photos.items()}
    shown = handlers.learn(True, WORST, REQUEST)
    result, learn, cancel, *_ = next(shown)
    assert 'Learning' in result or 'Waiting' in result
    assert (learn['interactive'], cancel['visible']) == (False, True)
    assert list(handlers.learn(True, WORST, REQUEST)) == []
    handlers.cancel(REQUEST)
    result, learn, cancel, *_ = list(shown)[-1]
    assert 'Cancelled' in result
    assert (learn['interactive'], cancel['visible']) == (True, False)
    assert {key: photo.score for key, photo in session.photos.items()} == scores
    assert session.metric == session.base


def test_a_page_that_is_closed_stops_learning(opened):
    handlers, session = opened(10**6)
    next(handlers.learn(False, WORST, REQUEST))
    handlers.unload(REQUEST)
    session.job.wait(60)
    assert session.job.state == 'cancelled'


def test_learning_twice_starts_at_the_same_prior_and_gives_the_same_file(opened):
    handlers, session = opened(2)
    list(handlers.learn(False, WORST, REQUEST))
    (path,) = session.folder.glob('*.safetensors')
    first = path.read_bytes()
    assert session.metric == 'my taste'
    list(handlers.learn(False, WORST, REQUEST))
    assert path.read_bytes() == first


def test_other_networks_are_said_not_to_learn(opened):
    handlers, session = opened(2)
    session.base = 'rankiqa'
    text, button = handlers.taste(REQUEST)
    assert 'rankiqa</b> cannot learn' in text
    assert not button['interactive']
    with pytest.warns(UserWarning, match='rankiqa cannot learn'):
        assert list(handlers.learn(False, WORST, REQUEST)) == []
