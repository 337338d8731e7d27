"""A made-up run folder with numbers as a real run would leave them; no test lives here."""

import json
import math
from pathlib import Path

import numpy as np

from foveate.engine.report.figures import write_sheet
from foveate.engine.report.markup import wilson

CLASSES = ("CNV", "DME", "DRUSEN", "NORMAL")
CONFUSION = {
    "test": [[94, 2, 4, 0], [1, 92, 2, 5], [6, 1, 89, 4], [0, 2, 4, 94]],
    "val": [[7, 0, 1, 0], [0, 8, 0, 0], [1, 0, 7, 0], [0, 0, 0, 8]],
}
STEPS, HASH, WEIGHTS = 240, "ab12c0ffee90", "9f3a77d2c41e" + "5b" * 26


def plausible_recipe() -> dict:
    return {
        "format": 1,
        "name": "oct2017:quickstart",
        "claim": {
            "text": "ResNet-18 from ImageNet weights separates four retinal OCT classes on a "
            "balanced subset of 1,600 images, on two CPU cores, in about five minutes.",
            "licence": "CC BY 4.0",
            "citation": "Kermany et al., Labeled Optical Coherence Tomography, 2018, "
            "doi:10.17632/rscbjbr9sj.2",
            "flaws": [
                "The published test set holds 242 to 250 images a class; a mean hides rare kinds.",
                "Patients of the validation split also appear in training in the original folders.",
            ],
        },
        "data": {"source": "folder", "root": "/data/OCT2017", "group": r"-(\d+)-"},
        "task": {"kind": "classification", "model": "resnet18", "weights": "imagenet"},
        "augment": {"area": [0.5, 1.0], "flip": 0.5, "rotate_deg": 10.0},
        "optimizer": {"kind": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-05},
        "schedule": {"kind": "one_cycle", "warmup": 0.2},
        "batch": 64,
        "epochs": 8,
        "precision": "bf16",
        "seed": 0,
    }


def plausible_plan() -> dict:
    return {
        "format": 1,
        "recipe_hash": HASH,
        "steps": STEPS,
        "micro": 64,
        "accumulate": 1,
        "train_images": 1600,
        "resolutions": [[0, 96], [160, 128]],
        "lr": [learning_rate(step) for step in range(STEPS)],
        "evals": list(range(40, STEPS + 1, 40)),
        "saves": [80, 160, 240],
        "precision": "bf16",
        "device": "cpu",
        "threads": 2,
        "feed": "pack",
        "feed_why": "the pack (41 MB) fits memory",
        "notes": ["bf16 runs in software on this CPU: expect fp32 speed."],
    }


def learning_rate(step: int) -> float:
    warm = 0.2 * STEPS
    return 0.05 * min((step + 1) / warm, (1 + math.cos(math.pi * step / STEPS)) / 2 + 0.002)


def plausible_metrics() -> list[dict]:
    random = np.random.default_rng(7)
    rows, time_s = [], 0.0
    for step in range(1, STEPS + 1):
        size = 96 if step < 160 else 128
        rate = (86 if size == 96 else 52) * random.normal(1, 0.04)
        time_s += 64 / rate
        rows.append(
            {
                "kind": "step",
                "step": step,
                "loss": 0.18 + 1.2 * math.exp(-step / 45) * random.lognormal(0, 0.12),
                "lr": learning_rate(step),
                "grad_norm": (0.6 + 3 * math.exp(-step / 60)) * random.lognormal(0, 0.25),
                "images_per_s": rate,
                "wait": abs(random.normal(0.012, 0.008)),
                "mfu": rate / 86 * 0.41 * (1 if size == 96 else 1.7),
                "memory_mb": 790 + 60 * (size == 128) + random.normal(0, 2),
                "time_s": time_s,
                "size": size,
            }
        )
        if step % 40 == 0:
            time_s += 2.1
            scores = {"accuracy": 0.94 - 0.5 * math.exp(-step / 60), "loss": 0.3}
            row = {"kind": "eval", "step": step, "time_s": time_s, "split": "val"}
            rows.append({**row, "scores": scores})
        for event in ("saved",) * (step % 80 == 0) + ("stopped", "resumed") * (step == 120):
            rows.append({"kind": "event", "step": step, "time_s": time_s, "event": event})
    return rows


