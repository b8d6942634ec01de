"""``python -m metaiqa_plugin.train``: ``metaiqa train``, to be started by torchrun."""

import sys

from metaiqa_plugin.cli import main
from metaiqa_plugin.parallel import keep_freed_memory

if __name__ == '__main__':
    keep_freed_memory()
    sys.exit(main(['train', *sys.argv[1:]]))
