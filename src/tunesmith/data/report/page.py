"""What the web pages of `tunesmith data` share: their frame, their colours, one example with its labels coloured.

Every text of a row is escaped; pictures stand in the page itself, which needs nothing else. Knows nothing of files.
"""

from __future__ import annotations

import html
from itertools import groupby

from tunesmith.data.problem import RowProblem
from tunesmith.data.report.preview import PreviewedRow
from tunesmith.data.report.preview_parts import Segment, Stretch, describe_row, stretches
from tunesmith.data.report.thumbnails import draw_media

_STYLE = """
:root { color-scheme: light dark; --loss: light-dark(#d5f2da, #14452a); --media: light-dark(#dbe7fd, #1d3461);
  --prompt: light-dark(#eef0f3, #262b32); --edge: light-dark(#d0d4da, #3a3f47); --quiet: light-dark(#5b636e, #9aa3ae);
  --bad: light-dark(#fbdcdc, #5a1f1f); --doubt: light-dark(#fff0cc, #54420f); --ink: light-dark(#1f6f43, #5fd08f);
  --paper: light-dark(#ffffff, #16191d); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  background: var(--paper); }
section { border: 1px solid var(--edge); border-radius: 8px; margin: 1rem 0; padding: .75rem 1rem; }
section > h2:first-child { margin-top: 0; }
h2.row, h3.row { font-size: .875rem; font-weight: 500; color: var(--quiet); margin: 0 0 .5rem; }
pre { font: 13.5px/1.65 ui-monospace, "Noto Sans Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere;
  margin: 0; }
.l { background: var(--loss); } .m { background: var(--media); border-radius: 3px; }
pre span:hover { outline: 1px solid currentColor; }
figure { display: inline-block; margin: .75rem .75rem 0 0; vertical-align: top; } img { border-radius: 4px; }
figcaption { font-size: .75rem; color: var(--quiet); max-width: 160px; overflow-wrap: anywhere; }
.wide figcaption { max-width: 40rem; }
.bad { background: var(--bad); } .key span { padding: 0 .3em; }
"""


def page_head(title: str, *, style: str = "") -> str:
    """Everything before the page's own content."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Tunesmith: {html.escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}{style}</style></head>'
        "<body>\n"
    )


PAGE_TAIL = "</body></html>\n"

KEY = """<p class="key">As the model will see it. <span class="l">In the loss</span> <span class="m">media</span>
Point at a token to read its id.</p>
"""


def draw_row(row: PreviewedRow | RowProblem) -> str:
    """One example with its tokens and media, or why there is none."""
    if isinstance(row, RowProblem):
        return f'<section class="bad">{html.escape(str(row))}</section>\n'
    title = html.escape(describe_row(row).removeprefix("── "))
    body = "".join(map(_stretch, stretches(row)))
    media = "".join(draw_media(item) for item in row.trace.rendered.media)
    return f'<section><h2 class="row">{title}</h2>\n{body}{media}</section>\n'


def _stretch(stretch: Stretch) -> str:
    title = f"{stretch.name} · {stretch.num_tokens} tokens"
    head = f'<h3 class="row">{html.escape(title)}</h3>' if stretch.name else ""
    tokens = "".join(_media_run(part) if part.media else _tokens(part) for part in stretch.segments)
    return f"{head}<pre>{tokens}</pre>"


def _tokens(segment: Segment) -> str:
    css = ' class="l"' if segment.supervised else ""
    return "".join(
        f'<span{css} title="{number}">{html.escape(text)}</span>'
        for text, number in zip(segment.texts, segment.ids, strict=True)
    )


def _media_run(segment: Segment) -> str:
    pieces = []
    for (text, number), run in groupby(zip(segment.texts, segment.ids, strict=True)):
        count = len(list(run))
        times = f"×{count}" if count > 1 else ""
        pieces.append(f'<span class="m" title="{number}">{html.escape(text)}{times}</span>')
    return "".join(pieces)
