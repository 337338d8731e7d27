"""`foveate doctor`: what it finds, what it survives, and what it must never say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from email.message import Message
from pathlib import Path

import pytest

from foveate.engine.doctor import diagnosis as doctor
from foveate.engine.doctor import finding
from foveate.engine.doctor.finding import Diagnosis, Finding, Section, cleaned, redact
from foveate.engine.doctor.imports import Imported, import_all
from foveate.engine.doctor.known_bad import TABLE, TARFILE, check_python, check_versions, number
from foveate.engine.doctor.licences import family
from foveate.engine.doctor.packages import (
    _requirements_of_checkout,
    check_apex,
    check_core,
    check_extras,
    requirements,
)
from foveate.engine.doctor.page import describe_diagnosis

ROOT = Path(__file__).resolve().parent.parent
CANARY = "canary9f31"
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": CANARY,
    "HF_TOKEN": f"hf_{CANARY}",
    "MLFLOW_TRACKING_URI": f"https://{CANARY}:{CANARY}@server/",
    "https_proxy": f"http://me:{CANARY}@proxy:3128",
    "MASTER_ADDR": f"{CANARY}.example",
    "PYTHONPATH_NOTE": CANARY,
    "NCCL_DEBUG": f"http://me:{CANARY}@x",
    "CUBLAS_WORKSPACE_CONFIG": f"token={CANARY}",
    "PYTORCH_ALLOC_CONF": f"me:{CANARY}@x",
    "OMP_PLACES": f"https://{CANARY}@x",
    "NUMBA_NUM_THREADS": f"sk-{CANARY}{CANARY}",
    "OMP_NUM_THREADS": CANARY,
    "NCCL_SOCKET_IFNAME": f"{CANARY}0",
    "USER": f"u{CANARY}",
}
BROKEN = f'raise ImportError("libx: token={CANARY}\\nsecond line of https://a:{CANARY}@b")'


def write_package(site: Path, name: str, code: str) -> None:
    """A package of that name as pip would have installed it."""
    site.mkdir(exist_ok=True)
    (site / f"{name}.py").write_text(code)
    (site / f"{name}-9.1.dist-info").mkdir()
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.1\nLicense: GPLv3, see GNU General\n"
    (site / f"{name}-9.1.dist-info/METADATA").write_text(about)


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Diagnosis:
    """What doctor finds on this machine, with secrets in the environment and a broken package."""
    here = tmp_path_factory.mktemp("doctor") / f"u{CANARY}"
    here.mkdir()
    write_package(here / "site", "timm", BROKEN)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.syspath_prepend(here / "site")
        patch.setattr(finding.socket, "gethostname", lambda: f"host{CANARY}.example.org")
        return doctor.diagnose(here / f"host{CANARY}" / "cache", here / "runs")


def find(found: Diagnosis, what: str) -> Finding:
    (one,) = [f for section in found.sections for f in section.findings if f.what == what]
    return one


def test_nothing_secret_and_no_name_is_said(found):
    for said in (describe_diagnosis(found), describe_diagnosis(found, True)):
        assert CANARY not in said
    assert CANARY not in json.dumps(found.to_dict())


def test_the_canaries_were_within_reach(found):
    assert find(found, "timm").said == "9.1 cannot be imported: ImportError: libx: token=<secret>"
    assert "<login>@" in find(found, "set").said and "<token>" in find(found, "set").said
    assert "<host>/cache" in find(found, "cache").said and "/<user>" in find(found, "runs").said
    assert {"https_proxy", "MASTER_ADDR"} <= {f.what for f in found.marked("note")}


def test_the_page_is_100_columns_of_plain_words(found):
    page = describe_diagnosis(found)
    assert max(map(len, page.splitlines())) <= 100 and page.isascii()
    words = {line[:5].strip() for line in page.splitlines() if re.match(r"\w+ +\S", line[:9])}
    assert {"ok", "warn", "bad", "note"} <= words
    assert re.sub(r"\x1b\[[\d;]*m", "", describe_diagnosis(found, True)) == page


def test_every_core_package_of_this_environment_is_there(found):
    names = {re.split(r"\W", line.lower())[0] for line in requirements()[""]}
    core = {f.what.partition("-")[0]: f for f in found.sections[0].findings}
    assert names == core.keys()
    assert all(core[name].mark == "ok" for name in ("torch", "numpy", "numba", "tyro"))


def test_a_thread_count_that_is_none_stops_a_run_and_doctor_says_so(found):
    assert [f.what for f in found.marked("bad")] == ["OMP_NUM_THREADS"]
    assert found.exit_code == 1 and found.verdict.startswith("OMP_NUM_THREADS: a run would stop")


def test_a_torch_that_cannot_be_imported_is_a_line_and_not_the_end(tmp_path):
    write_package(tmp_path / "site", "torch", "raise ImportError('libcudart.so.13: no such file')")
    for name in ("torchvision", "mlflow", "numba", "matplotlib", "zarr"):
        (tmp_path / "site" / f"{name}.py").write_text("")
    words = [sys.executable, "-m", "foveate", "doctor", "--cache", "c", "--json"]
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(
        [*words, "-"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    said = json.loads(done.stdout)
    torch = said["sections"]["packages"][0]
    assert (done.returncode, said["exit_code"], done.stderr) == (1, 1, "")
    assert torch["said"] == "cannot be imported: ImportError: libcudart.so.13: no such file"
    assert said["verdict"].startswith("torch: a run would stop")
    assert "GPLv3" not in done.stdout and "torch" in said["sections"]["licences"][1]["said"]


def test_imports_that_crash_hang_or_leave_are_reported_and_the_rest_goes_on(tmp_path, monkeypatch):
    bad = {
        "aborts": "import os; os.abort()",
        "hangs": "import time; time.sleep(600)",
        "leaves": "import os; os._exit(3)",
        "exits": "raise SystemExit('enough')",
        "talks": "import os; print('x' * 99999); os.write(1, b'y' * 99999); __version__ = '7'",
        "lacks": "import no_such_thing",
    }
    for name, code in bad.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    got = import_all([*bad, "json", "absent"], limit_s=3)
    assert {name: result.error for name, result in got.items()} == {
        "aborts": "crashes: the import ends with SIGABRT",
        "hangs": "hangs: not imported after 3 s",
        "leaves": "ends Python with exit code 3",
        "exits": "SystemExit: enough",
        "talks": "",
        "lacks": "ModuleNotFoundError: No module named 'no_such_thing'",
        "json": "",
        "absent": "ModuleNotFoundError: No module named 'absent'",
    }
    assert [name for name, result in got.items() if result.missing] == ["absent"]
    assert got["talks"].version == "7"


@pytest.mark.parametrize(
    ("parts", "installed", "mark", "said"),
    [
        ((False, False), {"apex": "0.9.10.dev0"}, "warn", "somebody else's"),
        ((True, True), {"apex": "0.1"}, "ok", "NVIDIA's"),
        ((True, False), {"apex": "0.1"}, "warn", "without amp_C"),
        (None, {}, "note", "not installed"),
    ],
)
def test_the_impostor_apex_is_told_apart(parts, installed, mark, said):
    facts = dict(zip(("apex.optimizers", "amp_C"), parts or (), strict=False))
    result = Imported(facts=facts, missing=parts is None, error="" if parts else "none")
    assert (check_apex(installed, result).mark, said in check_apex(installed, result).said) == (
        mark,
        True,
    )


def test_the_impostor_is_found_by_importing_it(tmp_path, monkeypatch):
    (tmp_path / "apex").mkdir()
    (tmp_path / "apex/__init__.py").write_text("# Pyramid toolkit")
    monkeypatch.syspath_prepend(tmp_path)
    assert import_all(["apex"])["apex"].facts == {"apex.optimizers": False, "amp_C": False}
    (tmp_path / "apex/optimizers.py").write_text("")
    (tmp_path / "amp_C.py").write_text("")
    assert import_all(["apex"])["apex"].facts == {"apex.optimizers": True, "amp_C": True}


def test_each_known_bad_version_is_found_and_what_mended_it_is_not():
    for bad in TABLE:
        below = bad.only[0] if bad.only else "0.9"
        (told,) = check_versions({bad.package: below})
        assert told.mark == "warn" and told.what == f"{bad.package} {below}" and told.fix
        fixed = bad.fixed or "9.9"
        assert check_versions({bad.package: f"{fixed}+cu130"})[0].mark == "ok"
    assert number("2.10") > number("2.9.1") > number("2.9.0+cpu") == number("2.9")


def test_python_is_judged_by_its_patch_level():
    for (major, minor), least in TARFILE.items():
        assert check_python((major, minor, least - 1)).mark == "warn"
        assert check_python((major, minor, least)).mark == "ok"
    assert check_python((3, 14, 0)).mark == "ok"


def test_a_missing_core_package_stops_runs_unless_they_can_do_without():
    gone = Imported(error="ModuleNotFoundError: x", missing=True)
    found = check_core(["numpy", "mlflow-skinny>=3.17"], {}, {"numpy": gone, "mlflow": gone})
    assert [(f.mark, f.said) for f in found] == [
        ("bad", "not installed"),
        ("warn", "not installed"),
    ]
    (old,) = check_core(["zarr<4,>=3.1"], {"zarr": "2.18"}, {"zarr": Imported("2.18")})
    assert old.mark == "warn" and "asks for zarr<4" in old.said


def test_an_extra_that_is_half_there_says_what_it_lacks():
    gone = Imported(error="ModuleNotFoundError: x", missing=True)
    imported = {"onnx": Imported("1"), "onnxruntime": gone, "triton": gone, "timm": gone}
    wanted = {"": [], "export": ["onnx", "onnxruntime"]}
    found = check_extras(wanted, {"onnx": "1.23"}, imported | {"apex": gone})
    assert [(f.mark, f.what) for f in found[:2]] == [("ok", "onnx"), ("note", "extra export")]
    assert found[1].said == "onnxruntime not installed"


def test_a_checkout_asks_for_what_its_metadata_asks_for():
    asked = {extra: sorted(map(str.lower, w)) for extra, w in _requirements_of_checkout().items()}
    assert {"", "dali", "deepspeed", "gpu"} <= asked.keys() and not {"all", "dev"} & asked.keys()
    assert any(line.startswith("torch>=") for line in asked[""])


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"License-Expression": "AGPL-3.0-only"}, "AGPL"),
        ({"License-Expression": "MIT OR GPL-3.0-only"}, "MIT"),
        ({"License-Expression": "MIT AND GPL-3.0-only"}, "GPL"),
        ({"License-Expression": "LGPL-2.1-only"}, "LGPL"),
        ({"License-Expression": "LicenseRef-NVIDIA-Proprietary"}, "proprietary"),
        ({"Classifier": "License :: OSI Approved :: GNU Affero General Public License v3"}, "AGPL"),
        ({"Classifier": "License :: OSI Approved :: Apache Software License"}, "Apache"),
        ({"License": "BSD 3-Clause" + "\n        " * 200 + "GPL"}, "BSD"),
        ({"License": "GPLv3"}, "GPL"),
        ({"License": "as you like"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_a_licence_is_named_by_its_family(fields, name):
    message = Message()
    for key, value in fields.items():
        message[key] = value
    assert family(message) == name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://me:pw@host/x", "see https://<login>@host/x"),
        ("at https://ghtoken@host", "at https://<login>@host"),
        ("me:pw@host", "<login>@host"),
        ("key ghp_0123456789abcdef", "key <token>"),
        ("AKIAIOSFODNN7EXAMPLE", "<token>"),
        ("password: hunter2 end", "password: <secret> end"),
        ("two\nlines", "two lines"),
        ("/data/ann/x of ann@h", "/data/<user>/x of <user>@h"),
        ("an ann's word", "an ann's word"),
        ("on node-17.x or node-171", "on <host>.x or node-171"),
        ("joann and ann-marie", "joann and ann-marie"),
        ("pip install 'zarr<4,>=3.1'", "pip install 'zarr<4,>=3.1'"),
    ],
)
def test_secrets_and_names_are_taken_out(text, shown):
    assert redact(text, {"ann": "<user>", "node-17": "<host>"}) == shown


def test_warnings_do_not_fail_and_the_installation_goes_before_storage():
    def judge(*found: Finding) -> int:
        return Diagnosis("0", cleaned([Section("s", found)])).exit_code

    warn, full = Finding("warn", "w", "x"), Finding("bad", "disk", "x", code=50)
    assert [judge(warn), judge(warn, full), judge(full, Finding("bad", "t", "x"))] == [0, 50, 1]
