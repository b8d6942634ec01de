"""``python -m metaiqa_plugin.cli``: the ``metaiqa`` command."""

import sys

from metaiqa_plugin.cli import main

if __name__ == '__main__':
    sys.exit(main())
