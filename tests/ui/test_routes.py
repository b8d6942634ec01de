"""What a page asks for, without a browser."""

import json
import time
from types import SimpleNamespace

import pytest

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.adapt import AdaptSettings
from metaiqa_plugin.ui.routes import Api, csv_text
from metaiqa_plugin.ui.scoring import Metrics
from metaiqa_plugin.ui.sessions import Limits, Photo, Sessions


@pytest.fixture
def opened(tmp_path, checkpoint, nine):
    """What asks, the page, and its state; nine photos are scored and rated."""

    def started(steps, **others):
        metrics = Metrics([str(checkpoint)])
        sessions = Sessions(tmp_path / 'pages', metrics.default)
        settings = AdaptSettings(steps=steps)
        api = Api(sessions, metrics, Limits(), settings, **{'local': True, **others})
        session = sessions.open()

        def ask(address, **query):
            path = {'token': session.token, 'key': query.pop('key', 0)}
            given = {key: str(value) for key, value in query.items()}
            return getattr(api, address)(
                SimpleNamespace(path_params=path, query_params=given)
            )

        def state():
            return api.state(session)

        if others:
            return ask, session, state
        ask('paths', path=nine[0].parent)
        wait(lambda: state()['done'] == 9)
        for number, photo in enumerate(session.photos.values()):
            session.rate(photo.key, 1 + number % 5)
        return ask, session, state

    return started


def wait(ended):
    for _ in range(3000):
        if ended():
            return
        time.sleep(0.02)
    raise AssertionError('it does not end')


def test_learning_can_be_cancelled_and_changes_nothing(opened):
    ask, session, state = opened(10**6)
    scores = {key: photo.score for key, photo in session.photos.items()}
    ask('learn', check='true')
    job = session.job
    assert state()['job']['state'] in ('waiting', 'running')
    ask('learn', check='true')
    assert session.job is job
    ask('cancel')
    wait(lambda: not job.running)
    assert state()['job']['state'] == 'cancelled'
    assert {key: photo.score for key, photo in session.photos.items()} == scores
    assert session.metric == session.base


def test_a_page_that_is_closed_stops_learning(opened):
    ask, session, _ = opened(10**6)
    ask('learn')
    ask('close')
    session.job.wait(60)
    assert session.job.state == 'cancelled'
    assert not session.folder.exists()


def test_learning_twice_starts_at_the_same_prior_and_gives_the_same_file(opened):
    ask, session, state = opened(2)
    files = []
    for _ in range(2):
        ask('learn')
        session.job.wait(60)
        assert state()['job']['state'] == 'done'
        (path,) = session.folder.glob('*.safetensors')
        files.append(path.read_bytes())
        assert session.metric == 'my taste'
    assert files[0] == files[1]
    json.dumps(state(), allow_nan=False)


def test_other_networks_are_said_not_to_learn(opened):
    ask, session, state = opened(2)
    session.base = 'rankiqa'
    assert not state()['adaptable']
    with pytest.raises(UserError, match='rankiqa cannot learn'):
        ask('learn')


def test_paths_are_for_the_machine_itself(opened, nine):
    ask, session, _ = opened(2, local=False)
    with pytest.raises(UserError, match='machine that runs the command'):
        ask('paths', path=nine[0])
    assert not session.photos


def test_maps_are_of_the_photo_or_a_smaller_copy(opened):
    ask, *_ = opened(2)
    drawn = {}
    for name in ('quality', 'gradient'):
        drawn[name] = json.loads(ask('map', key=1, name=name).body)
        assert drawn[name]['picture'].startswith('data:image/jpeg;base64,')
        assert drawn[name]['low'] < drawn[name]['high']
        assert drawn[name]['shrunk'] == 0
    assert drawn['quality']['picture'] != drawn['gradient']['picture']
    with pytest.raises(UserError, match="map='heat'"):
        ask('map', key=1, name='heat')


def test_a_csv_has_no_formulas_and_blanks_where_nothing_is_known():
    photos = [Photo(1, '=1+1.png', score=0.5), Photo(2, 'a,b.png', error='no image')]
    assert csv_text(photos).splitlines()[1:] == [
        './=1+1.png,0.500000,,,,,',
        '"a,b.png",,,,,,no image',
    ]
