"""Sizes of a checkout and of three walks through it; the standard library only.

    python studies/house/measure.py [--package metaiqa_plugin] [--json FILE]

Lines are all lines. A *room* is a folder with a .py file directly in it, the package's
own folder counted. A *name* is public if a module lists it in ``__all__``, or, where a
module has no ``__all__``, if it is a function or class of the module without a leading
underscore. Functions are all ``def``, methods and nested ones, too, from ``def`` to the
last line. An importer is another module of the package with an import of it anywhere;
``__init__.py`` files can be importers, and are left out of the modules with one
importer and of the short ones. Cycles are groups of modules that import each other,
in a circle, without what stands below ``if TYPE_CHECKING``: by the imports at the top
alone, and with those inside functions. For the walks, which want the package installed
in the Python that runs this, see walks.py.
"""

from __future__ import annotations

import argparse
import ast
import json
import statistics
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from walks import WALKS, walk

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SHORT = 60


class Module:
    """A parsed file.

    Attributes:
        name: dotted, as it is imported.
        is_package: it is an ``__init__.py``.
        lines: how many.
        functions: lines of each.
        imports: ``(node, inside a function, for type checkers only)``.
    """

    def __init__(self, path: Path, checkout: Path) -> None:
        parts = path.relative_to(checkout).with_suffix('').parts
        self.is_package = parts[-1] == '__init__'
        self.name = '.'.join(parts[:-1] if self.is_package else parts)
        text = path.read_text(encoding='utf-8')
        self.lines = len(text.splitlines())
        self.tree = ast.parse(text)
        self.functions = [
            node.end_lineno - node.lineno + 1
            for node in ast.walk(self.tree)
            if isinstance(node, FUNCTIONS)
        ]
        self.imports = list(_imports(self.tree))

    def listed(self) -> int:
        """Length of ``__all__``; -1 without one."""
        found = -1
        for node in self.tree.body:
            if isinstance(node, (ast.Assign, ast.AugAssign)):
                targets = getattr(node, 'targets', None) or [node.target]
                if any(getattr(target, 'id', '') == '__all__' for target in targets):
                    found = max(found, 0) + len(ast.literal_eval(node.value))
        return found

    def public_defs(self) -> int:
        return sum(
            isinstance(node, (*FUNCTIONS, ast.ClassDef)) and node.name[0] != '_'
            for node in self.tree.body
        )

    def imported(self, node: ast.Import | ast.ImportFrom, names: set[str]) -> set[str]:
        """Modules of the package that an import names."""
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        else:
            base = node.module or ''
            if node.level:
                up = node.level - self.is_package
                above = self.name.rsplit('.', up)[0] if up else self.name
                base = f'{above}.{base}' if base else above
            wanted = [f'{base}.{alias.name}' for alias in node.names]
            wanted = [name if name in names else base for name in wanted]
        return set(wanted) & names - {self.name}


def _imports(node: ast.AST, inside: bool = False, typing: bool = False) -> Iterator:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, inside, typing
        checked = isinstance(child, ast.If) and 'TYPE_CHECKING' in ast.dump(child.test)
        function = isinstance(child, FUNCTIONS)
        yield from _imports(child, inside or function, typing or checked)


