"""`Sam` over a tiny network with random weights: what it routes where, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_core import EmbeddingError, Prompt, PromptError, SegmentAllOptions, Tiling, samples
from sam_core.families.cell import FILL, CellFamily
from sam_core.families.place import places_for
from sam_core.modeling.cell import CellNetwork
from sam_core.sam import Sam
from tests.fake_family import FakeFamily, fake_sam
from tests.tiny import TINY

TILING = Tiling(tile=(96, 96), halo=(16, 16))


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(0)
    return Sam(
        CellFamily(CellNetwork(TINY).eval(), min_proposal=0.05), "tiny", SegmentAllOptions(min_score=0, min_stability=0)
    )


@pytest.fixture(scope="module")
def plane() -> np.ndarray:
    return samples.cells((200, 260), count=20, seed=1).image


class TestEncode:
    @pytest.mark.parametrize(
        ("side", "tokens"),
        [
            (32, [(8, 8), (8, 8)]),
            (33, [(12, 14), (8, 8)]),
            (64, [(12, 24), (8, 8)]),
            (65, [(8, 18), (8, 10), (8, 8)]),
            (97, [(8, 14), (8, 8)]),
        ],
    )
    def test_a_small_plane_is_enlarged(self, sam: Sam, side: int, tokens: list[tuple[int, int]]) -> None:
        embedding = sam.encode(np.zeros((30, side), np.uint8))
        assert [level.shape[2:] for level in embedding.features[::3]] == tokens
        assert [level.shape[1:] for level in embedding.features[:3]] == [
            (channels, scale * tokens[0][0], scale * tokens[0][1]) for channels, scale in ((32, 1), (8, 2), (8, 4))
        ]
        assert embedding.overview is None

    @pytest.mark.parametrize(("side", "factor"), [(60, 3), (90, 2)])
    def test_what_is_enlarged_is_where_it_was(self, sam: Sam, side: int, factor: int) -> None:
        embedding = sam.encode(np.zeros((40, side), np.uint8))
        place = places_for(embedding, Prompt.of([(10, 20)]), sam._family)[0]
        assert place.frame.shape == (40 * factor, side * factor)
        middle = (factor - 1) / 2  # a pixel's centre
        np.testing.assert_allclose(
            place.frame.points_into(np.array([(10, 20)])), [[10 * factor + middle, 20 * factor + middle]]
        )
        assert place.frame.box_out((10 * factor, 20 * factor, 12 * factor, 21 * factor)) == pytest.approx(
            (10, 20, 12, 21)
        )

    def test_a_small_tile_of_a_large_plane_is_not_enlarged(self, sam: Sam, plane: np.ndarray) -> None:
        whole, tiled = (
            places_for(sam.encode(plane, tiling=tiling), Prompt.of([(5, 5)]), sam._family)[0].view.shrink
            for tiling in (None, Tiling((32, 32), (8, 8)))
        )
        assert whole == tiled == 1

    def test_a_larger_plane_is_a_pyramid(self, sam: Sam, plane: np.ndarray) -> None:
        embedding = sam.encode(plane)
        # 260 pixels need two halvings to fit into a window of 64... and one more.
        assert [level.shape[2:] for level in embedding.features[::3]] == [(26, 34), (14, 18), (8, 10), (8, 8)]

    def test_tiles_are_of_one_size_and_have_an_overview(self, sam: Sam, plane: np.ndarray) -> None:
        embedding = sam.encode(plane, tiling=TILING)
        assert embedding.features[0].shape[0] == 9
        assert embedding.overview is not None
        assert embedding.overview.image_shape == (98, 128)
        assert embedding.nbytes > sum(level.nbytes for level in embedding.features)

    def test_one_tile_is_no_tiling(self, sam: Sam, plane: np.ndarray) -> None:
        whole, tiled = sam.encode(plane), sam.encode(plane, tiling=Tiling((512, 512)))
        assert tiled.tiling is None
        for a, b in zip(whole.features, tiled.features, strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize("tiling", [None, TILING])
    def test_tile_by_tile_it_is_the_same(self, sam: Sam, plane: np.ndarray, tiling: Tiling | None) -> None:
        at_once = sam.encode(plane, tiling=tiling)
        *steps, made = sam.encode_by_tile(plane, tiling=tiling)
        assert steps == [None] * (len(at_once.windows) - 1)
        assert made is not None
        assert made.tiling == at_once.tiling
        pictures = [(made, at_once), *([(made.overview, at_once.overview)] if made.overview else [])]
        for one, other in pictures:
            assert other is not None
            for a, b in zip(one.features, other.features, strict=True):
                np.testing.assert_array_equal(a, b)


class TestPart:
    def test_it_is_asked_in_the_frame_of_the_plane(self, sam: Sam, plane: np.ndarray) -> None:
        part = sam.encode_part(plane, (64, 64, 192, 192))
        assert part is not None
        assert (part.image_shape, part.windows) == ((200, 260), ((64, 64, 192, 192),))
        (place, *_) = places_for(part, Prompt.of([(100, 100)]), sam._family)
        np.testing.assert_allclose(place.frame.points_into(np.array([(100, 100)])), [(36, 36)])
        masks = sam.decode(part, [Prompt.of([(100, 100)])])
        assert masks.shape == (200, 260)
        assert all(64 <= point < 192 for prompt in sam.propose(part) or [] for point in prompt.points[0])

    def test_all_of_a_plane_is_the_plane(self, sam: Sam, plane: np.ndarray) -> None:
        part = sam.encode_part(plane, (0, 0, 200, 260))
        assert part is not None
        for a, b in zip(part.features, sam.encode(plane).features, strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize("part", [(0, 0, 201, 10), (-1, 0, 5, 5), (5, 5, 5, 9), (0, 9, 8, 3), (0, 0, 10, 261)])
    def test_what_is_no_part_is_refused(self, sam: Sam, plane: np.ndarray, part: tuple[int, int, int, int]) -> None:
        with pytest.raises(ValueError, match=r"of a plane of 200 x 260, expected"):
            sam.encode_part(plane, part)

    def test_a_model_that_sees_everything_at_one_size_has_none(self, plane: np.ndarray) -> None:
        family = FakeFamily()
        family.is_local = False
        assert fake_sam(family).encode_part(plane, (0, 0, 64, 64)) is None


class TestRouting:
    @pytest.mark.parametrize(
        ("prompt", "tile", "octave"),
        [
            (Prompt.of([(10, 10)]), 0, 0),
            (Prompt.of([(10, 100)]), 1, 0),
            (Prompt.of([(199, 259)]), 8, 0),
            (Prompt.of(box=(0, 0, 30, 30)), 0, 0),
            (Prompt.of(box=(0, 0, 60, 60)), 0, 1),
            (Prompt.of(box=(80, 80, 112, 112)), 4, 0),
            (Prompt.of(box=(0, 0, 200, 260)), -1, 1),
            (Prompt.of([(5, 5), (190, 250)]), -1, 1),
        ],
    )
    def test_a_prompt_is_asked_where_it_fits(
        self, sam: Sam, plane: np.ndarray, prompt: Prompt, tile: int, octave: int
    ) -> None:
        embedding = sam.encode(plane, tiling=TILING)
        place = places_for(embedding, prompt, sam._family)[0]
        assert (place.tile, place.view.levels.start // 3) == (tile, octave)

    @given(st.tuples(st.floats(0, 199), st.floats(0, 259)))
    @settings(max_examples=50, deadline=None)
    def test_every_point_has_a_place_that_shows_it(self, point: tuple[float, float]) -> None:
        embedding = _encoded()
        for place in places_for(embedding, Prompt.of([point]), CellFamily(CellNetwork(TINY))):
            ((y, x),) = place.frame.points_into(np.array([point]))
            assert -1 <= y <= place.frame.shape[0]
            assert -1 <= x <= place.frame.shape[1]


class TestDecode:
    def test_many_prompts_get_the_answers_of_each(self, sam: Sam, plane: np.ndarray) -> None:
        embedding = sam.encode(plane, tiling=TILING)
        rng = np.random.default_rng(0)
        prompts = [Prompt.of([rng.uniform((0, 0), (199, 259))]) for _ in range(20)]
        prompts[3] = Prompt.of(box=(20, 20, 60, 70))
        prompts[7] = prompts[7].click((100, 100), positive=False)
        together = sam.decode(embedding, prompts, candidates=3)
        assert len(together) == 60
        assert together.prompt.tolist() == [i for i in range(20) for _ in range(3)]
        for i in (0, 3, 7, 19):
            alone = sam.decode(embedding, [prompts[i]], candidates=3)
            np.testing.assert_allclose(alone.scores, together.scores[3 * i : 3 * i + 3], atol=1e-5)
            for a, b in zip(alone.logits, together.logits[3 * i : 3 * i + 3], strict=True):
                assert a is not None
                assert b is not None
                np.testing.assert_allclose(a.values, b.values, atol=1e-4)

    def test_refining_feeds_the_answer_back(self, sam: Sam, plane: np.ndarray) -> None:
        embedding = sam.encode(plane)
        prompt = Prompt.of([(50, 50)])
        first = sam.decode(embedding, [prompt], candidates=1)
        second = sam.decode(embedding, [prompt.refine(first)], candidates=1)
        assert first.logits[0] is not None
        assert second.logits[0] is not None
        assert not np.array_equal(first.logits[0].values, second.logits[0].values)

    def test_scores_below_the_least_are_left_out(self, sam: Sam, plane: np.ndarray) -> None:
        embedding = sam.encode(plane)
        prompts = [Prompt.of([(50, 50)])]
        every = sam.decode(embedding, prompts, candidates=3)
        best = sam.decode(embedding, prompts, candidates=3, min_score=float(every.scores.max()))
        assert len(best) == 1
        assert len(sam.decode(embedding, prompts, candidates=3, min_score=1.1)) == 0

    def test_no_prompts_no_masks(self, sam: Sam, plane: np.ndarray) -> None:
        assert len(sam.decode(sam.encode(plane), [])) == 0

    def test_another_models_embedding_is_refused(self, sam: Sam, plane: np.ndarray) -> None:
        foreign = replace(sam.encode(plane), model="other")
        with pytest.raises(EmbeddingError, match="got an embedding made by model 'other'"):
            sam.decode(foreign, [Prompt.of([(1, 1)])])

    @pytest.mark.parametrize(
        "prompt",
        [
            Prompt.of([(200, 10)]),
            Prompt.of([(-1, 10)]),
            Prompt.of(box=(300, 300, 400, 400)),
            Prompt.of(previous=np.zeros((9, 9), bool)),
        ],
    )
    def test_prompts_off_the_plane_are_refused(self, sam: Sam, plane: np.ndarray, prompt: Prompt) -> None:
        with pytest.raises(PromptError):
            sam.decode(sam.encode(plane), [prompt])


def test_proposals_lie_on_the_plane_and_have_boxes_where_they_are_large(sam: Sam, plane: np.ndarray) -> None:
    for tiling in (None, TILING):
        embedding = sam.encode(plane, tiling=tiling)
        prompts = sam.propose(embedding)
        assert prompts is not None
        for prompt in prompts:
            prompt.check(embedding.image_shape)
            y0, x0, y1, x1 = prompt.extent
            assert (prompt.box is not None) == (max(y1 - y0, x1 - x0) > FILL * TINY.window)
            assert prompt.proposed


_CACHE: list = []


def _encoded():
    if not _CACHE:
        torch.manual_seed(0)
        tiny = Sam(CellFamily(CellNetwork(TINY).eval()), "tiny", SegmentAllOptions())
        _CACHE.append(tiny.encode(np.zeros((200, 260), np.uint8), tiling=TILING))
    return _CACHE[0]
