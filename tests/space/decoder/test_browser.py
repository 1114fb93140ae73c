"""The decoder in a real browser, on the real onnxruntime-web, answers as `segment` does on the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam_core import Masks, Prompt, Sam, segment
from sam_space.decoder.features import features_of
from tests.space.decoder.prompts import SCENES, prompts, scene
from tests.space.decoder.site import ISOLATED, Visitor, drawn, serving

pytestmark = pytest.mark.slow

HEADERS = {"plain": {}, "isolated": ISOLATED}


@pytest.fixture(scope="module", params=HEADERS)
def visitor(
    request: pytest.FixtureRequest, chromium: Any, onnx_file: Path, runtime: Path, meta: dict[str, Any]
) -> Iterator[Visitor]:
    """A page that has the decoder: once without the headers that threads need, once with them."""
    with serving(onnx_file, runtime, HEADERS[request.param]) as site:
        found = Visitor(chromium, site)
        found.load(meta)
        yield found
        found.context.close()


@pytest.fixture
def page(chromium: Any, onnx_file: Path, runtime: Path) -> Iterator[Visitor]:
    """A page that has nothing yet."""
    with serving(onnx_file, runtime, {}) as site:
        found = Visitor(chromium, site)
        yield found
        found.context.close()


def _compare(found: dict[str, Any], expected: Masks, shape: tuple[int, int], what: str) -> None:
    assert len(found["masks"]) == len(expected), what
    if not len(expected):
        assert found["best"] == -1
        return
    assert found["best"] == int(np.argmax(expected.scores)), what
    for ours, theirs, score in zip(found["masks"], expected.dense(), expected.scores, strict=True):
        assert ours["score"] == pytest.approx(score, abs=1e-4), what
        mask = drawn(ours["bitmap"], shape)
        assert (mask & theirs).sum() >= 0.99 * (mask | theirs).sum(), what


@pytest.mark.parametrize("name", SCENES)
def test_it_answers_as_segment_does(visitor: Visitor, sam: Sam, name: str) -> None:
    shown = scene(sam, name)
    visitor.show(name.replace(" ", "-"), shown.embedding)
    for kind, asked in prompts(sam, shown).items():
        for i, prompt in enumerate(asked):
            for candidates in (3,) if kind == "click" else (1, 3):
                expected = segment(sam, shown.embedding, prompt, candidates=candidates)
                found = visitor.decode(prompt, candidates)
                _compare(found, expected, shown.embedding.image_shape, f"{name}, {kind} {i}, {candidates}")


def test_a_preview_shows_what_the_click_will_give(visitor: Visitor, sam: Sam) -> None:
    """The best candidate of a lone click is the mask that `segment` gives when it is asked for one."""
    shown = scene(sam, "wide")
    visitor.show("wide", shown.embedding)
    for click in shown.clicks:
        expected = segment(sam, shown.embedding, Prompt.of([click]))
        found = visitor.decode(Prompt.of([click]))
        found = {**found, "masks": [found["masks"][found["best"]]], "best": 0}
        _compare(found, expected, shown.embedding.image_shape, str(click))


@pytest.mark.parametrize("name", SCENES)
def test_features_of_half_the_size_give_almost_the_same_previews(page: Visitor, sam: Sam, name: str, meta: Any) -> None:
    page.load(meta)
    shown = scene(sam, name)
    page.show(name.replace(" ", "-"), shown.embedding, bits=8)
    pixels = []
    for click in shown.clicks:
        expected = segment(sam, shown.embedding, Prompt.of([click]), candidates=3)
        found = page.decode(Prompt.of([click]))
        best = int(np.argmax(expected.scores))
        assert found["best"] == best
        ours, theirs = drawn(found["masks"][best]["bitmap"], expected.shape), expected.dense()[best]
        pixels.append(((ours ^ theirs).sum(), (ours | theirs).sum()))
    # Of a click beside all cells a dozen pixels may be left: one of them is more than a hundredth, and no more to see.
    assert all(other <= max(3, 0.03 * both) for other, both in pixels), pixels
    assert np.mean([other / both for other, both in pixels if both >= 100]) <= 0.01


def test_a_hurried_preview_is_the_answer_of_the_closest_view(visitor: Visitor, sam: Sam) -> None:
    """Over the ground a preview is given without a look from further away when the pointer has moved on."""
    shown = scene(sam, "wide")
    visitor.show("wide", shown.embedding)
    answers = visitor.page.evaluate(
        """async (points) => {
            const found = [];
            for (const point of points) {
                const alone = await decoder.preview({points: [point]});
                const pair = [decoder.preview({points: [point]}), decoder.preview({points: [point]})];
                const [hurried, last] = await Promise.all(pair);
                found.push([alone, hurried, last].map(({complete, runs, masks, best}) =>
                    ({complete, runs, score: masks[best]?.score ?? null})));
            }
            return found;
        }""",
        [[float(x), float(y), 1] for y in range(20, 400, 90) for x in range(20, 700, 130)],
    )
    for alone, hurried, last in answers:
        assert alone == last
        assert alone["complete"]
        assert hurried == alone if hurried["complete"] else hurried["runs"] < alone["runs"]
        assert hurried["complete"] or hurried["score"] is None or hurried["score"] < 0.5
    assert {hurried["complete"] for _, hurried, _ in answers} == {True, False}


def test_threads_are_used_where_the_page_may(visitor: Visitor) -> None:
    isolated = visitor.page.evaluate("crossOriginIsolated")
    shared = visitor.page.evaluate("typeof SharedArrayBuffer")
    assert (isolated, shared) in [(False, "undefined"), (True, "function")]


def test_nothing_is_asked_of_anybody_else_and_nothing_complains(visitor: Visitor) -> None:
    assert {url.split("/")[2] for url in visitor.requests if not url.startswith("data:")} == {visitor.site.url[7:-1]}
    assert len({url for url in visitor.requests if "/ort/" in url}) >= 3
    assert not visitor.errors


def test_of_many_previews_the_first_and_the_last_are_answered(visitor: Visitor, sam: Sam) -> None:
    shown = scene(sam, "window")
    visitor.show("window", shown.embedding)
    (y0, x0), (y1, x1) = shown.clicks[0], shown.clicks[2]
    answers = visitor.page.evaluate(
        """async ([first, last]) => {
            const asked = [first, ...Array(30).fill([5, 5, 1]), last];
            const answers = await Promise.all(asked.map((point) => decoder.preview({points: [point]})));
            return answers.map((answer) => answer && answer.masks[answer.best].score);
        }""",
        [[x0, y0, 1], [x1, y1, 1]],
    )
    assert [i for i, score in enumerate(answers) if score is not None] == [0, 31]
    for score, click in ((answers[0], shown.clicks[0]), (answers[31], shown.clicks[2])):
        assert score == pytest.approx(float(segment(sam, shown.embedding, Prompt.of([click])).scores[0]), abs=1e-4)


def test_a_pointer_that_never_rests_sees_previews(visitor: Visitor, sam: Sam) -> None:
    visitor.show("window", scene(sam, "window").embedding)
    seen, asked = visitor.page.evaluate(
        """async () => {
            let seen = 0, asked = 0;
            const waiting = [];
            while (seen < 3) {
                const preview = decoder.preview({points: [[asked++ % 200, 90, 1]]});
                waiting.push(preview.then((answer) => { seen += answer !== null; }));
                await new Promise((resolve) => setTimeout(resolve, 2));
            }
            await Promise.all(waiting);
            return [seen, asked];
        }"""
    )
    assert 3 <= seen < asked


def test_a_preview_of_the_picture_before_is_dropped(visitor: Visitor, sam: Sam) -> None:
    before, after = scene(sam, "window"), scene(sam, "small")
    visitor.show("window", before.embedding)
    visitor.site.features["small"], meta = features_of(after.embedding)
    (y, x) = after.clicks[0]
    answers = visitor.page.evaluate(
        """async ({meta, point}) => {
            const features = await (await fetch("/features/small")).arrayBuffer();
            const previews = [decoder.preview({points: [[20, 20, 1]]}), decoder.preview({points: [[30, 30, 1]]})];
            decoder.setEmbedding(features, meta);
            previews.push(decoder.preview({points: [point]}));
            return (await Promise.all(previews)).map((answer) => answer && answer.masks[answer.best].score);
        }""",
        {"meta": meta, "point": [x, y, 1]},
    )
    score = float(segment(sam, after.embedding, Prompt.of([(y, x)])).scores[0])
    assert answers == [None, None, pytest.approx(score, abs=1e-4)]


def test_features_that_were_cut_off_answer_nothing(visitor: Visitor, sam: Sam) -> None:
    shown = scene(sam, "window")
    visitor.show("window", shown.embedding)
    _, meta = features_of(shown.embedding)
    told = visitor.page.evaluate(
        """async (meta) => {
            const why = (error) => error.message;
            const first = await decoder.setEmbedding(new ArrayBuffer(300), meta).catch(why);
            return [first, await decoder.decode({points: [[5, 5, 1]]}).catch(why)];
        }""",
        meta,
    )
    assert f"got 300 bytes of features, expected {meta['bytes']}" in told[0]
    assert "expected setEmbedding first" in told[1]


REFUSED = {
    "{}": "got an empty prompt",
    "{points: [[300, 5, 1]]}": "got a point at x=300, y=5, expected it on the picture of 256 x 256",
    "{points: [[NaN, 5, 1]]}": "got a point at x=NaN",
    "{points: [[5, 5, 2]]}": "got the label 2",
    "{box: [9, 9, 9, 20]}": "expected x0 < x1",
    "{box: [300, 300, 310, 310]}": "outside the picture",
    "{previous: new Float32Array(7)}": "got a previous mask of 7 logits, expected 256 x 256",
}


@pytest.mark.parametrize(("asked", "reason"), REFUSED.items(), ids=REFUSED)
def test_a_prompt_that_makes_no_sense_is_refused_and_the_next_one_answered(
    visitor: Visitor, sam: Sam, asked: str, reason: str
) -> None:
    shown = scene(sam, "window")
    visitor.show("window", shown.embedding)
    told = visitor.page.evaluate(f"decoder.preview({asked}).then(() => 'answered', (error) => error.message)")
    assert reason in told
    assert len(visitor.decode(Prompt.of([shown.clicks[0]]))["masks"])


def test_logits_for_each_pixel_are_a_previous_answer_too(visitor: Visitor, sam: Sam) -> None:
    shown = scene(sam, "window")
    visitor.show("window", shown.embedding)
    drawn_by_hand = np.full((256, 256), -6.0, np.float32)
    drawn_by_hand[40:80, 30:90] = 6
    prompt = Prompt.of([(60, 60)], previous=drawn_by_hand)
    expected = segment(sam, shown.embedding, prompt)
    area = visitor.page.evaluate(
        """async () => {
            const previous = new Float32Array(256 * 256).fill(-6);
            for (let y = 40; y < 80; y++) previous.fill(6, y * 256 + 30, y * 256 + 90);
            const {masks} = await decoder.decode({points: [[60, 60, 1]], previous});
            return draw(masks[0], picture).data.reduce((a, b) => a + b, 0);
        }"""
    )
    assert area == pytest.approx(expected.areas[0], rel=0.01)


@pytest.mark.parametrize("worker", [True, False])
def test_it_works_in_the_page_itself_as_well(page: Visitor, sam: Sam, meta: dict[str, Any], worker: bool) -> None:
    page.load(meta, worker=worker)
    assert len(page.page.workers) == worker
    shown = scene(sam, "small")
    page.show("small", shown.embedding)
    for click in shown.clicks[:4]:
        expected = segment(sam, shown.embedding, Prompt.of([click]), candidates=3)
        _compare(page.decode(Prompt.of([click])), expected, shown.embedding.image_shape, str(click))
    page.page.evaluate("decoder.release()")
    assert not page.errors


@pytest.mark.parametrize("worker", [True, False])
@pytest.mark.parametrize(("options", "reason"), [({"ortUrl": "/nowhere"}, "nowhere"), ({"onnxUrl": "x"}, "404")])
def test_what_is_missing_is_said(
    page: Visitor, meta: dict[str, Any], options: dict[str, str], reason: str, worker: bool
) -> None:
    """The app then lets the server answer."""
    playwright = pytest.importorskip("playwright.sync_api")
    with pytest.raises(playwright.Error, match=reason):
        page.load(meta, **options, worker=worker)


def test_features_of_another_model_are_refused(page: Visitor, sam: Sam, meta: dict[str, Any]) -> None:
    page.load(meta)
    told = page.page.evaluate(
        """decoder.setEmbedding(new ArrayBuffer(4), {shape: [1, 2], levels: [{shape: [1, 2, 1], offset: 0}], bytes: 4})
            .catch((error) => error.message)"""
    )
    assert "got 1 levels of a picture of 2 x 1 pixels, expected 6" in told
    told = page.page.evaluate("decoder.decode({points: [[0, 0, 1]]}).catch((error) => error.message)")
    assert "expected setEmbedding first" in told
