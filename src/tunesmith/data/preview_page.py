"""Previewed examples as one web page that needs nothing else: colours, the id under the pointer, small pictures.

Every text of a row is escaped; pictures stand in the page itself. Knows nothing of files.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator
from itertools import groupby

from tunesmith.chat.message import Media
from tunesmith.data.preview import PreviewedRow, Segment, describe_row, segments
from tunesmith.data.problem import RowProblem
from tunesmith.errors import DataError
from tunesmith.media.image import open_image

_THUMBNAIL = 160

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Tunesmith: data preview</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --loss: light-dark(#d5f2da, #14452a); --media: light-dark(#dbe7fd, #1d3461);
  --edge: light-dark(#d0d4da, #3a3f47); --quiet: light-dark(#5b636e, #9aa3ae); --bad: light-dark(#fbdcdc, #5a1f1f); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
section { border: 1px solid var(--edge); border-radius: 8px; margin: 1rem 0; padding: .75rem 1rem; }
h2 { font-size: .875rem; font-weight: 500; color: var(--quiet); margin: 0 0 .5rem; }
pre { font: 13.5px/1.65 ui-monospace, "Noto Sans Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere;
  margin: 0; }
.l { background: var(--loss); } .m { background: var(--media); border-radius: 3px; }
pre span:hover { outline: 1px solid currentColor; }
figure { display: inline-block; margin: .75rem .75rem 0 0; vertical-align: top; } img { border-radius: 4px; }
figcaption { font-size: .75rem; color: var(--quiet); max-width: 160px; overflow-wrap: anywhere; }
.bad { background: var(--bad); } .key span { padding: 0 .3em; }
</style></head><body>
<h1>Data preview</h1>
<p class="key">As the model will see it. <span class="l">In the loss</span> <span class="m">images</span>
Point at a token to read its id.</p>
"""
_TAIL = "</body></html>\n"


def write_page(rows: Iterator[PreviewedRow | RowProblem]) -> Iterator[str]:
    """The page, piece by piece."""
    yield _HEAD
    for row in rows:
        yield _problem(row) if isinstance(row, RowProblem) else _example(row)
    yield _TAIL


def _problem(problem: RowProblem) -> str:
    return f'<section class="bad">{html.escape(str(problem))}</section>\n'


def _example(row: PreviewedRow) -> str:
    title = html.escape(describe_row(row).removeprefix("── "))
    tokens = "".join(_media_run(part) if part.media else _tokens(part) for part in segments(row))
    pictures = "".join(_picture(media) for media in row.trace.rendered.media)
    return f"<section><h2>{title}</h2>\n<pre>{tokens}</pre>{pictures}</section>\n"


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


def _picture(media: Media) -> str:
    name = html.escape(media.name)
    try:
        image = open_image(media)
    except DataError as error:
        return f"<figure><figcaption>{html.escape(str(error))}</figcaption></figure>"
    size = f"{image.width} × {image.height}"
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=80)
    data = base64.b64encode(encoded.getvalue()).decode("ascii")
    return (
        f'<figure><img alt="{name}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{name}<br>{size}</figcaption></figure>"
    )
