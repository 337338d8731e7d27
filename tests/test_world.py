"""One, two and three processes train the same run and give the same rows."""

from __future__ import annotations

import json

import pytest
import ranks
import safetensors.torch
import torch
from pictures import write_pictures

WORLDS = (1, 2, 3)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """World -> (facts, state, rows); each world is started once."""
    out = tmp_path_factory.mktemp("worlds")
    root = write_pictures(out / "data", train=48)
    for world in WORLDS:
        for process in ranks.start(world, out, root):
            assert process.wait(240) == 0
    return {
        world: (
            json.loads((out / f"facts-{world}.json").read_text()),
            safetensors.torch.load_file(out / f"state-{world}.safetensors"),
            safetensors.torch.load_file(out / f"rows-{world}.safetensors"),
        )
        for world in WORLDS
    }


@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_train_the_run_of_one(found, world):
    """Twelve steps in float64: losses, norms, weights, momenta, running statistics, EMA."""
    one, many = found[1], found[world]
    assert one[0]["accumulate"] == 6 and many[0]["accumulate"] == 6 // world
    assert len(one[0]["losses"]) == 12
    for name in ("losses", "norms"):
        assert many[0][name] == pytest.approx(one[0][name], abs=1e-9)
    assert many[1].keys() == one[1].keys()
    for name, value in one[1].items():
        assert torch.allclose(many[1][name].double(), value.double(), atol=1e-9, rtol=1e-9), name


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("count", ranks.COUNTS)
def test_the_rows_are_the_same_whoever_scores(found, world, count):
    names = [name for name in found[1][2] if name.startswith(f"{count}.")]
    assert len(names) >= 4
    assert len(found[1][2][f"{count}.index"]) == count
    for name in names:
        assert torch.equal(found[world][2][name], found[1][2][name]), name


def test_the_momenta_and_statistics_are_compared_too(found):
    names = found[2][1].keys()
    assert any("running_var" in name for name in names)
    assert any(name.startswith("optimizer.") for name in names)
    assert any(name.startswith("ema.") for name in names)
