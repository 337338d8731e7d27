"""Checkpoints: safetensors and JSON, hashed, written beside and renamed. No pickle anywhere.

    checkpoints/step-00000050/rank-0.safetensors
                              layout.json    {"body": {...}, "sha256": of the body}

The body names each tensor's dtype, full shape and the chunks it is stored in, so that shards of
any number of ranks can be read by any other number, and each file's size and sha256. A kill at
any moment leaves the previous checkpoint whole; a flipped bit is found before it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from ..dataloaders.durable import sync as _sync
from ..dataloaders.errors import StorageError
from .ranks.world import World

FORMAT = 1
KEEP = 2
log = logging.getLogger("foveate")


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds: the step it was taken after, tensors by name, plain facts."""

    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class Checkpointer:
    """Saves behind the training, one at a time; restores the newest that is whole."""

    def __init__(self, folder: Path, world: World | None = None) -> None:
        self.folder, self.world = folder, world or World()
        if self.world.leads:
            for left in folder.glob("step-*.partial"):  # of a save that was killed
                shutil.rmtree(left, ignore_errors=True)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def save(self, step: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Returns once the tensors are copied; raises StorageError if the save before failed."""
        self.wait()
        if not self.world.leads:
            return
        copied = {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}
        self._pending = self._writer.submit(write, self.folder, Saved(step, copied, facts))

    def wait(self) -> None:
        """Until the save under way is on disk. Raises StorageError if it failed."""
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def close(self) -> None:
        """Wait, then end the writing thread."""
        try:
            self.wait()
        finally:
            self._writer.shutdown()

    def restore(self) -> Saved | None:
        """The newest checkpoint that passes every check; None where there is none.

        The leader chooses, and every rank reads that one. Damaged ones are named in the log and
        passed over. Raises StorageError where there are checkpoints and not one can be used:
        starting over silently would lose a run.
        """
        saved = self._newest() if self.world.leads else None
        step = self.world.from_leader(saved.step if saved else -1)
        if step < 0 or self.world.leads:
            return saved
        return read(self.folder / name_of(step))

    def _newest(self) -> Saved | None:
        found = sorted(self.folder.glob("step-????????"), reverse=True)
        for folder in found:
            try:
                return read(folder)
            except StorageError as error:
                log.warning("%s; trying the one before it", error)
        if found:
            raise StorageError(
                f"none of {len(found)} checkpoints in {self.folder} can be read; "
                "restore the folder from a backup, or start over with --fresh"
            )
        return None


def name_of(step: int) -> str:
    """The folder of the checkpoint that was taken after `step`."""
    return f"step-{step:08d}"


def write(parent: Path, saved: Saved) -> None:
    """Write one checkpoint beside, make it durable, rename it, drop all but the newest."""
    final = parent / name_of(saved.step)
    work = final.with_suffix(".partial")
    try:
        _write_files(work, saved)
        shutil.rmtree(final, ignore_errors=True)
        work.rename(final)
        _sync(parent)
    except OSError as error:
        shutil.rmtree(work, ignore_errors=True)
        raise StorageError(
            f"checkpoint of step {saved.step} not written ({error.strerror}); the one before it "
            "is whole: free space and give the same command again"
        ) from None
    for old in sorted(parent.glob("step-????????"))[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)


def _write_files(work: Path, saved: Saved) -> None:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    name, data = "rank-0.safetensors", safetensors.torch.save(saved.tensors)
    body = {
        "format": FORMAT,
        "step": saved.step,
        "facts": saved.facts,
        "tensors": {key: _describe(value, name) for key, value in sorted(saved.tensors.items())},
        "files": {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}},
    }
    layout = {"body": body, "sha256": _hash(body)}
    write_durably(work / name, data)
    write_durably(work / "layout.json", json.dumps(layout, indent=1).encode())
    _sync(work)


def _describe(value: Tensor, file: str) -> dict[str, Any]:
    shape = list(value.shape)
    chunk = {"offset": [0] * len(shape), "shape": shape, "file": file}
    return {"dtype": str(value.dtype).removeprefix("torch."), "shape": shape, "chunks": [chunk]}


def read(folder: Path) -> Saved:
    """One checkpoint, every byte of it checked. Raises StorageError with the reason."""
    try:
        layout = json.loads((folder / "layout.json").read_text())
        body = layout["body"]
        if layout["sha256"] != _hash(body):
            raise StorageError(f"checkpoint {folder} has a changed layout.json")
        if body["format"] > FORMAT:
            raise StorageError(f"checkpoint {folder} is format {body['format']}; upgrade foveate")
        tensors: dict[str, Tensor] = {}
        for name, facts in body["files"].items():
            tensors |= _read_file(folder / name, facts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"checkpoint {folder} cannot be read ({error})") from None
    for name, facts in body["tensors"].items():
        if name not in tensors or list(tensors[name].shape) != facts["shape"]:
            raise StorageError(f"checkpoint {folder} lacks tensor {name}")
    return Saved(body["step"], tensors, body["facts"])


def _read_file(path: Path, facts: dict[str, Any]) -> dict[str, Tensor]:
    data = path.read_bytes()
    if len(data) != facts["bytes"] or hashlib.sha256(data).hexdigest() != facts["sha256"]:
        raise StorageError(f"checkpoint file {path} is damaged")
    return safetensors.torch.load(data)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_durably(path: Path, data: bytes) -> None:
    """Write beside, then rename: readers see the old content or the new, never a part."""
    beside = path.with_name(path.name + ".partial")
    write_durably(beside, data)
    beside.replace(path)
    _sync(path.parent)


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file of weights or rows, durable and whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    replace_durably(path, safetensors.torch.save(plain))


def _hash(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
