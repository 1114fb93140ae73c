import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sam_core import Prompt, Sam, SegmentAllOptions, hub
from sam_core.errors import CheckpointError
from sam_core.families.cell import CellFamily
from sam_core.families.load import choose_dtype
from sam_core.families.vit import VitFamily
from sam_core.modeling.cell import CellConfig, CellNetwork
from tests.modeling.oracle import oracle, ours

TINY = CellConfig(
    widths=(8, 8, 8),
    depths=(1, 1, 1),
    stem=8,
    width=16,
    fine=(8, 8),
    num_heads=2,
    mlp_width=16,
    proposal_width=8,
    window=64,
)
OPTIONS = SegmentAllOptions(min_score=0.5, max_covered=0.25, min_area=7)
IMAGE = np.random.default_rng(0).integers(0, 255, (100, 90), dtype=np.uint8)


def cell() -> Sam:
    torch.manual_seed(0)
    return Sam(CellFamily(CellNetwork(TINY).eval(), min_proposal=0.3), "new", OPTIONS)


def logits_of(sam: Sam) -> Any:
    masks = sam.decode(sam.encode(IMAGE), [Prompt.of([(40, 40)]), Prompt.of(box=(10, 10, 30, 40))])
    return np.stack([logits.values for logits in masks.logits if logits is not None])


def test_a_cell_comes_back_as_it_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sam = cell()
    sam.save_pretrained(tmp_path / "tiny")
    monkeypatch.setattr(hub, "EMBEDDED", tmp_path)
    back = Sam.from_pretrained("tiny", dtype="float32", device="cpu")
    assert back.segment_all_options == OPTIONS
    assert isinstance(back._family, CellFamily)
    assert (back._family.min_proposal, back._family.network.config) == (0.3, TINY)
    assert not back._family.network.training
    assert (back.dtype, back.device) == ("float32", "cpu")
    np.testing.assert_allclose(logits_of(back), logits_of(sam), rtol=1e-4, atol=1e-4)


def test_the_fingerprint_tells_weights_config_and_dtype(tmp_path: Path) -> None:
    cell().save_pretrained(tmp_path)
    first = Sam.from_pretrained(tmp_path, dtype="float32").fingerprint
    assert first == Sam.from_pretrained(str(tmp_path), dtype="float32").fingerprint
    assert first.startswith("cell-")
    seen = {first, Sam.from_pretrained(tmp_path, dtype="bfloat16").fingerprint}
    raw = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw | {"min_proposal": 0.2}))
    seen.add(Sam.from_pretrained(tmp_path, dtype="float32").fingerprint)
    state = load_file(tmp_path / "model.safetensors")
    save_file({k: v + 1 for k, v in state.items()}, tmp_path / "model.safetensors")
    seen.add(Sam.from_pretrained(tmp_path, dtype="float32").fingerprint)
    assert len(seen) == 4


def test_weights_in_half_precision_are_cast(tmp_path: Path) -> None:
    sam = cell()
    sam.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file({k: v.half() for k, v in state.items()}, tmp_path / "model.safetensors")
    back = Sam.from_pretrained(tmp_path, dtype="float32")
    assert back.dtype == "float32"
    np.testing.assert_allclose(logits_of(back), logits_of(sam), atol=0.05)


def test_a_file_is_described_by_the_config_beside_it(tmp_path: Path) -> None:
    cell().save_pretrained(tmp_path)
    whole, file = (Sam.from_pretrained(p) for p in (tmp_path, tmp_path / "model.safetensors"))
    assert whole.fingerprint == file.fingerprint


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_folder_of_transformers_is_loaded(tmp_path: Path) -> None:
    model = oracle()
    model.save_pretrained(tmp_path)
    sam = Sam.from_pretrained(tmp_path, dtype="float32")
    assert sam.fingerprint.startswith("sam-")
    assert isinstance(sam._family, VitFamily)
    assert sam.segment_all_options == SegmentAllOptions()
    expected = Sam(VitFamily(ours(model)), "", SegmentAllOptions())
    np.testing.assert_allclose(logits_of(sam), logits_of(expected), rtol=1e-4, atol=1e-4)
    sam.save_pretrained(tmp_path / "again")
    again = Sam.from_pretrained(tmp_path / "again", dtype="float32")
    np.testing.assert_array_equal(logits_of(again), logits_of(sam))


def test_another_type_of_model_is_refused(tmp_path: Path) -> None:
    cell().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="got a checkpoint of model_type 'bert', expected 'cell' or 'sam'"):
        Sam.from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json"):
        Sam.from_pretrained(tmp_path)


def test_recommended_options_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    cell().save_pretrained(tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw | {"segment_all": {"speed": 3}}))
    with pytest.raises(CheckpointError, match="segment_all"):
        Sam.from_pretrained(tmp_path)


def test_bfloat16_is_chosen_where_it_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert choose_dtype("auto", cpu) == torch.float32
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert choose_dtype("auto", cpu) == torch.bfloat16
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert choose_dtype("auto", cpu) == torch.float32
    assert choose_dtype("bfloat16", cpu) == torch.bfloat16
    with pytest.raises(ValueError, match="expected 'auto'"):
        choose_dtype("float8", cpu)  # type: ignore[arg-type]
