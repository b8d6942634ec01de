"""Adaptation: that it learns, repeats, saves what is needed, and refuses bad labels."""

import csv

import numpy as np
import pytest
import torch

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score import correlate, score_network
from metaiqa_plugin.train import adapt as adapt_module
from metaiqa_plugin.train.adapt import (
    AdaptSettings,
    LabelledImages,
    adapt,
    gain_of,
    read_labels,
)

QUICK = AdaptSettings(steps=60, batch_size=16, lr=3e-3, lr_head=3e-3)


def blurred(database):
    table = str(database / 'meta_info_small.csv')
    rows = read_rows(
        DatabaseOptions(table, 'x', (1, 5), keep_distortions=['gaussian_blur'])
    )
    return LabelledImages(
        [database / 'images' / row.image for row in rows], [row.mos for row in rows]
    )


def fresh():
    torch.manual_seed(0)
    return MetaIQA('test_efficientnet', pretrained=False, input_size=64, hidden=16)


@pytest.mark.parametrize('batchnorm', ['running', 'frozen'])
def test_it_learns_the_labels_it_is_given(database, batchnorm):
    labelled = blurred(database)
    network = fresh()
    settings = AdaptSettings(**(vars(QUICK) | {'batchnorm': batchnorm}))
    before = correlate(score_network(network, labelled.paths), labelled.mos).srocc
    losses = adapt(network, labelled, settings, progress=False).losses
    after = correlate(score_network(network, labelled.paths), labelled.mos).srocc
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert after > max(before, 0.6)
    assert not network.training


def test_frozen_statistics_stay(database):
    network = fresh()
    before = network.backbone.bn1.running_mean.clone()
    settings = AdaptSettings(steps=2, batchnorm='frozen')
    adapt(network, blurred(database), settings, progress=False)
    assert torch.equal(network.backbone.bn1.running_mean, before)
    adapt(network, blurred(database), AdaptSettings(steps=2), progress=False)
    assert not torch.equal(network.backbone.bn1.running_mean, before)


def frozen():
    torch.manual_seed(0)
    return MetaIQA(
        'test_efficientnet',
        pretrained=False,
        input_size=64,
        hidden=16,
        levels=[3, 4],
        frozen=2,
        standardised=True,
    )


def same(state, before):
    return bool(before) and all(torch.equal(state[k], v) for k, v in before.items())


def copied(state):
    return {key: value.clone() for key, value in state.items()}


def test_frozen_stages_stay_and_the_rest_learns_from_their_maps(database):
    network = frozen()
    before = copied(network.backbone.frozen_state())
    labelled = blurred(database)
    settings = AdaptSettings(**(vars(QUICK) | {'lr_head': 3e-2}))
    losses = adapt(network, labelled, settings, progress=False).losses
    after = correlate(score_network(network, labelled.paths), labelled.mos).srocc
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert after > 0.6
    assert same(network.backbone.frozen_state(), before)


@pytest.mark.parametrize('make', [fresh, frozen])
def test_few_labels_fit_the_last_layer_alone(database, make):
    network, paths = make(), blurred(database).paths
    scores = score_network(network, paths)
    labelled = LabelledImages(paths, np.clip(0.8 + 3 * (scores - scores.mean()), 0, 1))
    before = copied(network.state_dict())
    errors = [error_of(network, labelled)]
    found = adapt(network, labelled, progress=False)
    errors.append(error_of(network, labelled))
    last = [f'head.{name}' for name, _ in network.head.named_parameters()][-2:]
    kept = {key: value for key, value in before.items() if key not in last}
    assert same(network.state_dict(), kept)
    assert not same(network.state_dict(), before)
    assert found.fitted in ('offset', 'line', 'layer') and found.losses == []
    assert errors[1] < 0.1 * errors[0]
    assert found.gain.error[0] == pytest.approx(errors[0], abs=1e-6)
    assert found.gain.error[1] < 0.2 * errors[0]
    assert not network.training


def error_of(network, labelled):
    scores = score_network(network, labelled.paths)
    return np.sqrt(np.mean((scores - np.array(labelled.mos)) ** 2))


