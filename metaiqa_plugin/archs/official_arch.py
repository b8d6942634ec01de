"""pyiqa's own MetaIQA class, kept under the metric name ``metaiqa-official``."""

from __future__ import annotations

from urllib.error import URLError

from pyiqa.archs.metaiqa_arch import MetaIQA as PyiqaMetaIQA

from metaiqa_plugin.errors import UserError

__all__ = ['MetaIQAOfficial']


class MetaIQAOfficial(PyiqaMetaIQA):
    """The inference wrapper that pyiqa 0.1.16 brings, unchanged but for one error.

    It fetches the authors' checkpoint from pyiqa's model hub. Without a network
    pyiqa ends in a bare ``URLError``; this class says what to do.

    Raises:
        UserError: the hub can not be reached and no local file was given.
    """

    def __init__(self, *args, **kwargs) -> None:
        try:
            super().__init__(*args, **kwargs)
        except (URLError, ConnectionError, TimeoutError) as error:
            raise UserError(
                "metric 'metaiqa-official' needs the authors' weights from pyiqa's "
                f'model hub, which can not be reached ({error}); give a local file '
                'with pretrained_model_path=FILE'
            ) from error
