"""Sizes of a SAM network, as the `config.json` of a Hub repository of `model_type` "sam" holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from torch import Tensor

from sam_core.errors import CheckpointError

ORIGINAL_HEADS = 8  # of the mask decoder of every original checkpoint; no shape tells
ORIGINAL_EPS = 1e-5  # of its layer normalisations, where transformers writes 1e-6

Part = TypeVar("Part", "VisionConfig", "PromptConfig", "DecoderConfig")


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """The image encoder; names and defaults are those of transformers, SAM's ViT-B."""

    hidden_size: int = 768
    output_channels: int = 256
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 1024
    patch_size: int = 16
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    qkv_bias: bool = True
    use_abs_pos: bool = True
    use_rel_pos: bool = True
    window_size: int = 14
    global_attn_indexes: tuple[int, ...] = (2, 5, 8, 11)
    num_pos_feats: int = 128
    mlp_dim: int = 3072

    @property
    def grid(self) -> int:
        """Side of the grid of tokens."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, slots=True)
class PromptConfig:
    """The prompt encoder."""

    hidden_size: int = 256
    mask_input_channels: int = 16
    hidden_act: str = "gelu"


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """The mask decoder."""

    hidden_size: int = 256
    hidden_act: str = "relu"
    mlp_dim: int = 2048
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    attention_downsample_rate: int = 2
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    layer_norm_eps: float = 1e-6


@dataclass(frozen=True, slots=True)
class SamConfig:
    """Sizes of a `SamNetwork`.

    Parameters
    ----------
    vision, prompt, decoder
        Of the image encoder, the prompt encoder and the mask decoder.

    Examples
    --------
    >>> config = SamConfig.from_dict({"model_type": "sam", "vision_config": {"hidden_size": 168, "mlp_dim": 696}})
    >>> config.vision.hidden_size, config.vision.grid, config.decoder.mlp_dim
    (168, 64, 2048)
    """

    vision: VisionConfig = field(default_factory=VisionConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    def __post_init__(self) -> None:
        """Refuse what no network can be built of."""
        faults = _mistyped(self) or _faults(self)
        if faults:
            msg = (
                f"got a config of model_type 'sam' with {'; '.join(faults)}; expected sizes that fit each other, as of "
                "facebook/sam-vit-base; do check config.json, or take another checkpoint"
            )
            raise CheckpointError(msg)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> SamConfig:
        """Read a Hub `config.json`; what it leaves out has transformers' defaults.

        Raises
        ------
        CheckpointError
            The sizes do not fit each other, or name an activation other than SAM's.
        """
        vision = _section(raw, "vision_config")
        if vision.get("mlp_dim") is None:
            width, ratio = vision.get("hidden_size") or VisionConfig().hidden_size, vision.get("mlp_ratio") or 4.0
            # What is no number is named later, with all the other faults.
            vision["mlp_dim"] = int(width * ratio) if _is(width, int) and _is(ratio, float) else ratio
        return cls(
            _part(VisionConfig, vision),
            _part(PromptConfig, _section(raw, "prompt_encoder_config")),
            _part(DecoderConfig, _section(raw, "mask_decoder_config")),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` and transformers read, ready for JSON."""
        vision, prompt = asdict(self.vision), asdict(self.prompt)
        vision["global_attn_indexes"] = list(self.vision.global_attn_indexes)
        prompt |= {"image_size": self.vision.image_size, "patch_size": self.vision.patch_size}
        return {
            "model_type": "sam",
            "architectures": ["SamModel"],
            "vision_config": vision,
            "prompt_encoder_config": prompt,
            "mask_decoder_config": asdict(self.decoder),
        }


def _part(kind: type[Part], raw: Mapping[str, Any]) -> Part:
    known = {f.name for f in fields(kind)}
    values: dict[str, Any] = {k: v for k, v in raw.items() if k in known and v is not None}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return kind(**values)


