"""2, then 3, then 1, then 4 processes, changed in the middle of epochs: the run of one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import ranks
import safetensors.torch
from pictures import write_pictures

from foveate.dataloaders.order import Order

STAGES = ((2, 2), (3, 5), (1, 7), (4, 12))
"""(processes, the step that they stop after): 36 images in steps of 24, so mid-epoch each time."""
IMAGES, BATCH = 36, 24
SCRIPT = Path(__file__).resolve().parent / "elastic.py"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Kind of run -> (every batch that was loaded, weights at the end)."""
    out, results = tmp_path_factory.mktemp("elastic"), {}
    root = write_pictures(out / "data", train=48)
    for kind, stages in (("changing", STAGES), ("alone", ((1, 12),))):
        folder = out / kind
        folder.mkdir()
        for world, until in stages:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("FOVEATE_UNTIL", str(until))
                processes = ranks.start(world, folder, root, SCRIPT)
            assert [process.wait(240) for process in processes] == [0] * world
        rows = [row for path in folder.glob("seen-*") for row in json.loads(path.read_text())]
        results[kind] = rows, safetensors.torch.load_file(folder / "state.safetensors")
    return results


@pytest.mark.slow
def test_no_sample_is_lost_or_repeated_and_the_order_is_that_of_one_process(found):
    rows, _ = found["changing"]
    loaded = sorted((position, index) for _, _, position, *index in rows)
    assert [position for position, _ in loaded] == list(range(0, 12 * BATCH, 2))
    samples = [n for _, index in loaded for n in index]
    alone = sorted((position, index) for _, _, position, *index in found["alone"][0])
    assert loaded == alone
    numbers = np.unique(samples)
    places = Order(0, IMAGES).at(0, 12 * BATCH)[0]
    assert samples == numbers[places].tolist()
    for epoch in range(8):
        assert sorted(samples[epoch * IMAGES : (epoch + 1) * IMAGES]) == numbers.tolist()


@pytest.mark.slow
def test_every_process_of_every_stage_did_its_share(found):
    rows, _ = found["changing"]
    begun = 0
    for world, until in STAGES:
        stage = [row for row in rows if begun <= row[0] < until]
        shares = np.bincount([rank for _, rank, *_ in stage], minlength=world)
        assert len(shares) == world and len(set(shares.tolist())) == 1
        begun = until


@pytest.mark.slow
def test_the_weights_are_those_of_one_process(found):
    (_, changing), (_, alone) = found["changing"], found["alone"]
    assert changing.keys() == alone.keys()
    for name, value in alone.items():
        assert (changing[name].double() - value.double()).abs().max() <= 1e-9, name
