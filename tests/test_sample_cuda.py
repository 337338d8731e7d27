"""`sample` in CUDA C++: it compiles for every card, and the same text is right as host C++.

Without a card its kernels run under g++ (cuda_host.h), one block after the other; the barriers are
real. What only a card can show is marked `gpu`.
"""

from __future__ import annotations

import ctypes
import functools
import re
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foveate.kernels import driver
from foveate.kernels.op import Example
from foveate.kernels.sample import columns as p
from foveate.kernels.sample import cuda
from foveate.kernels.sample.augment import Augment
from foveate.kernels.sample.checks import check_call
from foveate.kernels.sample.examples import EVERYTHING, IMAGENET, examples, scans
from foveate.kernels.sample.op import SAMPLE
from foveate.kernels.sample.params import plain, resolve
from foveate.kernels.sample.reference import reference

HERE = Path(__file__).parent
ARCHS = (75, 80, 90, 100)
GRAY = [(31, 47, 1), (64, 64, 1), (101, 33, 1), (7, 250, 1)]
COLOURED = [(61, 47, 3), (33, 128, 3), (96, 96, 3), (1, 1, 3), (40, 1, 3)]
SPAN = [(900, 1100, 1), (500, 700, 3)]  # more source columns than a block holds at a time
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WARPED = {"rotate": 30.0, "shear": 10.0, "translate": 0.1, "scale": (0.7, 1.4)}
CROPPED = {"area": (0.1, 1.0), "ratio": (0.5, 2.0), "flip": 0.5, "flip_vertical": 0.5}
COLOURS = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4}


def make(name, augment, shapes=(*GRAY, *COLOURED), size=21, channels=3, **more):
    """An example with every row drawn; `more`: dtype, change (of the rows), table, parts."""
    change, dtype = more.pop("change", None), more.pop("dtype", torch.uint8)
    pixels, start, shape = scans(list(shapes), dtype)
    index = np.arange(len(shapes))
    rows = resolve(augment, shape, size, seed=5, epoch=index * 0 + 2, index=index)
    if change:
        change(rows)
    settings = {"size": size, "channels": channels, "mean": IMAGENET[0][:channels]}
    settings |= {"std": IMAGENET[1][:channels], **more}
    return Example(name, (pixels, start, shape, torch.from_numpy(rows)), settings)


def stained(rows):
    """A stain matrix near unity and a shift, for every row."""
    draw = np.random.default_rng(1)
    matrix = np.eye(3) + draw.uniform(-0.2, 0.2, (len(rows), 3, 3))
    rows[:, p.STAIN : p.STAIN + 9] = np.rint(matrix.reshape(-1, 9) * p.ONE)
    rows[:, p.STAIN_SHIFT : p.STAIN_SHIFT + 3] = draw.integers(-3000, 9000, (len(rows), 3))
    rows[:, p.FLAGS] |= p.STAINED


def boxed(flags):
    """Four rows per output, each in its own overlapping quarter; `flags` are added."""

    def change(rows):
        for part in range(4):
            mine, side = rows[part::4], 13
            mine[:, p.BOX_TOP], mine[:, p.BOX_LEFT] = part // 2 * 8, part % 2 * 8
            mine[:, [p.BOX_HEIGHT, p.BOX_WIDTH]] = side
            mine[:, p.FLAGS] |= p.KEEP | flags

    return change


def one_box(rows):
    """The first row of two fills the output, the second a part of it."""
    rows[1::2, p.BOX_TOP : p.BOX_WIDTH + 1] = (3, 5, 9, 11)
    rows[1::2, p.FLAGS] |= p.KEEP


def small_boxes(rows):
    """Boxes that leave most of the output to no row at all: it is 0 there."""
    rows[:, p.BOX_TOP : p.BOX_WIDTH + 1] = (2, 3, 5, 6)
    rows[:, p.FLAGS] |= p.KEEP


def far_blur(rows):
    """A support of more than 2^31: 17 output pixels of 2,048 source pixels."""
    rows[:, p.BLUR] = 16 * p.ONE


