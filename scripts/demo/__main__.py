"""The main job end to end, on real scans: train, export, publish, serve, call, change versions under load, stop."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from penstock.testing import Server, running

from .digits import MAX_BATCH, Split, classify, export, load_splits, train
from .load import Tally, send

DEFAULT_PORTS = (8001, 8000, 8010)
ANSWERS_AFTER_THE_MOVE = 2000


def main() -> int:
    """Run the demo; 0 if everything is as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, help="made anew; kept for `make up`")
    data_dir: Path = parser.parse_args().data_dir
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir(parents=True)
    ports = DEFAULT_PORTS if all(map(is_free, DEFAULT_PORTS)) else (0, 0, 0)
    began = time.perf_counter()

    training, held_out = load_splits()
    _step(f"training a CNN on {len(training.labels)} scans of digits; {len(held_out.labels)} are held out")
    models = [train(training, seed=seed, epochs=epochs) for seed, epochs in ((1, 12), (2, 20))]
    for number, model in enumerate(models, 1):
        export(model, data_dir / f"digits-{number}.pt2")
    here = [classify(model, held_out) for model in models]

    with running(data_dir, ports=ports) as server:
        _step(f"penstock up serves gRPC on {server.grpc}; publishing digits-1.pt2")
        server.command("publish", "digits", str(data_dir / "digits-1.pt2"))
        same = _serve_held_out(server, held_out, here[0])
        _print_lines(server, held_out)
        _step("publishing a second version, and moving the alias `stable` to it under load")
        failed = asyncio.run(_change_version(server, data_dir / "digits-2.pt2", held_out, here))
        _step("stopping")
    _step(
        f"stopped cleanly; all this took {time.perf_counter() - began:.0f} s. `make up` serves the same models again."
    )
    return 0 if same and not failed else 1


def is_free(port: int) -> bool:
    """Whether nothing listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _step(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _serve_held_out(server: Server, split: Split, here: np.ndarray) -> bool:
    """Send the whole held-out split from concurrent clients, and compare with this process."""
    tally = Tally()
    asyncio.run(send(server.grpc, split.images, tally))
    there = np.array([tally.digits.get((1, index), -1) for index in range(len(split.labels))])
    accuracy_here, accuracy_there = float((here == split.labels).mean()), float((there == split.labels).mean())
    print(f"   accuracy in this process   {accuracy_here:.4f}")
    print(f"   accuracy through Penstock  {accuracy_there:.4f}   ({'equal' if (here == there).all() else 'DIFFERENT'})")
    print(f"   {tally.answered} requests, {len(tally.failures)} failed, {tally.rate:.0f} per second, client included")
    print(f"   mean batch size            {tally.mean_batch:.1f} rows (at most {MAX_BATCH})")
    return bool((here == there).all()) and not tally.failures


def _print_lines(server: Server, split: Split) -> None:
    """What to try by hand. The second line is run here, so that it is known to work."""
    image = [round(float(v), 4) for v in split.images[0].ravel()]
    question = {
        "model_spec": {"name": "digits"},
        "inputs": [{"shape": [1, 8, 8], "floats": image}],
        "output_names": ["digit"],
    }
    body = json.dumps(question, separators=(",", ":"))
    method = "penstock.v1.PredictService/Predict"
    buf = Path(sys.executable).with_name("buf")
    curl = f"curl --protocol grpc --http2-prior-knowledge -d '{body}' http://{server.grpc}/{method}"
    print("\n   Try by hand, while it runs (or after `make up`):\n")
    print(f"   grpcurl -plaintext {server.grpc} list\n")
    print(f"   grpcurl -plaintext -d '{body}' {server.grpc} {method}\n")
    print(f"   buf {curl}\n")
    line = [
        str(buf),
        "curl",
        "--protocol",
        "grpc",
        "--http2-prior-knowledge",
        "-d",
        body,
        f"http://{server.grpc}/{method}",
    ]
    answer = json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE).stdout)
    print(f"   The last one says {answer['outputs'][0]['ints'][0]}; the label is {split.labels[0]}.")


async def _change_version(server: Server, path: Path, split: Split, here: list[np.ndarray]) -> int:
    """Publish and move the alias while clients call; returns how many requests failed or were answered wrongly."""
    tally, stop = Tally(), asyncio.Event()
    calling = asyncio.create_task(send(server.grpc, split.images, tally, stop))
    await asyncio.to_thread(server.command, "publish", "digits", str(path), "--alias", "stable")
    tally.goal = tally.answered + ANSWERS_AFTER_THE_MOVE
    await tally.enough.wait()
    stop.set()
    await calling
    wrong = sum(digit != here[version - 1][index] for (version, index), digit in tally.digits.items())
    by_version = ", ".join(f"{count} by version {version}" for version, count in sorted(tally.versions.items()))
    print(f"   {tally.answered} answered ({by_version}), {len(tally.failures)} failed, {wrong} wrong")
    for failure in tally.failures[:3]:
        print(f"   {failure}")
    return len(tally.failures) + int(wrong) + (2 not in tally.versions)


if __name__ == "__main__":
    sys.exit(main())
