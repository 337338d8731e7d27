"""The Triton back end of `sample`, interpreted on the CPU: exact like the reference, in every step.

On a card the same tests run compiled. Sizes are tiny: the interpreter's cost is in the programs.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from foveate.kernels import op as ops
from foveate.kernels.sample import columns as p
from foveate.kernels.sample import steps as every
from foveate.kernels.sample import triton_colour, triton_light
from foveate.kernels.sample.augment import Augment
from foveate.kernels.sample.examples import EVERYTHING, IMAGENET, examples, scans
from foveate.kernels.sample.op import SAMPLE
from foveate.kernels.sample.params import resolve
from foveate.kernels.sample.reference import noise, positions, reference, taps

tl = pytest.importorskip("triton.language")

ROOT = Path(__file__).parent.parent
RAW = {1: {"mean": (0.0,), "std": (1.0,)}, 3: {"mean": (0.0,) * 3, "std": (1.0,) * 3}}
GRAYS, COLOURS = [(31, 47, 1), (20, 9, 1), (12, 60, 1)], [(21, 17, 3), (13, 38, 3), (40, 40, 3)]
ELASTIC = Augment(fit="letterbox", elastic=0.05, border="reflect", flip=0.5)
TURNED = Augment(fit="letterbox", rotate=180.0, scale=(0.5, 2.0), shear=30.0, fill=0.7)
TONED = Augment(brightness=0.4, saturation=0.4, gamma=1.0, noise=0.2, blur=2.0, erase=1.0)
CASES = {
    "letterbox": (Augment(fit="letterbox", flip=0.5, flip_vertical=0.5, fill=0.5), 0),
    "letterbox, edge": (Augment(fit="letterbox", border="edge", flip=0.5), 0),
    "letterbox, reflect": (Augment(fit="letterbox", border="reflect", flip_vertical=0.5), 0),
    "elastic": (ELASTIC, 0),
    "elastic, edge": (dataclasses.replace(ELASTIC, border="edge", rotate=40.0), 0),
    "turned, constant": (TURNED, 0),
    "turned, reflect": (dataclasses.replace(TURNED, border="reflect", translate=1.0), 0),
    "half of them turned": (dataclasses.replace(TURNED, affine_chance=0.5, fit="squash"), 0),
    "toned": (TONED, 0),
    "toned, contrast": (dataclasses.replace(TONED, contrast=0.5, colour_chance=0.6), 0),
    "stained": (Augment(flip=0.5), p.STAINED),
    "stained, everything": (dataclasses.replace(TONED, contrast=0.5, rotate=90.0), p.STAINED),
}


def batch(augment, shapes, size, flags=0, dtype=torch.uint8):
    pixels, start, shape = scans(shapes, dtype)
    index = np.arange(len(shapes))
    rows = resolve(augment, shape, size, seed=5, epoch=index * 0 + 1, index=index)
    if flags & p.STAINED:
        draw = np.random.default_rng(3)
        rows[:, p.FLAGS] |= flags
        rows[:, p.STAIN : p.STAIN + 9] += draw.integers(-20000, 20000, (len(rows), 9), np.int32)
        rows[:, p.STAIN_SHIFT : p.STAIN_SHIFT + 3] = draw.integers(-9000, 9000, (len(rows), 3))
    return pixels, start, shape, torch.from_numpy(rows)


def run(args, device, **how):
    """On the card if there is one, interpreted on the CPU if not; always back on the CPU."""
    how = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in how.items()}
    return SAMPLE.run(*(each.to(device) for each in args), backend="triton", **how).cpu()


def compare(args, device, **how):
    """The tolerance rule, for float32 with all steps and with the needed ones; 16 bits at 1 ulp."""
    exact = reference(*args, **how, dtype=torch.float64)
    same = reference(*args, **how, dtype=torch.float32)
    needed = every.needed(args[3], args[2], how["size"])
    ours = run(args, device, **how, steps=needed)
    assert ours.shape == exact.shape and ours.dtype == torch.float32
    error, theirs = ((out.double() - exact).abs().max() for out in (ours, same))
    bound = 2 * theirs + torch.finfo(torch.float32).eps * exact.abs().max()
    assert error <= bound, f"{error:.2e} > {bound:.2e}"
    return ours, needed


COSTLY = ("all steps", "mosaic", "table of")  # 5 to 24 s each in the interpreter


def cases():
    """Every example; the costliest run in `make test-slow`."""
    for example in examples():
        marks = [pytest.mark.slow] if example.name.startswith(COSTLY) else []
        yield pytest.param(example, id=example.name, marks=marks)


@pytest.mark.parametrize("example", list(cases()))
def test_every_example_is_as_exact_as_its_reference(example, device):
    compare(example.args, device, **example.settings)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_every_step_is_as_exact_as_its_reference(case, channels, device):
    augment, flags = CASES[case]
    args = batch(augment, GRAYS[:2] + COLOURS[:2], 24, flags)
    mean, std = IMAGENET[0][:channels], IMAGENET[1][:channels]
    compare(args, device, size=24, channels=channels, mean=mean, std=std)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_the_single_result_to_one_ulp(channels, dtype, device):
    args = batch(EVERYTHING, GRAYS[:1] + COLOURS[:1], 24)
    how = {"size": 24, "channels": channels, **RAW[channels]}
    ours, single = run(args, device, dtype=dtype, **how), run(args, device, **how)
    assert ours.dtype == dtype and ours.is_contiguous(memory_format=torch.channels_last)
    near = single.abs().clamp(min=torch.finfo(dtype).smallest_normal)
    assert ((ours.float() - single).abs() <= near * torch.finfo(dtype).eps).all()


def test_double_output_holds_the_single_result_and_out_is_filled(device):
    args = batch(TONED, GRAYS, 16)
    how = {"size": 16, "channels": 1, **RAW[1]}
    single = run(args, device, **how)
    assert torch.equal(run(args, device, dtype=torch.float64, **how), single.double())
    out = torch.full((3, 16, 16, 1), 9.0, device=device).permute(0, 3, 1, 2)
    assert SAMPLE.run(*(a.to(device) for a in args), backend="triton", out=out, **how) is out
    assert torch.equal(out.cpu(), single)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16], ids=str)
def test_a_table_gives_the_light_of_each_level(dtype, device):
    args = batch(EVERYTHING, GRAYS[:2] + COLOURS[:1], 20, dtype=dtype)
    levels = torch.iinfo(dtype).max + 1
    table = torch.linspace(0, 1, levels).sqrt()
    compare(args, device, size=20, channels=3, table=table, **RAW[3])


@pytest.mark.parametrize("augment", [TONED, EVERYTHING], ids=["toned", "everything"])
def test_parts_of_a_mosaic_lie_where_their_boxes_are_the_last_on_top(augment, device):
    size, boxes = 40, [(0, 0, 40, 40), (0, 0, 19, 23), (0, 23, 35, 17), (10, 15, 25, 20)]
    args = batch(augment, GRAYS[:2] + COLOURS[:2] + GRAYS[1:] + COLOURS[1:], size)
    rows = args[3]
    rows[:, p.BOX_TOP : p.BOX_WIDTH + 1] = torch.tensor(boxes * 2, dtype=torch.int32)
    rows[:, p.FLAGS] |= torch.tensor([0, p.KEEP, p.KEEP, p.KEEP] * 2, dtype=torch.int32)
    ours, _ = compare(args, device, size=size, channels=3, parts=4, **RAW[3])
    assert len(ours) == 2


def test_neither_the_batch_nor_the_steps_allowed_change_a_pixel(device):
    args = batch(dataclasses.replace(TONED, contrast=0.4, rotate=20.0), GRAYS + COLOURS, 24)
    how = {"size": 24, "channels": 3, **RAW[3]}
    whole = run(args, device, **how)
    mixed = [4, 0, 3]
    part = run((args[0], *(each[mixed] for each in args[1:])), device, **how)
    assert torch.equal(part, whole[mixed])


@pytest.mark.parametrize("augment", [Augment(), TONED, ELASTIC, TURNED, EVERYTHING])
def test_the_steps_possible_cover_the_steps_needed(augment):
    args = batch(augment, GRAYS + COLOURS, 24)
    needed, possible = every.needed(args[3], args[2], 24), every.possible(augment)
    assert needed & ~possible == 0 and possible & ~every.ALL == 0
    assert every.needed(batch(Augment(), GRAYS, 24)[3], args[2][:3], 24) == every.GRAY


@ops.triton_jit
def show_positions(rows, u, v, S: tl.constexpr, ROOM: tl.constexpr, STEPS: tl.constexpr):
    o = tl.arange(0, ROOM)
    at, mask = o[:, None] * S + o[None, :], (o < S)[:, None] & (o < S)[None, :]
    n = tl.program_id(0)
    right, down = triton_light.positions(rows + n * 96, o, o, S, STEPS)
    tl.store(u + n * S * S + at, right, mask=mask)
    tl.store(v + n * S * S + at, down, mask=mask)


@ops.triton_jit
def show_taps(first, length, source, box, blur, centre, lo, hi, ROOM: tl.constexpr):
    o = tl.arange(0, ROOM)
    n = tl.program_id(0)
    size = tl.load(box + n)
    c, low, high, _, _ = triton_light.reach(
        tl.load(first + n), tl.load(length + n), tl.load(source + n), size, tl.load(blur + n), o
    )
    tl.store(centre + n * ROOM + o, c, mask=o < size)
    tl.store(lo + n * ROOM + o, low, mask=o < size)
    tl.store(hi + n * ROOM + o, high, mask=o < size)


@ops.triton_jit
def show_quotients(n, d, out, ROOM: tl.constexpr):
    at = tl.program_id(0) * ROOM + tl.arange(0, ROOM)
    tl.store(out + at, triton_light.divide(tl.load(n + at), tl.load(d + tl.program_id(0))))


@ops.triton_jit
def show_grains(row, out, ROOM: tl.constexpr):
    o = tl.arange(0, ROOM)
    number = o[:, None] * ROOM + o[None, :]
    tl.store(out + number, triton_colour.grains(row, number))


def test_positions_are_the_integers_of_the_reference(device):
    size = 37
    rows = batch(dataclasses.replace(TURNED, elastic=0.03, translate=1.0), GRAYS * 4, size)[3]
    rows[1, p.XX : p.Y0 + 1] *= 30  # products beyond 2^31
    u, v = torch.zeros(2, len(rows), size, size, dtype=torch.int64, device=device)
    show_positions[(len(rows),)](rows.to(device), u, v, S=size, ROOM=64, STEPS=every.ALL)
    for n, row in enumerate(rows.tolist()):
        across, down = positions(row, size)
        assert np.array_equal(u[n].cpu(), across) and np.array_equal(v[n].cpu(), down)


def test_taps_are_the_integers_of_the_reference(device):
    draw, count, room = np.random.default_rng(1), 150, 64
    source = draw.integers(1, 32768, count)
    source[::3] = draw.integers(1, 60, len(source[::3]))
    length = np.maximum(1, (draw.random(count) * source * p.ONE).astype(np.int64))
    length[::5] = source[::5] * p.ONE
    first = (draw.random(count) * (source * p.ONE - length + 1)).astype(np.int64)
    box, blur = draw.integers(1, room + 1, count), draw.integers(0, 16 * p.ONE, count)
    blur[::2] = 0
    box[3] = 1
    inputs = [
        torch.from_numpy(each.astype(np.int32)) for each in (first, length, source, box, blur)
    ]
    found = torch.zeros(3, count, room, dtype=torch.int32, device=device)
    show_taps[(count,)](*(each.to(device) for each in inputs), *found, ROOM=room)
    for n in range(count):
        theirs = taps(int(first[n]), int(length[n]), int(source[n]), int(box[n]), int(blur[n]))
        assert np.array_equal(found[:, n, : box[n]].cpu(), np.stack(theirs[:3])), n


def test_quotients_by_way_of_floats_are_exact_beside_every_multiple(device):
    d = torch.cat([torch.arange(2, 60, 2), torch.arange(2, 32767, 602)]).int()
    k = torch.cat([torch.arange(256), torch.arange(1, 257) * 127]).int()[None, :] % d[:, None]
    n = torch.cat([k * d[:, None], (k * d[:, None] - 1).clamp(min=0)], dim=1).contiguous()
    out = torch.zeros_like(n, device=device)
    show_quotients[(len(d),)](n.to(device), d.to(device), out, ROOM=n.shape[1])
    assert torch.equal(out.cpu(), n // d[:, None])


def test_noise_is_the_integers_of_the_reference(device):
    rows = batch(TONED, GRAYS, 8)[3]
    rows[1, [p.KEY0, p.KEY1]] = torch.tensor([-1, -(1 << 31)], dtype=torch.int32)
    for row in rows:
        out = torch.zeros(32, 32, dtype=torch.int32, device=device)
        show_grains[(1,)](row.to(device), out, ROOM=32)
        theirs = noise(row.tolist(), (32, 32)) * p.NOISE_SD
        assert np.array_equal(out.cpu(), np.rint(theirs))


def test_the_choice_of_a_back_end_is_logged_once_and_can_be_asked_for(monkeypatch, caplog):
    monkeypatch.delenv("FOVEATE_BACKEND", raising=False)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    ops._say.cache_clear()
    caplog.set_level(logging.INFO, "foveate")
    cpu = torch.device("cpu")
    assert [SAMPLE.choose(cpu) for _ in range(3)] == ["cpu"] * 3
    assert caplog.messages == ["sample on cpu runs on the cpu back end (the first choice)"]
    monkeypatch.setenv("FOVEATE_BACKEND", "triton")
    assert SAMPLE.choose(cpu) == "triton" and "FOVEATE_BACKEND asks for it" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("asked", "device", "error", "message"),
    [("cpu", "cuda", NotImplementedError, "cannot serve sample on cuda: it does not run on cuda"),
     ("cuda", "cpu", NotImplementedError, "cannot serve sample on cpu: it does not run on cpu"),
     ("triton", "cpu", NotImplementedError, "on cpu: only under TRITON_INTERPRET=1"),
     ("metal", "cpu", ValueError, "FOVEATE_BACKEND must be triton or cuda or cpu, got 'metal'")],
)  # fmt: skip
def test_a_back_end_that_cannot_serve_the_device_is_refused(
    asked, device, error, message, monkeypatch
):
    monkeypatch.setenv("FOVEATE_BACKEND", asked)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(error, match=message):
        SAMPLE.choose(torch.device(device))


@pytest.mark.parametrize(
    ("name", "change"),
    [("parts", {"parts": 2}), ("table", {"table": torch.zeros(255)}), ("std", {"std": (0.0,)}),
     ("dtype", {"dtype": torch.int8}), ("out", {"out": torch.zeros(3, 1, 9, 9)})],
)  # fmt: skip
def test_a_wrong_argument_is_refused_by_name(name, change):
    how = {"size": 8, "channels": 1, **RAW[1]} | change
    with pytest.raises(ValueError, match=name):
        SAMPLE.run(*batch(Augment(), GRAYS, 8), backend="triton", **how)


COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from foveate.kernels.sample import steps, triton as ours

POINTERS = {"pixels": "*u8", "start": "*i64", "shape": "*i32", "params": "*i32", "out": "*bf16"}
FLOATS = {name: "*fp32" for name in ("curve", "tiles", "light", "sums")}
TURNLESS = steps.ALL & ~(steps.TURN | steps.BEND | steps.PIVOT)
VARIANTS = [
    (ours.develop, {"STEPS": steps.GRAY, "SOURCE": 0}),
    (ours.develop, {"STEPS": TURNLESS, "SOURCE": 0}),
    (ours.develop, {"STEPS": steps.ALL & ~steps.PIVOT, "SOURCE": 1}),
    (ours.develop, {"STEPS": steps.ALL, "SOURCE": 2, "K": 1}),
    (ours.resize, {"STEPS": steps.ALL, "CURVED": True}),
    (ours.measure, {"STEPS": steps.ALL, "SOURCE": 1}),
]
for kernel, change in VARIANTS:
    fixed = {"S": 224, "K": 3, "T": 49, "ROOM": 64, "BLOCK": ours.BLOCK, "CURVED": False} | change
    fixed = {name: value for name, value in fixed.items() if name in kernel.arg_names}
    types = POINTERS | FLOATS | {"parts": "i32"} | dict.fromkeys(fixed, "constexpr")
    signature = {name: types.get(name, "fp32") for name in kernel.arg_names}
    source = ASTSource(kernel, signature, constexprs=fixed)
    target = GPUTarget("cuda", int(sys.argv[1]), 32)
    built = triton.compile(source, target=target, options={"num_warps": ours.WARPS})
    assert ".visible .entry " + kernel.__name__ in built.asm["ptx"], kernel.__name__
    assert len(built.asm["cubin"]) > 1000 and built.metadata.shared <= 48 << 10
print("built", len(VARIANTS))
"""


SLOW = [pytest.param(capability, marks=pytest.mark.slow) for capability in (70, 100)]


@pytest.mark.parametrize("capability", [80, 90, *SLOW])
def test_every_kernel_compiles_for_this_card_without_one(capability, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", COMPILE, str(capability)]
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-2:] == ["built", "6"]
