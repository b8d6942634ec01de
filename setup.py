"""Only what pyproject.toml cannot say: option files are beside the package, and in it
once it is installed."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=['metaiqa_plugin', 'metaiqa_plugin.*']),
        'metaiqa_plugin.options',
    ],
    package_dir={'metaiqa_plugin.options': 'options'},
)
