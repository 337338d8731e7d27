"""The Triton kernels of masks, objects and mixing become machine code for every kind of card."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

ROOT = Path(__file__).parent.parent

COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from foveate.kernels.instances import triton as instances
from foveate.kernels.masks import triton as masks
from foveate.kernels.mix import triton as mix
from foveate.kernels.sample.columns import COLUMNS, ONE, PARTNER

TYPES = dict.fromkeys("start image regions vertices rings".split(), "*i64")
TYPES |= dict.fromkeys("ends shape params rows".split(), "*i32")
ROWS = {"COLUMNS": COLUMNS, "FIRST": PARTNER, "ONE": ONE, "BLOCK": mix.BLOCK}
VARIANTS = [
    *((masks._nearest, {"labels": f"*{kind}", "out": f"*{kind}"}, {"BLOCK": masks.BLOCK})
      for kind in ("u8", "u16", "i32")),
    (instances._runs, {"out": "*u8"}, {"BLOCK": instances.BLOCK}),
    *((instances._polygons, {"out": "*u8"}, {"MOVED": moved, "BLOCK": instances.BLOCK})
      for moved in (False, True)),
    *((mix._kernel, {"images": f"*{one}", "out": f"*{other}"}, {"WIDE": wide, **ROWS})
      for one, other, wide in (("fp32", "fp32", False), ("fp32", "bf16", False),
                               ("bf16", "bf16", False), ("fp16", "fp16", False),
                               ("fp64", "fp64", True))),
]
for kernel, types, fixed in VARIANTS:
    types = TYPES | types | dict.fromkeys(fixed, "constexpr")
    signature = {name: types.get(name, "i32") for name in kernel.arg_names}
    source = ASTSource(kernel, signature, constexprs=fixed)
    built = triton.compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32))
    assert ".visible .entry " + kernel.__name__ in built.asm["ptx"], kernel.__name__
    assert f".target sm_{sys.argv[1]}" in built.asm["ptx"], kernel.__name__
    assert len(built.asm["cubin"]) > 1000 and built.metadata.shared <= 48 << 10
print("built", len(VARIANTS))
"""


SLOW = [pytest.param(capability, marks=pytest.mark.slow) for capability in (70, 100)]  # 6 to 8 s


@pytest.mark.parametrize("capability", [80, 90, *SLOW])
def test_every_kernel_compiles_for_this_card_without_one(capability, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, "-c", COMPILE, str(capability)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-2:] == ["built", "11"]
