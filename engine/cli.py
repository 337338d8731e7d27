"""The `foveate` command: exit codes, one line per mistake, quiet ends. Light until a verb runs."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import traceback
import warnings
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path


def main(words: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code; every expected error is one line on stderr."""
    code = _answer(words)
    if "RANK" in os.environ:  # one of several processes
        from .launch import leave_exit_code

        leave_exit_code(code)
    return code


def _answer(words: Sequence[str] | None) -> int:
    try:
        code = _run(list(sys.argv[1:] if words is None else words))
        sys.stdout.flush()  # a closed pipe is noticed here, not while Python shuts down
        return code
    except KeyboardInterrupt:
        return _fail("stopped; the same command goes on", 143)
    except BrokenPipeError:  # `foveate recipes show x | head`
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _explain(error)


def _run(words: list[str]) -> int:
    # Everything heavy is imported from here on, so that Ctrl-C during an import is a quiet end too.
    from .verbs import arguments

    try:
        known = arguments.parse(words)
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    _configure(known)
    if not known.run:
        known.parser.print_help()
        return 0
    module, _, function = known.run.rpartition(".")
    verbs = importlib.import_module(f".verbs.{module}", __package__)
    return int(getattr(verbs, function)(known))


def _configure(known: Namespace) -> None:
    level = {0: logging.WARNING, 1: logging.INFO}.get(known.verbose, logging.DEBUG)
    logger = logging.getLogger("foveate")
    logger.setLevel(logging.ERROR if known.quiet else level)
    logger.handlers = [logging.StreamHandler(sys.stderr)]  # ours alone: numba's debug log is long
    if not known.verbose:
        warnings.simplefilter("ignore")  # torch's own, about what a person cannot mend
    if known.cache:
        os.environ["FOVEATE_CACHE"] = str(Path(known.cache).expanduser().absolute())


def _explain(error: Exception) -> int:
    from .failure import explain

    if logging.getLogger("foveate").level == logging.DEBUG:
        traceback.print_exception(error)
    known = explain(error)
    if known is not None:
        return _fail(str(known), known.exit_code)
    if isinstance(error, OSError) and error.filename is not None:
        return _fail(f"{error.strerror}: {error.filename}; mend the path or its permissions", 50)
    raise error


def _fail(text: str, code: int) -> int:
    rank = os.environ.get("RANK", "0")
    if rank != "0" and code == 143:
        return code  # the leader says it
    who = "foveate" if rank == "0" else f"foveate, rank {rank}"
    with contextlib.suppress(OSError):
        print(f"{who}: {' '.join(text.split())}", file=sys.stderr)
    return code