def sizes(package: Path) -> dict:
    """Everything but the walks."""
    checkout = package.parent
    paths = sorted(package.rglob('*.py'))
    modules = [Module(path, checkout) for path in paths]
    names = {module.name for module in modules}
    lines = [module.lines for module in modules]
    functions = [count for module in modules for count in module.functions]
    listed = [module.listed() for module in modules]
    lacking = [module for module, n in zip(modules, listed, strict=True) if n < 0]
    importers, top, every = _graphs(modules, names)
    inside = [
        module.imported(node, names)
        for module in modules
        for node, in_function, _ in module.imports
        if in_function
    ]
    plain = [module for module in modules if not module.is_package]
    few = [module for module in plain if len(importers[module.name]) == 1]
    short = [module for module in plain if module.lines < SHORT]
    options = list((checkout / 'options').rglob('*.yml'))
    tests = list((checkout / 'tests').rglob('test_*.py'))
    return {
        'modules': len(modules),
        'lines': sum(lines),
        'top_level_entries': len(_entries(package)),
        'rooms': len({path.parent for path in paths}),
        'public_names_in_all': sum(n for n in listed if n > 0),
        'public_defs_without_all': sum(module.public_defs() for module in lacking),
        'lines_per_file': _spread(lines),
        'functions': len(functions),
        'lines_per_function': _spread(functions),
        'imports_inside_functions': len(inside),
        'imports_inside_functions_of_the_package': sum(map(bool, inside)),
        'modules_with_one_importer': len(few),
        f'modules_under_{SHORT}_lines': len(short),
        'modules_under_60_with_one_importer': len({*few} & {*short}),
        'import_cycles_at_the_top': _cycles(top),
        'import_cycles_with_functions': _cycles(every),
        'option_files': len(options),
        'option_lines': sum(map(_lines, options)),
        'test_files': len(tests),
        'test_lines': sum(map(_lines, tests)),
        'test_folder_lines': sum(map(_lines, (checkout / 'tests').rglob('*.py'))),
    }


def _entries(package: Path) -> list[Path]:
    left_out = ('__init__.py', '__pycache__')
    return [path for path in package.iterdir() if path.name not in left_out]


def _lines(path: Path) -> int:
    return len(path.read_text(encoding='utf-8').splitlines())


def _spread(values: list[int]) -> dict[str, float]:
    ninth = statistics.quantiles(values, n=10, method='inclusive')[-1]
    return {'median': statistics.median(values), 'p90': round(ninth, 1)}


def _graphs(modules: list[Module], names: set[str]) -> tuple[dict, dict, dict]:
    """Importers of each module; what each imports at the top, and anywhere."""
    importers, top, every = defaultdict(set), defaultdict(set), defaultdict(set)
    for module in modules:
        for node, in_function, typing in module.imports:
            for name in module.imported(node, names):
                importers[name].add(module.name)
                if not typing:
                    every[module.name].add(name)
                    if not in_function:
                        top[module.name].add(name)
    return importers, top, every


def _cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other."""
    reached = {name: _reached(graph, name) for name in list(graph)}
    groups = {
        tuple(sorted(other for other in there if name in reached.get(other, ())))
        for name, there in reached.items()
        if name in there
    }
    return [list(group) for group in sorted(groups)]


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    found, waiting = set(), [start]
    while waiting:
        new = graph.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def commit(checkout: Path) -> str:
    """Hash of the checkout's commit, and whether files differ from it."""
    git = ['git', '-C', str(checkout)]
    try:
        found = [*git, 'rev-parse', 'HEAD'], [*git, 'status', '--short', '-uno']
        head, changed = (
            subprocess.run(each, capture_output=True, text=True, check=True).stdout
            for each in found
        )
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'
    return head.strip() + (' and changes' if changed.strip() else '')


def show(found: dict, indent: str = '') -> None:
    """Print figures; lists as how many they hold."""
    for name, value in found.items():
        label = indent + name.replace('_', ' ')
        if isinstance(value, dict) and 'p90' in value:
            value = f'{value["median"]:g} at the median, {value["p90"]:g} at p90'
        if isinstance(value, dict):
            print(label)
            show(value, indent + '  ')
        elif isinstance(value, list):
            print(f'{label:44} {len(value)}')
        else:
            print(f'{label:44} {value}')


def main() -> None:
    """The command; see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--package', default='metaiqa_plugin', type=Path)
    parser.add_argument('--json', type=Path, help='file to write, with all lists')
    parser.add_argument('--no-walks', action='store_true', help='sizes only')
    options = parser.parse_args()
    package = options.package.resolve()
    found = {'commit': commit(package.parent), **sizes(package), 'walks': {}}
    with tempfile.TemporaryDirectory(prefix='walks-') as folder:
        for number, name in enumerate([] if options.no_walks else WALKS):
            work = Path(folder) / str(number)
            found['walks'][name] = walk(package, work, name)
    show(found)
    if options.json:
        text = json.dumps(found, indent=1) + '\n'
        options.json.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
