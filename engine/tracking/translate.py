"""What the files of a run folder are in MLflow's words: metrics, parameters, tags, a data set.

Functions from plain values to plain values; nothing here imports MLflow. Every result depends on
the files alone, so that saying it twice changes nothing.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ... import __version__
from ..recipe import flatten

MOST_VALUE = 5000  # characters; MLflow's limits are 6,000 for parameters, 5,000 to 8,000 for tags
NOT_VALUES = {"kind", "step", "at"}

Metric = tuple[str, float, int, int]
"""Key, value, milliseconds since 1970, step."""
Facts = dict[str, Any]


def metrics_of(line: Facts) -> list[Metric]:
    """The metrics in one line of `metrics.jsonl`; an event has none.

    loss, lr ... as they are; scores as `val/accuracy`; the machine as `system/rss_mb`.
    """
    kind, values = line.get("kind"), line
    prefix = ""
    if kind == "eval":
        prefix, values = f"{line.get('split')}/", line.get("scores") or {}
    elif kind == "system":
        prefix = "system/"
    elif kind != "step":
        return []
    at, step = milliseconds(line), int(line.get("step", 0))
    return [(encode(prefix + key), value, at, step) for key, value in _numbers(values).items()]


def final_metrics(receipt: Facts, at: int) -> list[Metric]:
    """The receipt's scores, of the weights that were kept, as `final/test/accuracy`."""
    return [
        (encode(f"final/{split}/{key}"), value, at, receipt.get("steps", 0))
        for split, scores in receipt.get("scores", {}).items()
        for key, value in _numbers(scores).items()
    ]


def milliseconds(line: Facts) -> int:
    """When a line was written; for one without a time, its seconds of training."""
    return round(1000 * float(line.get("at") or line.get("time_s") or 0))


def encode(key: str) -> str:
    """A name that MLflow takes; other characters by their number, so that no two names meet."""
    return re.sub(r"[^A-Za-z0-9_\-. :/]", lambda found: f"_x{ord(found[0]):x}_", key)[:250]


def parameters(recipe: Facts, plan: Facts) -> dict[str, str]:
    """Every field of the recipe that is in its hash, and the single values of the plan."""
    found = flatten(recipe.get("identity", {})) | {"name": recipe.get("name")}
    found |= {f"plan.{key}": value for key, value in flatten(plan).items() if _is_single(value)}
    texts = {encode(key): _text(value)[:MOST_VALUE] for key, value in found.items()}
    return {key: text for key, text in texts.items() if text and not key.endswith(".format")}


def tags(recipe: Facts, receipt: Facts) -> dict[str, str]:
    """What a run is found by: hashes, verdict, version, commit, command."""
    identity = receipt.get("identity", {})
    found = {
        "foveate.recipe": recipe.get("name"),
        "foveate.recipe_hash": recipe.get("hash"),
        "foveate.version": identity.get("packages", {}).get("foveate", __version__),
        "foveate.commit": identity.get("commit"),
        "foveate.weights_sha256": receipt.get("weights_sha256"),
        "foveate.scored_sha256": receipt.get("scored_sha256"),
        "foveate.verdict": receipt.get("verdict"),
        "foveate.gpu": identity.get("gpu"),
        "mlflow.source.name": " ".join(recipe.get("command", [])),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": str(identity.get("commit") or "").rstrip("+"),
        "mlflow.note.content": recipe.get("claim", {}).get("text"),
    }
    return {key: str(value)[:MOST_VALUE] for key, value in found.items() if value}


def dataset(recipe: Facts, receipt: Facts) -> dict[str, str]:
    """Name, digest, source and profile of what was trained on; no file name, no patient.

    MLflow's digest has room for 36 characters: the first 32 of the sha256, all 64 in the source.
    """
    data = receipt.get("data", {})
    facts = ("counts", "split", "group_overlap", "synthetic", "licence", "differences")
    profile = {name: data[name] for name in facts if name in data}
    profile["quarantined"] = len(data.get("quarantined", []))
    sha256 = str(data.get("manifest_sha256", ""))
    return {
        "name": experiment_name(recipe),
        "digest": sha256[:32],
        "source_type": "foveate",
        "source": json.dumps({"manifest_sha256": sha256}),
        "profile": json.dumps(profile),
    }


def experiment_name(recipe: Facts) -> str:
    """`oct2017` for the recipe `oct2017:quickstart`."""
    return str(recipe.get("name", "foveate")).partition(":")[0] or "foveate"


def describe_model(recipe: Facts, receipt: Facts) -> str:
    """The MLmodel file: flavour, signature, and which file holds the weights.

    JSON, which is YAML as well. There is no python_function flavour: MLflow's own for torch load
    a pickle. The folder beside this file is a run folder in small, so `foveate predict` takes it.
    """
    channels, size = recipe["data"]["channels"], recipe["size"]
    flavour = {
        "weights": weights_file(receipt),
        "weights_sha256": receipt["scored_sha256"],
        "classes": receipt["classes"],
        "load": "foveate predict FOLDER IMAGE...",
        "code": None,
    }
    facts = {
        "flavors": {"foveate": flavour},
        "signature": {
            "inputs": _tensor([-1, channels, size, size]),
            "outputs": _tensor([-1, len(receipt["classes"])]),
            "params": None,
        },
    }
    return json.dumps(facts, indent=1)


def weights_file(receipt: Facts) -> str:
    """The weights that the scores belong to, from the run folder."""
    return (Path("weights") / f"{receipt['scored']}.safetensors").as_posix()


def _tensor(shape: list[int]) -> str:
    return json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": shape}}])


def _numbers(values: Facts) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in values.items()
        if key not in NOT_VALUES and isinstance(value, int | float) and not isinstance(value, bool)
    }


def _is_single(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)


def _text(value: Any) -> str:
    if value is None or value == [] or value == ():
        return ""
    return value if isinstance(value, str) else json.dumps(value)
