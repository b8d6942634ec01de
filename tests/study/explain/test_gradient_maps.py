"""Gradient maps against analytic gradients, differences and the axioms."""

import pytest
import torch

from metaiqa_plugin.archs.rankiqa_arch import RankIQA
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.study.explain.gradient_maps import (
    baseline_image,
    gradient_map,
    integrated_gradients,
    smooth_gradient_map,
)

MAPS = (gradient_map, smooth_gradient_map, integrated_gradients)


@pytest.fixture
def image():
    generator = torch.Generator().manual_seed(7)
    return torch.rand(1, 3, 5, 6, generator=generator, dtype=torch.float64)


@pytest.fixture
def weights():
    generator = torch.Generator().manual_seed(8)
    return torch.randn(1, 3, 5, 6, generator=generator, dtype=torch.float64)


def total(values):
    return values.sum((1, 2, 3), keepdim=True).flatten(1)


def test_the_gradient_of_a_linear_score_is_its_weights_summed_over_channels(
    image, weights
):
    found = gradient_map(lambda x: total(weights * x), image)
    torch.testing.assert_close(found, weights.abs().sum(1)[0])


def test_the_gradient_of_a_quadratic_score_is_that_at_the_image(image):
    found = gradient_map(lambda x: total(x**2), image)
    torch.testing.assert_close(found, (2 * image).sum(1)[0])
    assert not image.requires_grad


def test_the_map_of_a_network_agrees_with_finite_differences(tiny_network):
    network = tiny_network.double()
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, 80, 100, generator=generator, dtype=torch.float64)
    found = gradient_map(network, image)
    assert found.shape == (80, 100)
    step = 1e-6
    for row, column in ((0, 0), (40, 50), (79, 99), (13, 71)):
        changes = []
        for channel in range(3):
            scores = []
            for sign in (1, -1):
                moved = image.clone()
                moved[0, channel, row, column] += sign * step
                scores.append(network(moved).item())
            changes.append(abs(scores[0] - scores[1]) / (2 * step))
        assert found[row, column].item() == pytest.approx(sum(changes), rel=1e-3)


def test_networks_of_sub_images_have_maps_of_the_whole_image():
    torch.manual_seed(0)
    network = RankIQA('test_efficientnet', pretrained=False, crop_size=64, crops=4)
    found = gradient_map(network.eval(), torch.rand(1, 3, 100, 120))
    assert found.shape == (100, 120)
    for row in (slice(0, 20), slice(-20, None)):
        for column in (slice(0, 20), slice(-20, None)):
            assert found[row, column].any()


def test_noise_leaves_the_map_of_a_linear_score_as_it_is(image, weights):
    found = smooth_gradient_map(lambda x: total(weights * x), image, 0.5, copies=3)
    torch.testing.assert_close(found, weights.abs().sum(1)[0])


def test_noise_is_relative_to_the_range_and_gradients_keep_their_sign_in_the_mean():
    flat = torch.full((1, 3, 40, 40), 0.5, dtype=torch.float64)
    flat[..., :20] = 0.4
    flat[..., 20:] = 0.6
    wide = (flat - 0.5) * 4 + 0.5
    copies = 400
    for image, spread in ((flat, 0.2), (wide, 0.8)):

        def score(x, image=image):
            return total((x - image) ** 2) / 2

        one = smooth_gradient_map(score, image + 1e-9, noise=0.1, copies=1)
        # half normal of standard deviation 0.1 * spread, three channels
        expected = 3 * 0.1 * spread * (2 / torch.pi) ** 0.5
        assert one.mean().item() == pytest.approx(expected, rel=0.1)
        many = smooth_gradient_map(score, image + 1e-9, noise=0.1, copies=copies)
        assert many.mean().item() == pytest.approx(expected / copies**0.5, rel=0.1)


def test_a_seed_gives_the_same_map_and_torch_s_generator_stays(image):
    before = torch.get_rng_state()
    maps = [
        smooth_gradient_map(lambda x: total(x**3), image, 0.1, 2, seed)
        for seed in (1, 1, 2)
    ]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])


