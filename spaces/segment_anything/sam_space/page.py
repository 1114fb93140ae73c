"""The page in gradio: one component that is all ours, and the endpoints for programs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.routing import Mount

from sam_space.api import Api, safe_image
from sam_space.desk import Desk
from sam_space.hints import Hints, links
from sam_space.server import STATIC, create_app

PREFIX = "/sam"
# The page finds its files beside itself, under whatever address it is served.
FILES = sorted(file.name for file in STATIC.iterdir() if file.suffix in (".js", ".css"))
HEAD = """
<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover">
<link rel="stylesheet" href="sam/static/style.css">
<script type="module">
const base = new URL("sam/", document.baseURI);
import(new URL("static/desk.js", base)).then((desk) => desk.deskAt(base));
</script>
"""
ON_LOAD = """
const base = new URL("sam/", document.baseURI);
import(new URL("static/main.js", base)).then((page) => page.start(element, base));
"""


def build(desk: Desk) -> gr.Blocks:
    """Make the page and the endpoints."""
    api = Api(desk)
    title = "Segment Anything for cells"
    with gr.Blocks(title=title, analytics_enabled=False, fill_width=True, delete_cache=(60, 600)) as demo:
        gr.HTML(html_template=(STATIC / "page.html").read_text("utf-8"), js_on_load=ON_LOAD, apply_default_css=False)
        with gr.Column(visible=False):
            image = safe_image(desk.limits.file_bytes)
            points = gr.Textbox("[]", label="points")
            box = gr.Textbox("[]", label="box")
            candidates = gr.Number(1, label="candidates", precision=0)
            answer = gr.JSON(label="answer")
            one, every = gr.Button(), gr.Button()
        shared: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 2, "show_progress": "hidden"}
        one.click(api.segment, [image, points, box, candidates], answer, api_name="segment", **shared)
        every.click(api.everything, [image], answer, api_name="everything", **shared)
    # In a Space gradio would put a bar on the page that asks the Hub, and Google for its letters; ours asks nobody.
    demo.space_id = None
    demo.queue(max_size=desk.limits.waiting, default_concurrency_limit=2)
    return demo


def launching(desk: Desk) -> dict[str, Any]:
    """Return how the page is launched: what is not needed is off, what is bounded has its bound."""
    return {
        "head": HEAD,
        "theme": gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        "app_kwargs": {
            "routes": [Mount(PREFIX, app=create_app(desk))],
            "middleware": [Middleware(Hints, link=links(FILES, "sam/static/"))],
        },
        "max_file_size": desk.limits.file_bytes,
        "mcp_server": find_spec("mcp") is not None,
        "run_history": False,
        "ssr_mode": False,
        "enable_monitoring": False,
        "show_error": False,
        "share": False,
        "pwa": False,
        "state_session_capacity": 100,
        "footer_links": ["api", "gradio"],
        "quiet": True,
    }
