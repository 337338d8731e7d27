"""Operations as torch sees them: `foveate::name`, opaque, the shape of the result known.

So torch.compile puts one call into its graph instead of breaking it, and a CUDA graph records the
launches inside. Outside of a compilation the function is called as it is: torch's dispatcher would
add 7 us to each call.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

import torch

P = ParamSpec("P")
Function = Callable[P, torch.Tensor]


def register(fake: Callable[..., torch.Tensor]) -> Callable[[Function[P]], Function[P]]:
    """Decorate a function of tensors and plain settings: torch.compile sees `foveate::<its name>`.

    `fake` is called with every argument by name, `out` apart, and gives an empty result of the
    right shape, dtype and strides. A function that fills `out` and returns it becomes a second
    operation, `foveate::<its name>_into`, for calls with one: torch wants results that alias
    nothing.
    """

    def decorate(function: Function[P]) -> Function[P]:
        name, signature = function.__name__, _positional(function)
        _define(name, signature, function, fake)
        if "out" in inspect.signature(function).parameters:
            _define(f"{name}_into", _with_out(signature), _into(function), lambda **_: None)

        @functools.wraps(function)
        def call(*args: P.args, **settings: P.kwargs) -> torch.Tensor:
            if not torch.compiler.is_compiling():
                return function(*args, **settings)
            return _trace(name, args, settings)

        return call

    return decorate


def _positional(function: Callable[..., Any]) -> inspect.Signature:
    """The signature without `out`, nothing by keyword alone: torch wants tensors in their place."""
    signature = inspect.signature(function, eval_str=True)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    named = [each for each in signature.parameters.values() if each.name != "out"]
    return signature.replace(parameters=[each.replace(kind=kind) for each in named])


def _with_out(signature: inspect.Signature) -> inspect.Signature:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    out = inspect.Parameter("out", kind, annotation=torch.Tensor)
    return signature.replace(
        parameters=[out, *signature.parameters.values()], return_annotation=None
    )


def _into(function: Callable[..., Any]) -> Callable[..., None]:
    def fill(**arguments: Any) -> None:
        function(**arguments)

    return fill


def _define(
    name: str, signature: inspect.Signature, run: Callable[..., Any], fake: Callable[..., Any]
) -> None:
    """`foveate::<name>` of this signature; `run` and `fake` get their arguments by name."""

    def by_name(called: Callable[..., Any]) -> Callable[..., Any]:
        def bound(*args: Any, **settings: Any) -> Any:
            return called(**signature.bind(*args, **settings).arguments)

        bound.__signature__ = signature  # type: ignore[attr-defined]  # the schema is read from it
        return bound

    changed = [each for each in signature.parameters if each == "out"]
    made = torch.library.custom_op(f"foveate::{name}", by_name(run), mutates_args=changed)
    made.register_fake(by_name(fake))


def _trace(name: str, args: tuple[Any, ...], settings: dict[str, Any]) -> torch.Tensor:
    """One node of the graph: the call with `out` if there is one, else the call that makes it."""
    out = settings.pop("out", None)
    if out is None:
        return getattr(torch.ops.foveate, name)(*args, **settings)
    settings.pop("dtype", None)  # `out` says it
    getattr(torch.ops.foveate, f"{name}_into")(out, *args, **settings)
    return out
