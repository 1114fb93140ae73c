"""Label Studio's pages, used as a person uses them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.label_studio.e2e.server import PASSWORD, USER, RealStudio

SMART = "button.lsf-tool_smart"
PLACE = """() => {
  const image = Htx.annotationStore.selected.objects.find(object => object.type === 'image');
  const stage = image.stageRef.content.getBoundingClientRect();
  return {x: stage.x + image.zoomingPositionX, y: stage.y + image.zoomingPositionY,
          scale: image.stageWidth * image.zoomScale / image.naturalWidth};
}"""


class Editor:
    """One task, open in the browser. Points are y, x in pixels of the image."""

    def __init__(self, page: Any, folder: Path) -> None:
        self.page = page
        self.folder = folder

    @classmethod
    @contextmanager
    def opened(cls, browser: Any, studio: RealStudio, path: str, folder: Path) -> Iterator[Editor]:
        """Log in and open a page."""
        page = browser.new_page(viewport={"width": 1400, "height": 860})
        try:
            page.goto(f"{studio.url}/user/login/")
            page.fill("input[name=email]", USER)
            page.fill("input[name=password]", PASSWORD)
            page.click("button[type=submit]")
            page.wait_for_url(lambda url: "login" not in url, timeout=20000)
            page.goto(f"{studio.url}{path}")
            yield cls(page, folder)
        except Exception:
            page.screenshot(path=folder / "failed.png")
            raise
        finally:
            page.close()

    def show(self, name: str) -> None:
        """Keep a picture of what is seen."""
        self.page.wait_for_timeout(300)  # what fades in is seen
        self.page.screenshot(path=self.folder / f"{name}.png")

    def wait_for_image(self) -> None:
        self.page.wait_for_selector("canvas", timeout=20000)
        self.page.wait_for_function("() => Htx.annotationStore.selected?.objects?.[0]?.stageRef", timeout=20000)
        self.page.wait_for_timeout(1000)  # the page arranges itself

    def annotate_automatically(self) -> None:
        self.page.locator("label:has([data-testid=bottombar-auto-annotation-toggle])").click()
        self.page.wait_for_selector(SMART)

    def choose(self, tool: str, label: int) -> None:
        """Choose a label, counted from 0 over all tags, and a smart tool."""
        self.page.locator(".lsf-label").nth(label).click()
        self.page.locator(SMART).first.hover()
        self.page.locator(f"{SMART}[aria-label={tool}]").first.click()
        self.page.mouse.move(300, 700)

    def click(self, point: tuple[float, float], *, negative: bool = False) -> dict[str, Any]:
        """Click, with Alt for a negative point; return what the backend is asked."""
        if negative:
            self.page.keyboard.down("Alt")
        with self._answered() as answer:
            self.page.mouse.click(*self._place(point))
        if negative:
            self.page.keyboard.up("Alt")
        return self._suggested(answer.value)

    def drag(self, start: tuple[float, float], stop: tuple[float, float]) -> dict[str, Any]:
        """Draw a box; return what the backend is asked."""
        self.page.mouse.move(*self._place(start))
        self.page.mouse.down()
        self.page.mouse.move(*self._place(((start[0] + stop[0]) / 2, (start[1] + stop[1]) / 2)))
        self.page.mouse.move(*self._place(stop))
        with self._answered() as answer:
            self.page.mouse.up()
        return self._suggested(answer.value)

    def accept(self) -> None:
        self.page.click("[data-testid=bottombar-accept-suggestions-button]")
        self.page.wait_for_function("() => Htx.annotationStore.selected.suggestions.size === 0")

    def submit(self) -> None:
        stored = self.page.expect_response(
            lambda answer: "/annotations" in answer.url and answer.request.method == "POST"
        )
        with stored as answer:
            self.page.get_by_role("button", name="Submit").click()
        assert answer.value.ok, answer.value.text()

    def _place(self, point: tuple[float, float]) -> tuple[float, float]:
        """Return x, y on the page of the middle of a pixel of the image."""
        place = self.page.evaluate(PLACE)
        return place["x"] + (point[1] + 0.5) * place["scale"], place["y"] + (point[0] + 0.5) * place["scale"]

    def _answered(self) -> Any:
        return self.page.expect_response(lambda answer: "interactive-annotating" in answer.url, timeout=20000)

    def _suggested(self, answer: Any) -> dict[str, Any]:
        self.page.wait_for_function("() => Htx.annotationStore.selected.suggestions.size > 0")
        asked: dict[str, Any] = json.loads(answer.request.post_data)["context"]
        return asked