def test_labels_that_say_nothing_change_little(database):
    network, labelled = fresh(), blurred(database)
    scores = score_network(network, labelled.paths)
    adapt(network, LabelledImages(labelled.paths, scores.tolist()), progress=False)
    after = score_network(network, labelled.paths)
    np.testing.assert_allclose(after, scores, atol=1e-4)


@pytest.mark.parametrize('better', [True, False])
def test_many_labels_train_the_stages_if_labels_left_out_speak_for_it(
    database, monkeypatch, better
):
    labelled = blurred(database)
    monkeypatch.setattr(adapt_module, 'MANY', len(labelled.paths))
    rates = {'lr': 3e-3, 'lr_head': 3e-3} if better else {'lr': 0.2, 'lr_head': 0.2}
    told = []
    network = fresh()
    found = adapt(
        network,
        labelled,
        AdaptSettings(batch_size=2, **rates),
        progress=False,
        on_step=lambda *step: told.append(step),
    )
    images = len(labelled.paths)
    held = -(-images // 5)
    trial, all_of_them = (8 * -(-count // 2) for count in (images - held, images))
    assert (found.fitted == 'stages') == better
    assert len(found.losses) == all_of_them * better
    assert told[-1][:2] == (trial + all_of_them * better, trial + all_of_them)
    if not better:
        alone = fresh()
        adapt(alone, labelled, AdaptSettings(steps=0), progress=False)
        assert same(network.state_dict(), alone.state_dict())


def test_given_steps_are_taken_without_a_trial(database):
    found = adapt(fresh(), blurred(database), AdaptSettings(steps=2), progress=False)
    assert (found.fitted, len(found.losses), found.gain) == ('stages', 2, None)


def test_a_gain_is_paired_and_has_its_interval():
    generator = np.random.default_rng(5)
    mos = generator.random(200)
    before = mos + 0.2 * generator.standard_normal(200)
    after = mos + 0.5 * (before - mos)
    gain = gain_of(mos, before, after)
    error = np.sqrt(np.mean((before - mos) ** 2))
    assert gain.error == pytest.approx((error, error / 2))
    assert gain.less_error[0] < error / 2 < gain.less_error[1]
    assert gain.srocc[0] == pytest.approx(correlate(before, mos).srocc)
    assert gain.more_srocc[0] > 0 and gain.seen
    back = gain_of(mos, after, before)
    assert not back.seen and back.less_error[1] < 0
    flat = gain_of(mos, before, np.full(200, 0.5))
    assert np.isnan(flat.srocc[1])


def test_none_stands_for_what_suits_the_network():
    assert AdaptSettings().for_network(frozen()).batchnorm == 'frozen'
    assert AdaptSettings().for_network(fresh()).batchnorm == 'running'
    given = AdaptSettings(batchnorm='running')
    assert given.for_network(frozen()) == given


def test_same_seed_same_weights_and_random_state_untouched(database):
    def run(seed):
        network = fresh()
        torch.manual_seed(99)
        settings = AdaptSettings(steps=3, seed=seed)
        adapt(network, blurred(database), settings, progress=False)
        return network.state_dict(), torch.rand(1)

    (one, after_one), (two, _), (other, _) = run(1), run(1), run(2)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)
    torch.manual_seed(99)
    assert torch.equal(after_one, torch.rand(1))


@pytest.mark.parametrize(('images', 'steps'), [(5, 0), (199, 0), (200, 80 + 104)])
def test_default_number_of_steps(images, steps):
    assert AdaptSettings().total_steps(images) == steps


@pytest.mark.parametrize(
    ('setting', 'value'),
    [
        ('steps', -1),
        ('batch_size', 1),
        ('lr', '1e-4'),
        ('lr_head', float('inf')),
        ('batchnorm', 'off'),
        ('precision', 'fp16'),
        ('seed', -1),
        ('crop_size', 2.5),
    ],
)
def test_bad_settings_name_themselves(setting, value):
    with pytest.raises(UserError, match=setting):
        AdaptSettings(**{setting: value})


def test_a_crop_larger_than_the_image_is_refused(database):
    with pytest.raises(UserError, match='crop_size=80'):
        adapt(fresh(), blurred(database), AdaptSettings(crop_size=80), progress=False)


def test_divergence_is_an_error(database):
    settings = AdaptSettings(steps=5, lr=1e30, lr_head=1e30)
    with pytest.raises(UserError, match='diverged'):
        adapt(fresh(), blurred(database), settings, progress=False)


def test_each_step_is_told_and_what_is_raised_ends_it(database):
    told = []
    settings = AdaptSettings(steps=3)

    def on_step(*step):
        told.append(step)

    losses = adapt(fresh(), blurred(database), settings, False, on_step).losses
    assert told == [(number, 3, losses[number - 1]) for number in (1, 2, 3)]

    def stopping(step, total, loss):
        told.append(step)
        if step == 2:
            raise InterruptedError

    told.clear()
    with pytest.raises(InterruptedError):
        adapt(fresh(), blurred(database), settings, False, stopping)
    assert told == [1, 2]


@pytest.fixture
def labels(tmp_path, small_photos):
    """Writes a csv of the six photos, as changed by the caller."""

    def write(header=('image', 'mos'), change=None, drop=0):
        names = sorted(path.name for path in small_photos.iterdir())[drop:]
        rows = [[name, str(10 * index + 20)] for index, name in enumerate(names)]
        if change:
            change(rows)
        path = tmp_path / 'labels.csv'
        with path.open('w', newline='') as file:
            csv.writer(file).writerows([header, *rows])
        return path

    return write


def test_labels_are_joined_and_normalised(small_photos, labels):
    labelled = read_labels(small_photos, labels(), (0, 100))
    assert np.allclose(labelled.mos, [0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    flipped = read_labels(small_photos, labels(), (20, 120), lower_better=True)
    assert np.allclose(flipped.mos, [1, 0.9, 0.8, 0.7, 0.6, 0.5])
    columns = {'image_column': 'file', 'score_column': 'dmos'}
    path = labels(header=('file', 'dmos'))
    assert read_labels(small_photos, path, (0, 100), **columns).mos == labelled.mos


@pytest.mark.parametrize(
    ('arguments', 'written', 'message'),
    [
        ({}, {}, r'score 20 of image .* outside the range 0 to 1'),
        ({}, {'header': ('image', 'votes')}, "columns .*'votes'.* and mos_column"),
        (
            {'score_range': (0, 100)},
            {'change': lambda rows: [row.__setitem__(1, 50) for row in rows]},
            'all 6 labels are the same',
        ),
        ({'score_column': 'm'}, {}, r"no column 'm'"),
        ({'score_range': (0, 100)}, {'drop': 2}, '2 images of .* have no row'),
        (
            {'score_range': (0, 100)},
            {'change': lambda rows: rows.append(rows[0])},
            r'row 8: image .* has a row already, row 2',
        ),
        (
            {'score_range': (0, 100)},
            {'change': lambda rows: rows[2].__setitem__(1, '')},
            "row 4: mos='' is not a number",
        ),
        (
            {'score_range': (0, 100)},
            {'change': lambda rows: rows[2].__setitem__(1, 'nan')},
            "row 4: mos='nan'",
        ),
        (
            {'score_range': (0, 100)},
            {'change': lambda rows: rows[2].__setitem__(0, 'x.png')},
            r"'x\.png'",
        ),
        ({}, {'change': lambda rows: rows.clear()}, 'has no row'),
    ],
)
def test_bad_labels_are_named(small_photos, labels, arguments, written, message):
    with pytest.raises(UserError, match=message):
        read_labels(small_photos, labels(**written), **arguments)


def test_unlabelled_images_may_be_left_out(small_photos, labels):
    labelled = read_labels(
        small_photos, labels(drop=1), (0, 100), allow_unlabelled=True
    )
    assert len(labelled.paths) == 5


def test_labelled_images_check_themselves():
    with pytest.raises(UserError, match='2 paths but 1 mos'):
        LabelledImages(['a', 'b'], [0.5])
    with pytest.raises(UserError, match='at least 5'):
        LabelledImages(['a'] * 4, [0.5] * 4)
    with pytest.raises(UserError, match=r'reaches from 0\.5 to 50'):
        LabelledImages(['a'] * 5, [0.5, 0.6, 0.7, 0.8, 50])