def features():
    """Each feature that the examples of the op do not reach."""
    fit, steps = {"fit": "letterbox"}, np.random.default_rng(2).random(65536)
    curve = {8: torch.from_numpy(steps[:256]).float(), 16: torch.from_numpy(steps).float()}
    quarters = [(40, 50, 1), (33, 20, 3), (20, 60, 1), (50, 50, 3)] * 2
    for border in ("constant", "edge", "reflect"):
        edge = {"border": border, "fill": 0.3}
        yield make(f"letterbox {border}", Augment(**fit, **edge, **CROPPED))
        yield make(f"letterbox {border} turned", Augment(**fit, **edge, **WARPED, contrast=0.5))
        yield make(f"warped {border}", Augment(**edge, **WARPED, **CROPPED))
        yield make(f"elastic {border}", Augment(**edge, elastic=0.06, **CROPPED), size=40)
    yield from plain_features(fit, curve)
    for flags, name in ((0, "parts"), (p.EDGE, "parts edge")):
        more = {"change": boxed(flags), "parts": 4}
        yield make(name, Augment(**CROPPED, **COLOURS, noise=0.1), quarters, **more)
        yield make(f"{name} warped", Augment(**WARPED, **COLOURS), quarters, **more)
    yield make(
        "parts that leave gaps", Augment(contrast=0.5), quarters, change=small_boxes, parts=2
    )
    yield make("a box alone", Augment(**WARPED), quarters, change=small_boxes)
    yield make("parts over", Augment(contrast=0.5), quarters, change=one_box, parts=2)
    yield make("everything", Augment(
        **fit, **CROPPED, **WARPED, **COLOURS, elastic=0.04, gamma=0.5, blur=1.5, noise=0.2,
        erase=0.5, border="reflect",
    ), (*GRAY, *COLOURED) * 2, 48, change=stained)  # fmt: skip


def plain_features(fit, curve):
    """Features without parts."""
    yield make("letterbox colour", Augment(**fit, **COLOURS, fill=0.5))
    yield make("elastic and affine", Augment(elastic=0.05, **WARPED, **COLOURS), size=70)
    yield make("blur", Augment(blur=3.0, **CROPPED, **COLOURS))
    yield make("noise", Augment(noise=0.3, **CROPPED))
    yield make("noise gray", Augment(noise=0.3, rotate=9.0), channels=1)
    yield make("erase", Augment(erase=0.9, **CROPPED), size=30)
    yield make("erase warped", Augment(erase=0.9, **WARPED), size=30)
    yield make("gamma", Augment(gamma=1.0, **CROPPED, **COLOURS))
    yield make("stain", Augment(**CROPPED), change=stained)
    yield make("stain warped", Augment(**WARPED, **COLOURS, gamma=0.5), change=stained)
    yield make("table", Augment(**CROPPED, **COLOURS), table=curve[8])
    yield make("table 16", Augment(**WARPED), table=curve[16], dtype=torch.uint16)
    yield make("uint16", Augment(**WARPED, **COLOURS, noise=0.1), dtype=torch.uint16)
    yield make("wide spans", Augment(area=(0.5, 1.0), flip=0.5, **COLOURS), SPAN, size=9)
    yield make("wide spans 16", Augment(flip=0.5), SPAN, size=5, dtype=torch.uint16)
    yield make("far blur", Augment(), [(2, 32767, 1), (32767, 1, 1)], 16, 1, change=far_blur)
    yield make("aligned rows", Augment(**CROPPED, **COLOURS), size=64)
    yield make("aligned, two blocks", Augment(**WARPED, **COLOURS), size=80)
    yield make("aligned gray", Augment(**CROPPED), GRAY, size=72, channels=1)


CASES = [*examples(), *(replace(case, name=f"more {case.name}") for case in features())]


@functools.cache
def truth(name, dtype):
    """The reference's output for a case; the host and the card are judged by the same."""
    example = next(case for case in CASES if case.name == name)
    return reference(*example.args, **example.settings, dtype=dtype)


def judge(example, dtype, ours):
    """The tolerance rule of every kernel."""
    exact, same = truth(example.name, torch.float64), truth(example.name, dtype)
    assert ours.dtype == dtype and ours.shape == exact.shape
    error, theirs = ((out.double() - exact).abs().max() for out in (ours, same))
    bound = 2 * theirs + torch.finfo(dtype).eps * exact.abs().max()
    assert error <= bound, f"{example.name}: {error:.2e} > {bound:.2e}"


# ---- it compiles -------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ARCHS)
def test_nvrtc_compiles_it_for_every_card(arch):
    compiler = driver.nvrtc()
    if compiler is None or arch not in compiler.supported:
        pytest.skip(f"no NVRTC here that knows sm_{arch}")
    code = compiler.build(cuda.source(), f"sm_{arch}")
    assert code[:4] == b"\x7fELF" and len(code) > 10_000