def plausible_scores(rows: list[list[int]]) -> dict:
    images, hits = sum(map(sum, rows)), sum(rows[n][n] for n in range(4))
    low, high = wilson(hits, images)
    scores = {"images": images, "wrong": images - hits, "accuracy": hits / images}
    scores |= {"accuracy_low": low, "accuracy_high": high, "balanced_accuracy": hits / images}
    scores["one_vs_rest_accuracy"] = 1 - (images - hits) / images / 2
    for n, name in enumerate(CLASSES):
        low, high = wilson(rows[n][n], sum(rows[n]))
        bounds = {f"recall_{name}_low": low, f"recall_{name}_high": high}
        scores |= {f"recall_{name}": rows[n][n] / sum(rows[n]), **bounds}
    return scores


def plausible_receipt() -> dict:
    expected = {"train": 400, "val": 8, "test": 100}
    counts = {split: dict.fromkeys(CLASSES, n) for split, n in expected.items()}
    return {
        "format": 1,
        "recipe": "oct2017:quickstart",
        "recipe_hash": HASH,
        "classes": list(CLASSES),
        "scores": {split: plausible_scores(rows) for split, rows in CONFUSION.items()},
        "confusion": CONFUSION,
        "weights_sha256": WEIGHTS,
        "time": {"data_s": 3.4, "pack_s": 11.2, "train_s": 231.8, "eval_s": 14.1, "total_s": 266.0},
        "images_per_s": 70.9,
        "identity": {
            "machine": "x86_64 Linux",
            "cpu": "2 cores",
            "gpu": None,
            "python": "3.11.2",
            "packages": {"torch": "2.14.1", "torchvision": "0.29.1", "numpy": "2.3.5"},
            "threads": 2,
            "commit": "3f9d2ab",
        },
        "data": {
            "manifest_sha256": "77ab" * 16,
            "feed": "pack: 41 MB of decoded pixels, memory-mapped",
            "counts": {**counts, "train": {**counts["train"], "DRUSEN": 398}},
            "expected": counts,
            "differences": ["train/DRUSEN: 398 images, the recipe expects 400"],
            "split": "folders as published; train and test share no patient",
            "group_overlap": 0,
            "quarantined": [
                {"sha256": "c0de" * 16, "reason": "truncated JPEG", "split": "train"},
                {"sha256": "beef" * 16, "reason": "0 bytes", "split": "train"},
            ],
            "licence": "CC BY 4.0",
            "citation": "Kermany et al., Cell 172 (2018) 1122, doi:10.1016/j.cell.2018.02.010",
        },
        "verdict": "Reproduced: the claim asks for at least 90 % on 400 test images, and the "
        "lower end of the interval is within half a point of it.",
    }


def phantoms(number: int, side: int, seed: int) -> np.ndarray:
    """(number, side, side) uint8: layered arcs under speckle, a little like a retinal scan."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    images = []
    for _ in range(number):
        depth = y - 0.45 - random.normal(0, 0.05) - 0.3 * (x - random.uniform(0.3, 0.7)) ** 2
        layers = sum(np.exp(-(((depth - d) / 0.02) ** 2)) for d in (0.0, 0.08, 0.13))
        bright = 25 + 150 * np.clip(layers, 0, 1) + 60 * np.exp(-((depth / 0.12) ** 2))
        images.append(bright * random.rayleigh(0.8, bright.shape))
    return np.clip(images, 0, 255).astype(np.uint8)


def write_run(folder: Path, **changes: object) -> Path:
    """A whole, plausible run folder. A change of None leaves that file out."""
    files = {
        "recipe": plausible_recipe(),
        "plan": plausible_plan(),
        "receipt": plausible_receipt(),
        "metrics": plausible_metrics(),
    } | changes
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("recipe", "plan", "receipt", "failure"):
        if files.get(name) is not None:
            (folder / f"{name}.json").write_text(json.dumps(files[name]))
    if files["metrics"] is not None:
        lines = "".join(json.dumps(row) + "\n" for row in files["metrics"])
        (folder / "metrics.jsonl").write_text(lines)
    return folder


def write_evidence(folder: Path) -> None:
    """The sheets a run leaves: 32 samples and 31 wrong cases."""
    captions = [CLASSES[n % 4] for n in range(32)]
    write_sheet(folder / "evidence" / "samples.png", phantoms(32, 96, 1), captions)
    said = [f"{n:03x}9c1e07b\n{CLASSES[n % 4]}, said {CLASSES[(n + 1) % 4]}, {60 + n} %"
            for n in range(31)]  # fmt: skip
    colours = ["#f0b060" if n % 3 else "#f08a7e" for n in range(31)]
    write_sheet(folder / "evidence" / "wrong-test.png", phantoms(31, 128, 2), said, colours)