def _section(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = raw.get(name) or {}
    if not isinstance(section, Mapping):
        msg = f"got {section!r} for {name} in config.json, expected a JSON object; do check config.json"
        raise CheckpointError(msg)
    return dict(section)


def _mistyped(config: SamConfig) -> list[str]:
    """Name the values that are not of the kind of their default, or not positive where they count something."""
    parts = (config.vision, config.prompt, config.decoder)
    values = [(f.name, getattr(part, f.name), f.default) for part in parts for f in fields(part)]
    return [f"{name} {value!r}" for name, value, default in values if not _is_usable(name, value, default)]


def _is_usable(name: str, value: Any, default: Any) -> bool:
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(_is(item, int) for item in value)
    least = 0 if name == "window_size" else 1
    return _is(value, type(default)) and (not _is(default, int) or value >= least)


def _is(value: object, kind: type) -> bool:
    """Tell whether a value is of a kind; JSON has whole numbers for floats, and a bool is no number."""
    kinds = (int, float) if kind is float else kind
    return isinstance(value, kinds) and isinstance(value, bool) == (kind is bool)


def _faults(config: SamConfig) -> list[str]:
    vision, prompt, decoder = config.vision, config.prompt, config.decoder
    attended = decoder.hidden_size // decoder.attention_downsample_rate
    rules = {
        f"image_size {vision.image_size} and patch_size {vision.patch_size}": vision.image_size % vision.patch_size
        != 0,
        f"hidden_size {vision.hidden_size} and {vision.num_attention_heads} heads": vision.hidden_size
        % vision.num_attention_heads
        != 0,
        f"widths {vision.output_channels}, {prompt.hidden_size} and {decoder.hidden_size} of the three parts": len(
            {vision.output_channels, prompt.hidden_size, decoder.hidden_size, 2 * vision.num_pos_feats}
        )
        != 1,
        f"decoder width {decoder.hidden_size} and {decoder.num_attention_heads} heads": decoder.hidden_size % 8 != 0
        or attended % decoder.num_attention_heads != 0,
        f"activations {vision.hidden_act}, {prompt.hidden_act} and {decoder.hidden_act}": (
            vision.hidden_act,
            prompt.hidden_act,
            decoder.hidden_act,
        )
        != ("gelu", "gelu", "relu"),
    }
    return [text for text, broken in rules.items() if broken]


def config_from_state(state: Mapping[str, Tensor]) -> SamConfig:
    """Infer all sizes from the weights of an original checkpoint, its keys already converted.

    Raises
    ------
    CheckpointError
        Weights are missing that the sizes are read from.
    """
    try:
        return SamConfig(_vision_of(state), _prompt_of(state), _decoder_of(state))
    except (KeyError, IndexError, ValueError) as error:
        msg = (
            f"got a checkpoint without usable {error}, expected the weights of a whole SAM (image encoder, prompt "
            "encoder, mask decoder); do save them all, or put a config.json beside them"
        )
        raise CheckpointError(msg) from error


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return one more than the highest index behind a prefix."""
    found = {int(key.removeprefix(prefix).split(".")[0]) for key in state if key.startswith(prefix)}
    return 1 + max(found, default=-1)


def _vision_of(state: Mapping[str, Tensor]) -> VisionConfig:
    projection = state["vision_encoder.patch_embed.projection.weight"]
    first = state["vision_encoder.layers.0.attn.rel_pos_h"]
    layers = _count(state, "vision_encoder.layers.")
    grid, patch = state["vision_encoder.pos_embed"].shape[1], projection.shape[-1]
    sizes = [(len(state[f"vision_encoder.layers.{i}.attn.rel_pos_h"]) + 1) // 2 for i in range(layers)]
    windows = [size for size in sizes if size != grid]
    return VisionConfig(
        hidden_size=projection.shape[0],
        output_channels=state["vision_encoder.neck.conv1.weight"].shape[0],
        num_hidden_layers=layers,
        num_attention_heads=projection.shape[0] // first.shape[1],
        num_channels=projection.shape[1],
        image_size=grid * patch,
        patch_size=patch,
        qkv_bias="vision_encoder.layers.0.attn.qkv.bias" in state,
        window_size=windows[0] if windows else 0,
        global_attn_indexes=tuple(i for i, size in enumerate(sizes) if size == grid),
        num_pos_feats=state["shared_image_embedding.positional_embedding"].shape[1],
        mlp_dim=state["vision_encoder.layers.0.mlp.lin1.weight"].shape[0],
    )


def _prompt_of(state: Mapping[str, Tensor]) -> PromptConfig:
    conv = state["prompt_encoder.mask_embed.conv3.weight"]
    return PromptConfig(hidden_size=conv.shape[0], mask_input_channels=conv.shape[1])


def _decoder_of(state: Mapping[str, Tensor]) -> DecoderConfig:
    width = state["mask_decoder.iou_token.weight"].shape[1]
    attended = state["mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight"].shape[0]
    return DecoderConfig(
        hidden_size=width,
        mlp_dim=state["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
        num_hidden_layers=_count(state, "mask_decoder.transformer.layers."),
        num_attention_heads=ORIGINAL_HEADS,
        attention_downsample_rate=width // attended,
        num_multimask_outputs=len(state["mask_decoder.mask_tokens.weight"]) - 1,
        iou_head_depth=2 + _count(state, "mask_decoder.iou_prediction_head.layers."),
        iou_head_hidden_dim=state["mask_decoder.iou_prediction_head.proj_in.weight"].shape[0],
        layer_norm_eps=ORIGINAL_EPS,
    )
