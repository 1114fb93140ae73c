import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sam_core.errors import CheckpointError
from sam_core.modeling.checkpoint import find_weights, read_config, read_weights, write_checkpoint
from sam_core.modeling.sam_config import SamConfig
from sam_core.modeling.sam_network import SamNetwork
from tests.modeling.oracle import oracle, ours

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1)}


class Bomb:
    """Runs code as soon as it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_reads_what_was_written(tmp_path: Path, suffix: str, wrapped: bool) -> None:
    path = tmp_path / f"model{suffix}"
    if suffix == ".safetensors":
        save_file(WEIGHTS, path)
    else:
        torch.save({"state_dict": WEIGHTS, "epoch": 3} if wrapped else WEIGHTS, path)
    got = read_weights(path)
    assert got.keys() == WEIGHTS.keys()
    assert all(torch.equal(got[key], WEIGHTS[key]) for key in WEIGHTS)


@pytest.mark.parametrize("plain", [False, True], ids=["zip", "pickle"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: bool) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pth"
    if plain:
        path.write_bytes(pickle.dumps({"a": Bomb()}, protocol=2))
    else:
        torch.save({"a": Bomb()}, path)
    with pytest.raises(CheckpointError, match="expected weights alone"):
        read_weights(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 1, 20, 200])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, suffix: str, kept: int) -> None:
    path = tmp_path / f"model{suffix}"
    if suffix == ".safetensors":
        save_file(WEIGHTS, path)
    else:
        torch.save(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[: min(kept, path.stat().st_size - 1)])
    with pytest.raises(CheckpointError, match=f"model{suffix}"):
        read_weights(path)


def test_what_holds_no_tensors_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="expected a state dict"):
        read_weights(tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="no file"):
        read_weights(tmp_path / "absent.pt")


def test_safetensors_come_before_pickles(tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "model.safetensors", "optimizer.pt"):
        (tmp_path / name).touch()
    assert find_weights(tmp_path).name == "model.safetensors"
    (tmp_path / "model.safetensors").unlink()
    assert find_weights(tmp_path).name == "pytorch_model.bin"


def test_a_folder_without_one_file_of_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="without weights"):
        find_weights(tmp_path)
    for i in (1, 2):
        (tmp_path / f"model-0000{i}-of-00002.safetensors").touch()
    with pytest.raises(CheckpointError, match="got 2 files of weights"):
        find_weights(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_broken_config_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="expected a JSON object"):
        read_config(tmp_path / "config.json")


def test_writing_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    for value in (1, 2):
        write_checkpoint(tmp_path / "new", {"value": value}, WEIGHTS)
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["config.json", "model.safetensors"]
    assert read_config(tmp_path / "new" / "config.json") == {"value": 2}


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {"value": 1}, WEIGHTS)
    with pytest.raises(TypeError):
        write_checkpoint(tmp_path, {"value": object()}, {"other": torch.zeros(3)})
    assert read_config(tmp_path / "config.json") == {"value": 1}
    assert read_weights(find_weights(tmp_path)).keys() == WEIGHTS.keys()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_transformers_reads_what_was_written(tmp_path: Path) -> None:
    import transformers

    network = ours(oracle())
    write_checkpoint(tmp_path, network.config.to_dict(), network.state_dict())
    model, info = transformers.SamModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    pixels = torch.randn(1, 3, 160, 160)
    with torch.inference_mode():
        expected = model.eval().vision_encoder(pixels).last_hidden_state
        torch.testing.assert_close(network.encode(pixels), expected, rtol=1e-4, atol=2e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("hidden", [{"hidden_size": 168, "mlp_dim": 696}, {"hidden_size": 384, "mlp_dim": 1536}])
def test_sizes_of_slimsam(hidden: dict[str, int]) -> None:
    import transformers

    # As the Hub has them: what is SAM's default is left out.
    raw = {"model_type": "sam", "vision_config": hidden | {"num_hidden_layers": 12}, "mask_decoder_config": {}}
    config = SamConfig.from_dict(raw)
    assert SamConfig.from_dict(config.to_dict()) == config
    with torch.device("meta"):
        theirs = transformers.SamModel(transformers.SamConfig(vision_config=hidden)).state_dict()
        mine = SamNetwork(config).state_dict()
    assert {k: v.shape for k, v in mine.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize(
    "vision",
    [{"hidden_size": 100}, {"image_size": 1000}, {"output_channels": 128}, {"hidden_act": "relu"}],
    ids=str,
)
def test_sizes_that_do_not_fit_are_refused(vision: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="expected sizes that fit each other"):
        SamConfig.from_dict({"vision_config": vision})


@pytest.mark.parametrize(
    "vision",
    [
        {"hidden_size": "768"},
        {"image_size": [1024, 1024]},
        {"num_attention_heads": 0},
        {"num_hidden_layers": -1},
        {"qkv_bias": 1},
        {"layer_norm_eps": "small"},
        {"global_attn_indexes": 3},
        {"mlp_ratio": "4"},
    ],
    ids=str,
)
def test_sizes_that_are_none_are_named(vision: dict[str, Any]) -> None:
    named = next(iter(vision)).replace("mlp_ratio", "mlp_dim")
    with pytest.raises(CheckpointError, match=named):
        SamConfig.from_dict({"vision_config": vision})


def test_a_section_that_is_none_is_named() -> None:
    with pytest.raises(CheckpointError, match="vision_config"):
        SamConfig.from_dict({"vision_config": "large"})
