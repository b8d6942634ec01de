"""Learning a taste: what is trained on what, and what may be said of it."""

import math

import pytest
import torch

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score import score_network
from metaiqa_plugin.train.adapt import AdaptSettings, LabelledImages, adapt
from metaiqa_plugin.ui import taste
from metaiqa_plugin.ui.taste import (
    Taste,
    TasteJob,
    TastePlan,
    chance_limit,
    folds_of,
    learn_taste,
    mos_of_stars,
)

STARS = (5, 3, 1, 5, 3, 1, 5, 4, 2)
QUICK = AdaptSettings(steps=2, batch_size=4)


@pytest.fixture
def network(checkpoint):
    return MetaIQA(pretrained_model_path=str(checkpoint)).eval()


def plan(nine, **changes):
    paths = [str(path) for path in nine]
    given = {'leave_out': False, 'settings': QUICK} | changes
    return TastePlan(paths, STARS, **given)


def ignore(step, total):
    pass


def test_stars_are_mos():
    assert mos_of_stars((1, 2, 3, 4, 5)) == [0, 0.25, 0.5, 0.75, 1]


def test_every_photo_is_left_out_once():
    folds = folds_of(9, 4, 0)
    assert sorted(place for fold in folds for place in fold) == list(range(9))
    assert sorted(map(len, folds)) == [2, 2, 2, 3]
    assert folds == folds_of(9, 4, 0)
    assert folds != folds_of(9, 4, 1)


def test_it_is_the_adaptation_and_leaves_the_prior_alone(network, nine):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    learned = learn_taste(network, plan(nine), ignore)
    assert all(
        torch.equal(before[key], value) for key, value in network.state_dict().items()
    )
    assert learned.before == score_network(network, nine).tolist()
    adapt(network, LabelledImages(nine, mos_of_stars(STARS)), QUICK, progress=False)
    assert learned.after == score_network(network, nine).tolist()
    assert learned.left_out is None
    state = learned.network.state_dict()
    assert all(
        torch.equal(value, state[key]) for key, value in network.state_dict().items()
    )


def test_a_left_out_score_does_not_depend_on_its_own_rating(network, nine, monkeypatch):
    trained = []

    def noted(learner, labelled, *arguments, **options):
        trained.append(dict(zip(labelled.paths, labelled.mos, strict=True)))
        return adapt(learner, labelled, *arguments, **options)

    monkeypatch.setattr(taste, 'adapt', noted)
    learned = learn_taste(network, plan(nine, leave_out=True), ignore)
    paths = [str(path) for path in nine]
    assert sorted(trained[0]) == paths
    assert len(trained) == 5
    left_out = [{*paths} - {*used} for used in trained[1:]]
    assert sorted(path for group in left_out for path in group) == paths
    all_mos = dict(zip(paths, mos_of_stars(STARS), strict=True))
    for used in trained:
        assert used == {path: all_mos[path] for path in used}
    for used, group in zip(trained[1:], left_out, strict=True):
        copy = MetaIQA(pretrained_model_path=str(network_path(network, nine)))
        adapt(copy, LabelledImages([*used], [*used.values()]), QUICK, progress=False)
        for path in group:
            expected = score_network(copy, [path])[0]
            assert learned.left_out[paths.index(path)] == expected


def network_path(network, nine):
    from metaiqa_plugin.archs.checkpoint import write_state_dict

    path = nine[0].parent.parent / 'prior-of-taste.safetensors'
    write_state_dict(path, network.state_dict(), overwrite=True)
    return path


def test_steps_are_counted_over_all_rounds(network, nine):
    seen = []
    learn_taste(network, plan(nine, leave_out=True), lambda *step: seen.append(step))
    assert seen == [(step, 10) for step in range(1, 11)]


def test_correlations_are_with_the_stars():
    learned = Taste(None, [0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.5] * 3, (1, 2, 4))
    assert learned.srocc('before') == pytest.approx(1)
    assert learned.srocc('after') == pytest.approx(-1)
    assert math.isnan(learned.srocc('left_out'))


def test_chance_reaches_far_with_few_photos():
    assert chance_limit(17) == pytest.approx(0.49)
    assert chance_limit(3) == 1


@pytest.mark.parametrize(
    ('stars', 'message'),
    [((1, 2, 3, 4, 5, 1, 2), '7 photos are rated; at least 8'), ((4,) * 8, 'all rat')],
)
def test_too_few_or_equal_ratings_are_refused(stars, message):
    with pytest.raises(UserError, match=message):
        TastePlan(['x'] * len(stars), stars, False, QUICK)


def test_a_job_ends_done_cancelled_or_failed_with_the_users_name(network, nine):
    job = TasteJob(network, plan(nine), str)
    job.wait(60)
    assert (job.state, job.step, job.total) == ('done', 2, 2)
    assert job.seconds_left() == 0
    assert len(job.taste.after) == 9

    endless = plan(nine, settings=AdaptSettings(steps=10**6))
    job = TasteJob(network, endless, str)
    waiting = TasteJob(network, endless, str)
    assert job.running
    waiting.cancel()
    waiting.wait(60)
    assert (waiting.state, waiting.step) == ('cancelled', 0)
    job.cancel()
    job.wait(60)
    assert job.state == 'cancelled'
    assert job.taste is None

    gone = str(nine[0].parent / 'gone.png')
    names = {gone: 'mine.png'} | {str(path): path.name for path in nine[1:]}
    job = TasteJob(network, TastePlan([*names], STARS, False, QUICK), names.get)
    job.wait(60)
    assert job.state == 'failed'
    assert job.error == "image 'mine.png' does not exist"
