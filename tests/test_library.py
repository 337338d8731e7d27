"""Operations under torch.compile: one node each, the graph whole, the shapes known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foveate.kernels.flatfield.correct import background_on_card
from foveate.kernels.instances.op import draw_polygons, draw_runs, end_runs
from foveate.kernels.library import register
from foveate.kernels.masks.op import sample_masks
from foveate.kernels.mix.op import mix
from foveate.kernels.op import OPS, Example, load
from foveate.kernels.sample.op import sample

load()
PUBLIC = {
    "sample": sample, "mix": mix, "sample_masks": sample_masks, "draw_runs": draw_runs,
    "draw_polygons": draw_polygons,
}  # fmt: skip
LEVELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 9, 14)).astype(np.uint8))


def calls():
    """(function, call) for each operation: its first example, a larger one, those of parts."""
    for name, function in PUBLIC.items():
        every = OPS[name].examples()
        parts = [example for example in every if "parts" in example.settings]
        for example in (every[0], every[len(every) // 2], *parts):
            yield pytest.param(function, example, id=f"{name}: {example.name}")
    background = Example("background", (LEVELS,), {"side": 5})
    yield pytest.param(background_on_card, background, id="background")


def compiled(function):
    """Without a graph break; `aot_eager` runs what was traced, shapes of the fakes and all."""
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager")


@pytest.mark.parametrize(("function", "example"), list(calls()))
def test_every_operation_is_well_formed_for_torch(function, example):
    made = getattr(torch.ops.foveate, function.__name__)
    torch.library.opcheck(made, example.args, dict(example.settings))


@pytest.mark.parametrize(("function", "example"), list(calls()))
def test_torch_compile_sees_one_operation_and_no_graph_break(function, example):
    seen = []

    def step(*args):
        return function(*args, **example.settings).float() * 2

    def spy(graph, _):
        seen.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    expected = step(*example.args)
    assert torch.equal(compiled(step)(*example.args), expected)
    torch._dynamo.reset()
    torch.compile(step, fullgraph=True, backend=spy)(*example.args)
    assert [name for name in seen if name.startswith("foveate")] == [f"foveate.{function.__name__}"]


@pytest.mark.parametrize("name", ["sample", "mix"])
def test_a_compiled_call_fills_the_output_it_is_given(name):
    example = OPS[name].examples()[0]
    theirs = PUBLIC[name](*example.args, **example.settings)

    def into(out, *args):
        return PUBLIC[name](*args, **example.settings, out=out) + 1

    out = torch.zeros_like(theirs)
    assert torch.equal(compiled(into)(out, *example.args), theirs + 1)
    assert torch.equal(out, theirs)
    made = getattr(torch.ops.foveate, f"{name}_into")
    torch.library.opcheck(made, (out, *example.args), dict(example.settings))


def test_other_settings_of_the_result_are_known_before_it_is_computed():
    images, rows = OPS["mix"].examples()[3].args
    half = compiled(lambda *args: mix(*args, dtype=torch.bfloat16) * 2)(images, rows)
    assert half.dtype == torch.bfloat16 and half.is_contiguous(memory_format=torch.channels_last)


def test_run_ends_are_plain_torch_that_a_compiler_reads():
    counts, start = torch.tensor([3, 4, 0, 5, 6, 7]), torch.tensor([0, 2, 2, 6])
    ends = compiled(end_runs)(counts, start)
    assert ends.tolist() == end_runs(counts, start).tolist() == [3, 7, 0, 5, 11, 18]
    assert ends.dtype == torch.int32
    assert end_runs(counts[:0], start[:1]).tolist() == end_runs(counts[:0], start[:1] * 0).tolist()


def test_a_wrong_shape_of_a_fake_is_found():
    @register(lambda images, **_: images.new_empty(images.shape[0] + 1))
    def damaged_for_a_test(images: torch.Tensor) -> torch.Tensor:
        return images.sum(dim=1)

    with pytest.raises(Exception, match="mismatch"):
        torch.library.opcheck(torch.ops.foveate.damaged_for_a_test, (torch.ones(2, 3),))
