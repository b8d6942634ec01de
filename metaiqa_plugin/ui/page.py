"""The layout of the page, and which handler answers which event."""

from __future__ import annotations

from importlib.resources import files

import gradio as gr

from metaiqa_plugin.ui.handlers import BEST, WORST, Handlers
from metaiqa_plugin.ui.scoring import Metrics

__all__ = ['build_page', 'stylesheet', 'theme']

TITLE = (
    '<header><h1>How good do these photos look?</h1><p>Drop photos: each gets a score, '
    'without a reference to compare it with. Give stars to some, and the metric learns '
    'your taste.</p></header>'
)
TASTE = (
    '<p>Give 1 to 5 stars to photos in the sheet above, then let the metric learn '
    'from them: about a minute on one core, five with the check.</p>'
)
LEAVE_OUT = 'Check it on photos left out (the honest figure; takes five times as long)'
QUICK = {'queue': False, 'show_progress': 'hidden', 'api_visibility': 'private'}
LONG = {
    'concurrency_limit': None,
    'show_progress': 'hidden',
    'api_visibility': 'private',
    'trigger_mode': 'multiple',
}


def build_page(handlers: Handlers, metrics: Metrics) -> gr.Blocks:
    """The page; nothing of it is sent elsewhere."""
    with gr.Blocks(title='metaiqa', analytics_enabled=False) as page:
        gr.HTML(TITLE)
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                drop = gr.HTML(js_on_load=_asset('drop.js'), elem_id='drop')
            with gr.Column(scale=2, min_width=240):
                metric = gr.Dropdown(
                    [metrics.default], label='Metric', elem_id='metric'
                )
                order = gr.Radio([WORST, BEST], value=WORST, label='Order')
        status = gr.HTML(elem_id='status')
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                sheet = gr.HTML(js_on_load=_asset('sheet.js'), elem_id='sheet')
            with gr.Column(scale=2, min_width=320):
                shown = gr.HTML(elem_id='details')
        with gr.Accordion('Table and csv', open=False):
            table = gr.HTML(elem_id='table')
        with gr.Accordion('Teach it my taste', open=True, elem_id='taste'):
            gr.HTML(TASTE)
            missing = gr.HTML(elem_id='missing')
            leave_out = gr.Checkbox(True, label=LEAVE_OUT)
            with gr.Row():
                learn = gr.Button(
                    'Learn my taste', variant='primary', interactive=False
                )
                cancel = gr.Button('Cancel', visible=False)
            result = gr.HTML(elem_id='result')
        view, taste = [status, sheet, table], [missing, learn]
        loaded = [drop, metric, *view, shown, *taste]
        page.load(handlers.load, None, loaded, **QUICK)
        page.unload(handlers.unload)
        drop.sent(handlers.sent, order, [metric, *view], **LONG).then(
            handlers.taste, None, taste, **QUICK
        )
        metric.input(handlers.choose, [metric, order], view, **LONG).then(
            handlers.taste, None, taste, **QUICK
        )
        order.change(handlers.sort, order, view, **QUICK)
        sheet.pick(handlers.pick, None, shown, **LONG)
        sheet.rate(handlers.rate, None, taste, trigger_mode='multiple', **QUICK)
        learned = [result, learn, cancel, metric, *view]
        learn.click(handlers.learn, [leave_out, order], learned, **LONG)
        cancel.click(handlers.cancel, None, None, **QUICK)
    return page


def theme() -> gr.themes.Base:
    """Colours and fonts, of which none is loaded."""
    return gr.themes.Default(
        primary_hue='blue',
        font=['system-ui', 'sans-serif'],
        font_mono=['ui-monospace', 'monospace'],
    )


def stylesheet() -> str:
    """The page's own CSS."""
    return _asset('page.css')


def _asset(name: str) -> str:
    return files('metaiqa_plugin.ui').joinpath('assets', name).read_text('utf-8')
