"""The templates of the report, and how text and tables are written in Markdown."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from metaiqa_plugin.benchmark.report.table_model import Table

__all__ = ['render']

MARKDOWN_SPECIAL = re.compile(r'([\\`*_|<>\[\]])')


def render(template: str, **known: Any) -> str:
    """A template filled in."""
    environment = Environment(
        loader=PackageLoader('metaiqa_plugin.benchmark.report', 'templates'),
        autoescape=lambda name: not name.endswith('.md'),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        'markup': Markup,
        'markdown': _markdown,
        'markdown_table': _markdown_table,
        'fenced': _fenced,
        'breakable': _breakable,
    }
    return environment.get_template(template).render(known)


def _markdown(text: Any) -> str:
    return MARKDOWN_SPECIAL.sub(r'\\\1', ' '.join(str(text).split()))


def _breakable(text: str) -> Markup:
    """Escaped, with places where a long name may go on in the next line."""
    parts = re.split(r'(?<=[_/.-])(?=\w{2})', text)
    return Markup('<wbr>').join(parts)


def _fenced(text: str) -> str:
    fence = '`' * max(3, 1 + max(map(len, re.findall('`+', text)), default=0))
    return f'{fence}\n{text.rstrip()}\n{fence}'


def _markdown_table(table: Table) -> str:
    titles = [
        f'{column.group}: {column.title}' if column.group else column.title
        for column in table.columns
    ]
    rules = ['---:' if column.numeric else '---' for column in table.columns]
    lines = [[_markdown(title) for title in titles], rules]
    for row in table.rows:
        texts = [
            f'**{_markdown(cell.text)}**' if cell.best else _markdown(cell.text)
            for cell in row.cells
        ]
        if row.kind == 'published':
            texts[0] += ' (published)'
        lines.append(texts)
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)
