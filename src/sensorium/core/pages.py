"""HTML pages that open from disk: one file, no network, readable on a telephone, every value escaped.

A room keeps its templates in `<room>/templates/` beside its code; each extends `core/templates/page.html`. Templates
are always
autoescaped: titles and texts of items are other people's words.
"""

from __future__ import annotations

import base64
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.core.files import write_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from matplotlib.figure import Figure
    from PIL.Image import Image


def write_page(path: str | Path, title: str, template: str, **context: Any) -> None:
    """Render a template to one HTML file.

    Args:
        path: The file to write.
        title: The title of the page.
        template: Path of the template inside the package, "experiments/templates/report.html".
        **context: The template's values. Text is escaped; only `Markup` (figures, pictures) is not.
    """
    write_text(path, _environment().get_template(template).render(title=title, **context))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    package = Path(__file__).resolve().parent.parent
    return Environment(
        loader=FileSystemLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def figure(plot: Figure, *, description: str) -> Markup:
    """Return a matplotlib figure as inline SVG and close it.

    Args:
        plot: The figure.
        description: What it shows, in one sentence, for those who cannot see it.
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    from markupsafe import Markup, escape

    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "sensorium", "svg.fonttype": "none"}):
        plot.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(plot)
    text = stream.getvalue()
    svg = text[text.index("<svg") :]
    return Markup('<figure class="plot" role="img" aria-label="{}">{}</figure>').format(
        escape(description), Markup(svg)
    )


def picture(image: Image, *, description: str, width: int | None = None) -> Markup:
    """Return a picture as an inline PNG."""
    from markupsafe import Markup

    stream = io.BytesIO()
    image.save(stream, format="PNG")
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return Markup('<img src="data:image/png;base64,{}" alt="{}" width="{}">').format(
        data, description, width or image.width
    )