def test_integrated_gradients_of_a_cubic_score_are_its_terms(image, weights):
    found = integrated_gradients(
        lambda x: total(weights * x**3), image, 'black', steps=4
    )
    expected = (weights * image**3).sum(1)[0]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('baseline', ['blur', 'gray', 'black'])
def test_integrated_gradients_sum_to_the_difference_of_the_scores(baseline, image):
    def score(x):
        return torch.sigmoid(total(torch.sin(3 * x) * x.roll(1, -1)) / 10)

    found = integrated_gradients(score, image, baseline, steps=50)
    difference = score(image) - score(baseline_image(image, baseline))
    assert abs(difference.item()) > 1e-3
    assert found.sum().item() == pytest.approx(difference.item(), rel=1e-5)


def test_a_baseline_may_be_an_image(image):
    found = integrated_gradients(total, image, baseline=image - 0.25, steps=2)
    torch.testing.assert_close(found, torch.full_like(found, 0.75))
    with pytest.raises(UserError, match='baseline has shape'):
        integrated_gradients(total, image, baseline=image[..., :2])


def test_baselines_take_light_colour_or_detail(image):
    assert not baseline_image(image, 'black').any()
    gray = baseline_image(image, 'gray')
    torch.testing.assert_close(gray[0, :, 2, 3], image.mean((0, 2, 3)))
    assert gray.std((2, 3)).max() < 1e-9
    ramp = torch.linspace(0, 1, 160).expand(1, 3, 64, 160)
    noisy = ramp + 0.1 * (torch.arange(160) % 2)
    blurred = baseline_image(noisy, 'blur')
    assert blurred.shape == noisy.shape
    torch.testing.assert_close(
        blurred[..., 30:130], ramp[..., 30:130] + 0.05, rtol=0, atol=0.002
    )


def test_a_blurred_baseline_of_an_image_of_a_pixel_is_the_image():
    pixel = torch.rand(1, 3, 1, 1)
    assert torch.equal(baseline_image(pixel, 'blur'), pixel)


def without_gradient(x):
    return total(x).detach()


def by_numpy(x):
    return torch.from_numpy(x.numpy().sum(keepdims=True)).view(1, 1)


def by_steps(x):
    return total(torch.round(x * 255))


@pytest.mark.parametrize('map_of', MAPS)
@pytest.mark.parametrize('score', [without_gradient, by_numpy, by_steps])
def test_a_metric_without_gradient_is_told_so(map_of, score, image):
    with pytest.raises(UserError, match=r'no gradient.*quality map'):
        map_of(score, image)


@pytest.mark.parametrize('map_of', MAPS)
def test_a_gradient_that_is_not_finite_is_told(map_of, image):
    with pytest.raises(UserError, match='not finite'):
        map_of(lambda x: total(torch.sqrt(x - x.detach())), image)


def test_errors_of_the_metric_itself_are_not_hidden(image):
    def broken(x):
        raise RuntimeError('out of memory')

    with pytest.raises(RuntimeError, match='out of memory'):
        gradient_map(broken, image)


@pytest.mark.parametrize('map_of', MAPS)
def test_an_image_of_another_shape_is_refused(map_of):
    for shape in ((3, 8, 8), (2, 3, 8, 8), (1, 1, 8, 8)):
        with pytest.raises(UserError, match='expected \\(1, 3, H, W\\)'):
            map_of(total, torch.rand(shape))


@pytest.mark.parametrize(
    ('map_of', 'argument'),
    [
        (smooth_gradient_map, {'noise': 1.0}),
        (smooth_gradient_map, {'noise': -0.1}),
        (smooth_gradient_map, {'copies': 0}),
        (smooth_gradient_map, {'seed': -1}),
        (integrated_gradients, {'steps': 0}),
        (integrated_gradients, {'baseline': 'white'}),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(map_of, argument, image):
    with pytest.raises(UserError, match=next(iter(argument))):
        map_of(total, image, **argument)