@pytest.mark.parametrize("arch", ARCHS)
def test_four_blocks_share_the_registers_and_little_is_spilled(arch, tmp_path, capsys):
    compiler = driver.nvcc()
    if compiler is None or arch not in compiler.supported:
        pytest.skip(f"no nvcc here that knows sm_{arch}")
    (tmp_path / "sample.cu").write_text(cuda.source())
    command = ["nvcc", "-cubin", f"-arch=sm_{arch}", *driver.OPTIONS, "-Xptxas", "-v"]
    command += ["-o", str(tmp_path / "code"), str(tmp_path / "sample.cu")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    kernels = re.findall(
        r"entry function '(\w+)'.*?(\d+) bytes spill stores.*?Used (\d+) registers", said, re.S
    )
    assert (tmp_path / "code").read_bytes()[:4] == b"\x7fELF"
    with capsys.disabled():
        print(f"\nsm_{arch}:", *(f"{k} {used} registers, {lost} B" for k, lost, used in kernels))
    assert {kernel for kernel, _, _ in kernels} == {"resize8", "resize16", "sums", "finish"}
    # 4 blocks of 256 threads in 65,536 registers; what is spilled lies around rare calls.
    assert all(int(used) <= 64 and int(lost) <= 256 for _, lost, used in kernels)


def test_code_is_kept_and_found_again_and_changes_with_the_text(monkeypatch, tmp_path):
    if not driver.compilers():
        pytest.skip("neither NVRTC nor nvcc is here")
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path))
    text = 'extern "C" __global__ void f(int *p) { *p = 1; }'
    first = driver.make_code(text, 90)
    (kept,) = tmp_path.glob("cuda/*-sm_90")
    assert kept.read_bytes() == first
    kept.write_bytes(b"kept")
    assert driver.make_code(text, 90) == b"kept"
    assert driver.make_code(text.replace("1", "2"), 90) != b"kept"
    assert driver.make_code(text, 89) != b"kept"
    assert len(list(tmp_path.glob("cuda/*"))) == 3, "something temporary was left"


def test_a_folder_that_cannot_be_written_costs_the_cache_and_nothing_else(monkeypatch, tmp_path):
    if not driver.compilers():
        pytest.skip("neither NVRTC nor nvcc is here")
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "file"))
    assert driver.make_code('extern "C" __global__ void f() {}', 90)


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(driver, "compilers", lambda: [])
    with pytest.raises(ImportError, match="pip install nvidia-cuda-nvrtc"):
        driver.make_code("", 90)


def test_an_error_in_the_text_comes_with_the_compilers_words():
    for compiler in driver.compilers():
        with pytest.raises(RuntimeError, match=r"identifier .missing. is undefined"):
            compiler.build("__global__ void f() { missing(); }", "sm_90")


@pytest.mark.parametrize(
    ("capability", "arch"),
    [(75, "sm_75"), (86, "sm_86"), (89, "sm_86"), (90, "sm_90"), (103, "compute_90")],
)
def test_a_card_gets_its_own_code_or_ptx_of_an_older_one(capability, arch):
    compiler = driver.Compiler("test", (75, 80, 86, 90), lambda text, arch: b"")
    assert driver.choose_arch(capability, compiler) == arch


def test_a_card_that_is_too_old_is_told_what_it_needs():
    compiler = driver.Compiler("nvrtc 13.0", (75, 80), lambda text, arch: b"")
    with pytest.raises(RuntimeError, match=r"7\.5 and up, this card has 7\.0.*CUDA 12"):
        driver.choose_arch(70, compiler)


