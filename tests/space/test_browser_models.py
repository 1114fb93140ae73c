"""Choosing a model in a real browser, from a Hub of our own: the switch, what stands in its way, and a way back."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub.server import FakeHub
from tests.space.conftest import started
from tests.space.test_models import GIB, TOY, checkpoint, published
from tests.space.visit import MIDDLES, Visit

pytestmark = pytest.mark.slow

SLOW, HUGE, ABSENT = "acme/slow", "acme/huge", "acme/absent"
__all__ = ["checkpoint"]


@pytest.fixture(scope="module")
def hub_of_models(checkpoint: Path) -> Iterator[FakeHub]:
    with FakeHub() as hub:
        for name in (TOY, SLOW, HUGE):
            published(hub, name, checkpoint)
        hub.repositories["model", HUGE].claims["model.safetensors"] = 4000 * GIB
        yield hub


@pytest.fixture(scope="module")
def offering(hub_of_models: FakeHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that offers the models of our Hub."""
    environment = {
        "HF_ENDPOINT": hub_of_models.url,
        "HF_HUB_CACHE": str(tmp_path_factory.mktemp("cache")),
        "HF_TOKEN": hub_of_models.token,
        "SAM_SPACE_MODELS": shlex.join([TOY, SLOW, HUGE, ABSENT]),
    }
    with started(tmp_path_factory, environment) as url:
        yield url


@pytest.fixture(scope="module")
def context(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1360, "height": 820}, accept_downloads=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield context
    context.close()


@pytest.fixture
def visit(context: Any, offering: str) -> Iterator[Visit]:
    visit = Visit(context, offering)
    yield visit
    assert visit.said == []
    assert [url for url in visit.asked if not url.startswith((offering, "data:", f"blob:{offering}"))] == []
    visit.page.close()


def row(name: str) -> str:
    return f".models li[data-model='{name}']"


def opened(visit: Visit, name: str, *states: str) -> None:
    """Open the menu, and wait until a model is in one of these states."""
    if not visit.find(".models").is_visible():
        visit.find("button.model").click()
    visit.page.wait_for_selector(", ".join(f"{row(name)}[data-state={state}]" for state in states))


def test_a_model_is_loaded_and_answers_and_the_objects_stay(visit: Visit, hub_of_models: FakeHub) -> None:
    visit.click(MIDDLES[0])
    before = visit.labels()
    opened(visit, TOY, "remote")
    facts = visit.find(f"{row(TOY)} small").inner_text()
    assert "licence mit" in facts
    assert "385 kB" in facts
    visit.find(f"{row(TOY)} button").click()
    visit.page.wait_for_selector(f"button.model[data-model='{TOY}']")
    assert "answers from now on" in visit.told
    assert not visit.find(".models").is_visible()
    visit.page.wait_for_function("document.querySelector('.facts').textContent.includes('toy on')")
    assert (visit.labels() == before).all()
    visit.done(lambda: visit.page.keyboard.press("n"))
    visit.click(MIDDLES[1])
    assert visit.count == 2
    models = [each["model"] for each in json.loads(visit.take("coco"))["annotations"]]
    assert models == ["cell", TOY]
    visit.find("[data-do=python]").click()
    visit.page.wait_for_function("document.querySelector('.told').textContent.startsWith('Copied')")
    commit = hub_of_models.repositories["model", TOY].head
    assert f'Sam.from_pretrained("{TOY}", revision="{commit}"' in visit.data("python")
    for count in (1, 0):
        visit.done(lambda: visit.find("[data-do=undo]").click())
        assert visit.count == count
    opened(visit, "cell", "loaded")
    visit.find(f"{row('cell')} button").click()
    visit.page.wait_for_selector("button.model[data-model=cell]")


def test_what_memory_would_not_hold_cannot_be_chosen_and_says_why(visit: Visit) -> None:
    opened(visit, HUGE, "large")
    assert visit.find(f"{row(HUGE)} button").is_disabled()
    assert "needs about 8589.9 GB of memory" in visit.find(f"{row(HUGE)} .why").inner_text()


def test_what_cannot_be_had_says_why_and_the_page_goes_on(visit: Visit) -> None:
    opened(visit, ABSENT, "away")
    visit.find(f"{row(ABSENT)} button").click()
    visit.page.wait_for_selector(".told.no")
    assert "does not have acme/absent" in visit.told
    visit.page.keyboard.press("Escape")
    assert not visit.find(".models").is_visible()
    visit.click(MIDDLES[0])
    assert visit.count == 1
    assert visit.find("button.model").get_attribute("data-model") == "cell"


def test_a_download_shows_how_far_it_is_and_can_be_cancelled(visit: Visit, hub_of_models: FakeHub) -> None:
    hub_of_models.fail(f"GET /{SLOW}/resolve/.*/model.safetensors", "slow", times=1)
    opened(visit, SLOW, "remote")
    visit.find(f"{row(SLOW)} button").click()
    visit.page.wait_for_selector(f"{row(SLOW)} progress[value]")
    assert "Downloading" in visit.find(f"{row(SLOW)} .way").inner_text()
    visit.click(MIDDLES[0])  # the page goes on meanwhile
    assert visit.count == 1
    if not visit.find(".models").is_visible():
        visit.find("button.model").click()
    visit.find(f"{row(SLOW)} button").click()
    visit.page.wait_for_function("document.querySelector('.told').textContent.startsWith('Stopped')")
    assert visit.find("button.model").get_attribute("data-model") == "cell"
    opened(visit, SLOW, "failed", "remote")
    visit.find(f"{row(SLOW)} button").click()
    visit.page.wait_for_selector(f"button.model[data-model='{SLOW}']")


def test_the_menu_is_used_with_the_keyboard(visit: Visit) -> None:
    visit.find(".canvas").focus()
    visit.page.keyboard.press("m")
    opened(visit, "cell", "present")
    visit.page.wait_for_function("document.activeElement.closest('.models')")
    visit.page.keyboard.press("Escape")
    assert not visit.find(".models").is_visible()
    assert visit.page.evaluate("document.activeElement.classList.contains('model')")


def test_on_a_phone_the_menu_fits(chromium: Any, offering: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    context = chromium.new_context(**phone)
    visit = Visit(context, offering)
    visit.find("button.model").tap()
    visit.page.wait_for_selector(row(TOY))
    box = visit.find(".models").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()
