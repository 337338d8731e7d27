"""Models by torchvision or timm name or a recipe's function, with the stem and head asked for."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ..failure import RecipeError
from .blueprint import Blueprint


def build_classifier(
    name: str | Callable[..., nn.Module], classes: int, channels: int, weights: str
) -> nn.Module:
    """A classifier for (N,channels,S,S) -> (N,classes).

    `name` is torchvision's, "timm:<name>", or a function of (classes, channels). `weights` is
    "none", "imagenet" or the path of a safetensors or torch file of plain tensors. With one
    channel the stem's weights are summed over its inputs, which on gray images gives what three
    equal channels would have; a function's model is left as it is.
    Raises RecipeError for an unknown name, weights that cannot be had, or another shape.
    """
    if not isinstance(name, str):
        name = Blueprint.of(name)
    if isinstance(name, Blueprint):
        return _build_own(name, classes, channels, weights)
    model = _construct(name, weights == "imagenet")
    if weights not in ("none", "imagenet"):
        _load(model, Path(weights).expanduser(), classes, channels)
    if _head(model)[1].out_features != classes:
        _replace_head(model, classes)
    if channels == 1 and _stem(model)[1].in_channels != 1:
        _narrow_stem(model)
    return model


def hash_weights(state: dict[str, Tensor]) -> str:
    """sha256 over sorted name, dtype, shape and contiguous little-endian bytes of each tensor."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def identify_weights(weights: str) -> str:
    """What the recipe's hash says of pretrained weights: the file's content, not its place."""
    path = Path(weights).expanduser()
    if weights in ("none", "imagenet") or not path.is_file():
        return weights
    return "file:" + hashlib.sha256(path.read_bytes()).hexdigest()


def _build_own(name: Blueprint, classes: int, channels: int, weights: str) -> nn.Module:
    """What a recipe's own function builds: its stem and head are right already."""
    model = name(classes, channels)
    if weights != "none":
        _load(model, Path(weights).expanduser(), classes, channels)
    return model


def _construct(name: str, pretrained: bool) -> nn.Module:
    if name.startswith("timm:"):
        return _construct_timm(name.removeprefix("timm:"), pretrained)
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise RecipeError(f"no torchvision model '{name}'{_nearest(name, known)}")
    try:
        return models.get_model(name, weights="IMAGENET1K_V1" if pretrained else None)
    except OSError as error:  # urllib's errors are OSErrors
        raise RecipeError(
            f"ImageNet weights of {name} cannot be downloaded ({error}); give "
            "--task.weights PATH to a downloaded file, or --task.weights none to train from scratch"
        ) from None


def _construct_timm(name: str, pretrained: bool) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise RecipeError("timm models need `pip install timm`") from None
    if not timm.is_model(name):
        raise RecipeError(f"no timm model '{name}'{_nearest(name, timm.list_models())}")
    return timm.create_model(name, pretrained=pretrained)


def _nearest(name: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _load(model: nn.Module, path: Path, classes: int, channels: int) -> None:
    """Load a plain state dict. A head for another number of classes is left out, and only that;
    the stem of a file that was trained on gray images is taken as it is."""
    state = read_weights(path)
    head, stem = _head(model)[0], _stem(model)[0]
    if channels == 1 and f"{stem}.weight" in state and state[f"{stem}.weight"].shape[1:2] == (1,):
        _narrow_stem(model)
    if f"{head}.weight" in state and len(state[f"{head}.weight"]) == classes:
        _replace_head(model, classes)
    else:
        state = {name: v for name, v in state.items() if not name.startswith(f"{head}.")}
    own = model.state_dict()
    wrong = [n for n in own if n in state and own[n].shape != state[n].shape]
    missing = [n for n in own if n not in state and not n.startswith(f"{head}.")]
    unknown = [n for n in state if n not in own]
    if wrong or missing or unknown:
        name = (wrong + missing + unknown)[0]
        raise RecipeError(
            f"{path} does not fit the model: {len(wrong)} tensors of another shape, {len(missing)} "
            f"missing, {len(unknown)} unknown, first '{name}'; give the task.model it was made by"
        )
    model.load_state_dict(state, strict=False)


def read_weights(path: Path) -> dict[str, Tensor]:
    """A flat dict of tensors from a safetensors or torch file. Raises RecipeError."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RecipeError(f"no weights file {path}; mend --task.weights") from None
    except Exception as error:  # each format has errors of its own; all mean the same here
        raise RecipeError(
            f"{path} holds no plain tensors ({type(error).__name__}); "
            "give a safetensors file or a torch file of a state dict"
        ) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise RecipeError(f"{path} is no state dict; save model.state_dict() and give that")
    return state


def _head(model: nn.Module) -> tuple[str, nn.Linear]:
    linears = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    if not linears:
        raise RecipeError(f"{type(model).__name__} has no linear layer to classify with")
    return linears[-1]


def _stem(model: nn.Module) -> tuple[str, nn.Conv2d]:
    return next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))


def _replace_head(model: nn.Module, classes: int) -> None:
    name, old = _head(model)
    _set(model, name, nn.Linear(old.in_features, classes, old.bias is not None))


def _narrow_stem(model: nn.Module) -> None:
    name, old = _stem(model)
    new = copy.deepcopy(old)
    new.in_channels = 1
    new.weight = nn.Parameter(old.weight.detach().sum(1, keepdim=True))
    _set(model, name, new)


def _set(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)