# ---- it is right, without a card ---------------------------------------------------------------


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """`sample.cu` as a CPU library: a function from a call's arguments to its output."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the kernels for the CPU")
    folder = tmp_path_factory.mktemp("host")
    (folder / "sample.cu").write_text(cuda.source())
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", f"-I{HERE}"]
    command += [f'-DSOURCE="{folder}/sample.cu"', "-o", str(folder / "host.so")]
    done = subprocess.run([*command, str(HERE / "cuda_host.cpp")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    library = ctypes.CDLL(str(folder / "host.so"))

    def call(
        pixels, start, shape, params, *, size, channels, dtype, parts=1, table=None, order=0, **rest
    ):
        count = len(start) // parts
        out = torch.full((count, size, size, channels), 77.0, dtype=dtype)
        scratch = cuda.make_scratch(len(start), size, channels, out.device)
        for part in scratch:
            part.fill_(float("nan"))
        job, blocks = cuda.make_job(
            pixels, start, shape, params, size=size, channels=channels, out=out, table=table,
            parts=parts, scratch=scratch, **rest,
        )  # fmt: skip
        for name in cuda.kernels(pixels.dtype):
            assert library.host_launch(name.encode(), ctypes.byref(job), blocks, order) == 0
        return out.permute(0, 3, 1, 2)

    return call


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("example", CASES, ids=lambda example: example.name)
def test_the_same_text_is_right_as_host_code(host, example, dtype):
    rising = host(*example.args, **example.settings, dtype=dtype)
    judge(example, dtype, rising)
    if dtype == torch.float32:  # barriers are the same for all
        falling = host(*example.args, **example.settings, dtype=dtype, order=1)
        assert torch.equal(rising, falling), "a barrier is missing"


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_16_bit_outputs_are_torchs_casts_bit_for_bit(host, dtype):
    example = make("cast", Augment(**CROPPED, noise=0.2), size=48)
    full = host(*example.args, **example.settings, dtype=torch.float32)
    ours = host(*example.args, **example.settings, dtype=dtype)
    assert torch.equal(ours, full.to(dtype))


@pytest.mark.parametrize(
    ("column", "value"), [("start", -1), ("start", 10**9), ("shape", 0), ("shape", 4000)]
)
def test_an_image_outside_the_pixels_becomes_nan_and_harms_no_other(host, column, value):
    pixels, start, shape = scans(GRAY)
    rows = torch.from_numpy(plain(Augment(), shape, 20))
    how = {"size": 20, "channels": 1, "mean": (0.5,), "std": (0.5,), "dtype": torch.float32}
    right = host(pixels, start, shape, rows, **how)
    (start if column == "start" else shape[:, 0])[1] = value
    ours = host(pixels, start, shape, rows, **how)
    assert ours[1].isnan().all()
    assert torch.equal(ours[[0, 2, 3]], right[[0, 2, 3]])


def test_a_call_with_tensors_elsewhere_is_refused_by_name():
    pixels, start, shape = scans(GRAY)
    rows = torch.from_numpy(plain(Augment(), shape, 8))
    call = {"size": 8, "channels": 1, "mean": (0.5,), "std": (0.5,)}
    with pytest.raises(ValueError, match="pixels must be on a CUDA device, they are on cpu"):
        SAMPLE.run(pixels, start, shape, rows, backend="cuda", **call)
    with pytest.raises(ValueError, match="pixels must be on a CUDA device, they are on cpu"):
        SAMPLE.run(pixels, start, shape, rows, backend="cuda", **call, steps=None, threads=1)
    more = call | {"table": None, "parts": 1}
    check_call(pixels, start, shape, rows, **more)
    for name, change in (
        ("start", {"start": start.int()}),
        ("shape", {"shape": shape.to("meta")}),
        ("params", {"params": rows[:, :-1]}),
        ("std", {"std": (0.0,)}),
        ("table", {"table": torch.ones(255)}),
        ("parts", {"parts": 3}),
    ):
        args = {"pixels": pixels, "start": start, "shape": shape, "params": rows, **more}
        with pytest.raises(ValueError, match=name):
            check_call(**(args | change))
    with pytest.raises(ValueError, match="out must be stored channels-last"):
        check_call(**args, out=torch.empty(4, 3, 8, 8))


# ---- on a card ---------------------------------------------------------------------------------


def on_card(example, **more):
    """The example's arguments and settings on the card, the CUDA back end's output on the CPU."""
    settings = dict(example.settings)
    if settings.get("table") is not None:
        settings["table"] = settings["table"].cuda()
    args = [argument.cuda() for argument in example.args]
    return SAMPLE.run(*args, backend="cuda", **settings, **more)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("example", CASES, ids=lambda example: example.name)
def test_it_is_right_on_a_card(example, dtype):
    judge(example, dtype, on_card(example, dtype=dtype).cpu())


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_16_bit_outputs_of_a_card_are_torchs_casts_bit_for_bit(dtype):
    example = make("cast", Augment(**CROPPED, noise=0.2), size=48)
    assert torch.equal(on_card(example, dtype=dtype), on_card(example).to(dtype))


@pytest.mark.gpu
def test_a_card_gives_the_same_bits_every_time_in_any_batch_and_thread():
    example = make("mixed", EVERYTHING, size=64)
    first = on_card(example)
    for _ in range(5):
        assert torch.equal(on_card(example), first)
    pixels, start, shape, rows = example.args
    some = torch.tensor([5, 2, 7])
    part = Example("part", (pixels, start[some], shape[some], rows[some]), example.settings)
    assert torch.equal(on_card(part), first[some])
    found = []
    thread = threading.Thread(target=lambda: found.append(on_card(example)))
    thread.start()
    thread.join()
    assert torch.equal(found[0], first)


@pytest.mark.gpu
def test_a_graph_replays_it_on_new_pixels():
    pixels, start, shape = (tensor.cuda() for tensor in scans([(90, 70, 3)] * 4))
    rows = torch.from_numpy(plain(Augment(contrast=0.4), shape.cpu(), 32)).cuda()
    how = {"size": 32, "channels": 3, "mean": IMAGENET[0], "std": IMAGENET[1]}
    out = torch.empty(4, 3, 32, 32, device="cuda").to(memory_format=torch.channels_last)

    def call():
        return SAMPLE.run(pixels, start, shape, rows, backend="cuda", **how, out=out)

    call()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    pixels.copy_(255 - pixels)
    expected = call().clone()
    out.zero_()
    graph.replay()
    assert torch.equal(out, expected)
