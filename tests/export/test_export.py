"""Exported files against the metrics that they were made of."""

import itertools
import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
from metaiqa_plugin.archs.metaiqa_arch import (
    MetaIQA,
    MetaIQAConfig,
    longest_side,
    scaled_side,
    target_size,
)
from metaiqa_plugin.archs.rankiqa_arch import RankIQA
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.export import export, export_metric
from metaiqa_plugin.export.draft import SubImageScores, make_draft
from metaiqa_plugin.export.export import largest_difference
from metaiqa_plugin.files import sha256_of

TINY = 'test_efficientnet'
SUFFIXES = ('.onnx', '.torchscript.pt')
SIZES = ((512, 768), (97, 131), (20, 33), (64, 64), (63, 300), (128, 129))

ALONE = """
import json, sys
import numpy as np, onnxruntime, torch
pixels, onnx_file, torchscript_file = sys.argv[1:]
images = np.load(pixels)
session = onnxruntime.InferenceSession(onnx_file)
files = {'facts.json': ''}
model = torch.jit.load(torchscript_file, _extra_files=files)
scores = session.run(None, {'image': images})[0], model(torch.from_numpy(images))
facts = session.get_modelmeta().custom_metadata_map, json.loads(files['facts.json'])
packages = {name.split('.')[0] for name in sys.modules}
ours = sorted(packages & {'metaiqa_plugin', 'pyiqa', 'timm'})
print(json.dumps([[each.tolist() for each in scores], facts, ours]))
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('exported')


@pytest.fixture(scope='module')
def networks(folder):
    """Untrained networks by the names of their checkpoints."""
    torch.manual_seed(0)
    made = {
        'metaiqa': MetaIQA(TINY, pretrained=False, input_size=64, hidden=16),
        'rankiqa': RankIQA(TINY, pretrained=False, crop_size=48, resize=64, crops=4),
        'shallow': RankIQA('shallow', pretrained=False, crop_size=48, resize=64),
        'hyperiqa': HyperIQA(
            TINY, pretrained=False, crop_size=64, crops=2, sampling='random'
        ),
    }
    for name, network in made.items():
        # as untrained, batch normalisation would let scores depend on nothing
        spread_statistics(network)
        write_state_dict(folder / f'{name}.safetensors', network.state_dict())
    return made


def spread_statistics(network):
    """Weights that let an untrained network tell images apart."""
    network.train()
    with torch.no_grad():
        for _ in range(20):
            network(torch.rand(8, 3, 64, 64) * torch.rand(8, 3, 1, 1))
    network.eval()


@pytest.fixture(scope='module')
def images(photos):
    """(3, 96, 128, 3) uint8."""
    return np.stack(
        [np.asarray(read_rgb(path).resize((128, 96))) for path in photos[:3]]
    )


@pytest.fixture(scope='module')
def of_any_size(folder, networks):
    """The exports of MetaIQA, by suffix: file and what the export tells."""
    name = str(folder / 'metaiqa.safetensors')
    outs = [folder / f'metaiqa{suffix}' for suffix in SUFFIXES]
    return [(out, export_metric(name, out)) for out in outs]


def planes(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 255


def model_of(path):
    if path.suffix == '.onnx':
        session = onnxruntime.InferenceSession(str(path))
        return lambda image: torch.from_numpy(
            session.run(None, {'image': image.numpy()})[0]
        )
    return torch.jit.load(str(path))


def scores_of(network, images):
    with torch.inference_mode():
        return network(images)


@pytest.mark.parametrize('place', [0, 1], ids=SUFFIXES)
def test_scores_are_the_networks_at_any_size_and_number(
    of_any_size, networks, photos, place
):
    out, exported = of_any_size[place]
    model = model_of(out)
    seen = []
    for height, width in SIZES:
        photo = to_tensor(read_rgb(photos[3]).resize((width, height)))
        batch = torch.stack([photo, photo.flip(-1), 1 - photo])
        expected = scores_of(networks['metaiqa'], batch)
        assert model(batch) == pytest.approx(expected, abs=2e-5)
        assert model(batch[:1]) == pytest.approx(expected[:1], abs=2e-5)
        seen += expected.flatten().tolist()
    assert np.std(seen) > 1e-3
    assert 0 <= exported.difference <= 1e-4


def test_a_process_without_this_package_gives_the_scores_and_the_facts(
    of_any_size, networks, images, folder
):
    pixels = folder / 'pixels.npy'
    np.save(pixels, planes(images).numpy())
    paths = [str(pixels), *(str(out) for out, _ in of_any_size)]
    done = subprocess.run(
        [sys.executable, '-I', '-W', 'ignore', '-c', ALONE, *paths],
        check=True,
        capture_output=True,
        text=True,
    )
    scores, facts, ours = json.loads(done.stdout)
    expected = scores_of(networks['metaiqa'], planes(images))
    for found in scores:
        assert np.array(found) == pytest.approx(expected.numpy(), abs=2e-5)
    assert facts == [exported.facts for _, exported in of_any_size]
    assert ours == []
    told = facts[0]
    assert told['metric'] == 'metaiqa.safetensors'
    assert told['network'] == 'MetaIQA'
    assert told['input'] == 'float32 (batch, 3, height, width), RGB in [0, 1]'
    assert told['output'] == 'float32 (batch, 1)'
    assert (told['score_range'], told['better']) == ('0, 1', 'higher')
    assert told['weights_sha256'] == sha256_of(folder / 'metaiqa.safetensors')


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_bytes_and_a_fixed_size(folder, networks, images, suffix):
    out = folder / f'bytes{suffix}'
    name = str(folder / 'metaiqa.safetensors')
    exported = export_metric(name, out, (96, 128), 'uint8')
    assert exported.facts['input'] == 'uint8 (batch, 96, 128, 3), RGB'
    expected = scores_of(networks['metaiqa'], planes(images))
    model = model_of(out)
    assert model(torch.from_numpy(images)) == pytest.approx(expected, abs=2e-5)
    with pytest.raises(Exception, match=r'96|Expected'):
        model(torch.from_numpy(images[:, :-1]))


@pytest.mark.parametrize('network', ['rankiqa', 'hyperiqa'])
def test_torchscript_of_sub_images(folder, networks, images, network):
    out = folder / f'{network}.pt'
    export_metric(str(folder / f'{network}.safetensors'), out, (96, 128))
    expected = scores_of(networks[network], planes(images))
    assert expected.std() > 1e-4
    assert model_of(out)(planes(images)) == pytest.approx(expected, abs=2e-5)
    with pytest.raises(torch.jit.Error, match='images are 96x127, not 96x128'):
        model_of(out)(planes(images)[..., :-1])


def test_onnx_of_sub_images_has_no_path_of_this_machine(folder, networks, images):
    out = folder / 'shallow.onnx'
    export_metric(str(folder / 'shallow.safetensors'), out, (96, 128), 'uint8')
    expected = scores_of(networks['shallow'], planes(images))
    assert expected.std() > 1e-4
    model = model_of(out)
    assert model(torch.from_numpy(images)) == pytest.approx(expected, abs=2e-5)
    content = out.read_bytes()
    assert b'site-packages' not in content
    assert b'metaiqa_plugin/' not in content


@pytest.mark.parametrize('sampling', ['grid', 'uniform', 'centre', 'random'])
@pytest.mark.parametrize('size', [(96, 128), (48, 70), (40, 52)])
def test_sub_images_lie_where_the_network_has_them(sampling, size):
    crops = 1 if sampling == 'centre' else 4
    network = RankIQA(
        TINY, pretrained=False, crop_size=48, crops=crops, sampling=sampling
    )
    seen = []
    network.view_scores = lambda views: seen.append(views) or views.mean((1, 2, 3))
    image = torch.rand(1, 3, *size)
    SubImageScores(network.eval(), size)(image)
    assert torch.equal(seen[0], network.views(image))


@pytest.mark.parametrize('side', [64, 224, 255])
def test_the_target_size_in_torchscript_is_pythons(side):
    config = MetaIQAConfig(input_size=side)
    compiled, longest = torch.jit.script(scaled_side), longest_side(config)
    lengths = [*range(1, 60), 127, 128, 129, 255, 512, 765, 767, 4000]
    for size in itertools.product(lengths, lengths):
        found = tuple(compiled(each, min(size), side, longest) for each in size)
        assert found == target_size(size, config)


def test_the_target_size_in_the_graph_is_pythons(tmp_path, networks, folder):
    from metaiqa_plugin.export.onnx_file import write_onnx

    draft = make_draft(str(folder / 'metaiqa.safetensors'), None, 'float', loops=False)
    write_onnx(tmp_path / 'whole.onnx', draft)
    model = onnx.load(tmp_path / 'whole.onnx')
    model.graph.output.append(onnx.helper.make_tensor_value_info('size', 7, [2]))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for size in ((128, 129), (128, 131), (20, 33), (9, 700), (700, 9), (64, 64)):
        image = np.zeros((1, 3, *size), np.float32)
        [found] = session.run(['size'], {'image': image})
        assert tuple(found) == target_size(size, draft.network.config)
    assert target_size((128, 129), draft.network.config) == (64, 64)
    assert target_size((128, 131), draft.network.config) == (64, 66)


@pytest.mark.parametrize(
    'arguments',
    [
        {'interpolation': 'bicubic'},
        {'interpolation': 'bicubic', 'antialias': False, 'resize': 'squash'},
        {'antialias': False},
        {'levels': [3, 4], 'frozen': 2, 'standardised': True},
    ],
)
def test_every_resize_and_stages_are_exported(tmp_path, arguments):
    torch.manual_seed(0)
    network = MetaIQA(TINY, pretrained=False, input_size=64, hidden=16, **arguments)
    spread_statistics(network)
    write_state_dict(tmp_path / 'a.safetensors', network.state_dict())
    name = str(tmp_path / 'a.safetensors')
    assert export_metric(name, tmp_path / 'a.onnx').difference < 1e-4
    assert export_metric(name, tmp_path / 'a.pt').difference < 1e-6


def test_a_file_that_scores_otherwise_is_not_left_behind(
    tmp_path, folder, networks, monkeypatch
):
    name = str(folder / 'metaiqa.safetensors')
    right = export.open_torchscript
    monkeypatch.setattr(
        export, 'open_torchscript', lambda path: lambda image: right(path)(image) + 2e-4
    )
    with pytest.raises(UserError, match='scores a test photo'):
        export_metric(name, tmp_path / 'a.pt')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        (lambda right, image: right(image) * torch.nan, 'nan'),
        (lambda right, image: right(image)[:1], '1 scores of 3 images'),
        (lambda right, image: right(image[:, :, :64, :64]), 'test photo'),
        (lambda right, image: 1 / 0, 'fails on a test photo'),
    ],
)
def test_the_check_notices(folder, networks, model, message):
    draft = make_draft(str(folder / 'metaiqa.safetensors'), None, 'float', loops=True)
    assert largest_difference(draft, draft.network) < 1e-6
    with pytest.raises(UserError, match=message):
        largest_difference(draft, lambda image: model(draft.network, image))


def test_metrics_of_others_are_traced_at_one_size(tmp_path, images):
    import pyiqa

    out = tmp_path / 'entropy.pt'
    exported = export_metric('entropy', out, (96, 128), 'uint8')
    assert exported.facts['weights_sha256'] == 'none'
    assert exported.facts['better'] == 'higher'
    metric = pyiqa.create_metric('entropy', device='cpu')
    expected = [metric(Image.fromarray(image)).item() for image in images]
    found = model_of(out)(torch.from_numpy(images))
    assert found.flatten().tolist() == pytest.approx(expected, rel=1e-4)


def test_a_metric_that_cannot_be_followed_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"'piqe' cannot be exported"):
        export_metric('piqe', tmp_path / 'piqe.pt', (96, 128))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('name', 'out', 'pixels', 'message'),
    [
        ('metaiqa', 'a.tflite', 'float', "suffix '.tflite' is unknown"),
        ('metaiqa', 'there.pt', 'float', 'exists; give --overwrite'),
        ('metaiqa', 'a.pt', 'double', "pixels='double'"),
        ('rankiqa', 'a.pt', 'float', 'input=dynamic'),
        ('entropy', 'a.onnx', 'float', 'input=dynamic'),
        ('ssim', 'a.onnx', 'float', "'ssim' is not a no-reference"),
    ],
)
def test_bad_arguments_are_named(tmp_path, name, out, pixels, message):
    (tmp_path / 'there.pt').touch()
    with pytest.raises(UserError, match=message):
        export_metric(name, tmp_path / out, None, pixels)
    assert [path.name for path in tmp_path.iterdir()] == ['there.pt']


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, 'metaiqa_plugin.export.onnx_file', False)
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(UserError, match=r'metaiqa_plugin\[export\]'):
        export_metric('metaiqa', tmp_path / 'a.onnx')
