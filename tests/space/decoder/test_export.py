"""The exported decoder, run by onnxruntime inside the true `Sam`, answers as the network does."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sam_core import CheckpointError, Sam, SegmentAllOptions
from sam_core.modeling.mask_decoder import nested
from sam_space.decoder.export import decoder_meta, export_decoder
from tests.fake_family import FakeFamily
from tests.space.decoder.prompts import SCENES, prompts, scene

onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra sam-core[space]")


class OnnxNetwork:
    """Stands where a `CellNetwork` does, and has the exported file answer."""

    def __init__(self, path: Path, config: Any) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.config = config
        self.mask_decoder = SimpleNamespace(upscale=self._upscale, score=self._score)

    def attend(self, tokens: Tensor, points: Tensor, codes: Tensor, previous: Tensor | None) -> tuple[Any, None]:
        return (tokens, points, codes, previous), None

    def _upscale(self, asked: Any, image: None, masks: slice, skips: Sequence[Tensor]) -> Tensor:
        tokens, points, codes, previous = asked
        answers = []
        for i in range(len(points)):
            row = 0 if len(tokens) == 1 else i  # prompts in one window share it
            levels = [level[row][None] for level in (tokens, *skips)]
            grid = levels[0].shape[2:]
            given = np.zeros([4 * n for n in grid], np.float32) if previous is None else previous[i, 0].numpy()
            windows = [nested(level, grid, k)[0].numpy() for k, level in enumerate(levels)]
            inputs = [*windows, points[i].numpy(), codes[i].numpy().astype(np.int32), given]
            names = [one.name for one in self.session.get_inputs()]
            answers.append(self.session.run(None, dict(zip(names, inputs, strict=True))))
        self.scores = np.stack([scores for _, scores in answers])
        height, width = grid
        cells = np.stack([logits for logits, _ in answers]).reshape(-1, height, width, 2, 2, 2, 2, 4)
        drawn = cells.transpose(0, 7, 1, 3, 5, 2, 4, 6).reshape(-1, 4, 4 * height, 4 * width)
        return torch.from_numpy(np.ascontiguousarray(drawn[:, masks]))

    def _score(self, asked: Any, proposed: Tensor) -> Tensor:
        assert not proposed.any()  # the browser asks for persons alone
        return torch.from_numpy(self.scores)


@pytest.fixture(scope="module")
def exported(sam: Sam, onnx_file: Path) -> Sam:
    family = copy.copy(sam._family)
    family.network = OnnxNetwork(onnx_file, sam._family.network.config)  # type: ignore[assignment]
    return Sam(family, sam.fingerprint, sam.segment_all_options)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_it_answers_as_sam_does(sam: Sam, exported: Sam, name: str) -> None:
    shown = scene(sam, name)
    for kind, asked in prompts(sam, shown).items():
        for candidates in (1, 3):
            expected = sam.decode(shown.embedding, asked, candidates=candidates)
            found = exported.decode(shown.embedding, asked, candidates=candidates)
            np.testing.assert_allclose(found.scores, expected.scores, atol=2e-5, err_msg=kind)
            np.testing.assert_array_equal(np.argsort(found.scores), np.argsort(expected.scores), err_msg=kind)
            for ours, theirs in zip(found.logits, expected.logits, strict=True):
                assert ours is not None
                assert theirs is not None
                assert ours.box == theirs.box
                np.testing.assert_allclose(ours.values, theirs.values, atol=2e-3, rtol=1e-4, err_msg=kind)


@pytest.mark.slow
def test_the_file_is_plain(onnx_file: Path) -> None:
    import onnx

    model = onnx.load(onnx_file)
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 18)]
    kinds = {weight.data_type for weight in model.graph.initializer}
    assert kinds <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL}
    assert not [node.name for node in model.graph.node if node.metadata_props or node.doc_string]
    assert b".py" not in onnx_file.read_bytes()
    assert onnx_file.stat().st_size < 5_000_000


def test_other_models_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="model_type 'cell'"):
        export_decoder(Sam(FakeFamily(), "fake", SegmentAllOptions()), tmp_path / "decoder.onnx")
    assert not list(tmp_path.iterdir())


def test_the_meta_is_json(sam: Sam) -> None:
    meta = decoder_meta(sam)
    assert json.loads(json.dumps(meta)) == meta
    assert meta["model"] == sam.fingerprint
    assert meta["inputs"]["points"] == ["n", 2]
    assert meta["rules"]["window"] == 256
