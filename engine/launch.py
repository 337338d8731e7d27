"""Starting a run on several processes of this machine: torchrun's agent, without its shouting."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from .failure import EXIT_CODES, RecipeError

EXIT_FOLDER = "FOVEATE_EXIT_FOLDER"
"""Where each process of a launch leaves its exit code: torchrun itself only ever ends with 1."""


def launch_local(processes: int, words: Sequence[str]) -> int:
    """Run `foveate train WORDS` on `processes` processes of this machine -> the run's exit code.

    Ctrl-C and SIGTERM are passed on: the processes save and end with 143. Raises RecipeError for
    fewer than one process.
    """
    if processes < 1:
        raise RecipeError(f"nproc is {processes}; a run has 1 process or more")
    with tempfile.TemporaryDirectory(prefix="foveate-launch-") as folder:
        os.environ[EXIT_FOLDER] = folder
        # Without it, ranks that are started again may read addresses of the dead: 4 of 8 came up.
        os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // processes)))
        _run_agent(processes, ["-m", "foveate", "train", *words])
        return exit_code(Path(folder), processes)


def _run_agent(processes: int, words: Sequence[str]) -> None:
    """torchrun --standalone; that a process failed is known from its exit code."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)(*words)
    except (ChildFailedError, SignalException):
        return


def leave_exit_code(code: int) -> None:
    """Called by every process as it ends: a small file that says with what."""
    folder = Path(os.environ.get(EXIT_FOLDER, ""))
    if os.environ.get(EXIT_FOLDER) and "RANK" in os.environ and folder.is_dir():
        (folder / os.environ["RANK"]).write_text(str(code))


def exit_code(folder: Path, processes: int) -> int:
    """One code for the run: the first that is an error of its own.

    A process that lost its peer says 40 because the peer ended with something else before it, and
    one that was killed says nothing: then 40 is what there is to say.
    """
    codes = [int(path.read_text()) for path in sorted(folder.iterdir())]
    own = [code for code in codes if code in EXIT_CODES and code not in (0, 40)]
    if own:
        return own[0]
    return 0 if codes == [0] * processes else 40


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
