"""The service under load: latencies, lost requests and memory, with the embedded student, on loopback.

python benchmarks/load.py --output benchmarks/results/load.json

Starts `uniner serve` as a process of its own and asks it from this one: in phases, each with so many clients that ask
one text after the other without a pause. The last phase has more clients than the queue has places. Every request is
accounted for: answered, turned away (429), given up at the service's timeout (504), or lost. Texts are those of
assets/corpus, each with five types.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
from wasabi import Printer

from spacy_uniner.hierarchy import read_hierarchy

CORPUS = Path("assets/corpus")
N_TYPES = 5


def read_requests(seed: int = 0) -> Iterator[dict[str, Any]]:
    """Give requests without end: the corpus' texts over and over, each with types drawn anew from a thousand."""
    with (CORPUS / "passages.jsonl").open(encoding="utf8") as file:
        texts = [json.loads(line)["text"] for line in file]
    numbers = random.Random(seed)
    types = numbers.sample(sorted(read_hierarchy(CORPUS / "types.tsv", []).wider), 1000)
    for text in itertools.cycle(texts):
        yield {"texts": [text], "types": numbers.sample(types, N_TYPES)}


def start_service(port: int, max_queue: int) -> subprocess.Popen[bytes]:
    """Start the service and wait until it is well."""
    command = [sys.executable, "-m", "spacy", "uniner", "serve", "--port", str(port), "--max-queue", str(max_queue)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            httpx.get(f"http://127.0.0.1:{port}/health").raise_for_status()
            return process
        except httpx.ConnectError:
            time.sleep(0.2)
    process.kill()
    raise SystemExit("The service did not start within two minutes.")


async def ask(client: httpx.AsyncClient, request: dict[str, Any]) -> str:
    """Ask once, and say what became of it."""
    try:
        response = await client.post("/entities", json=request)
    except httpx.HTTPError as err:
        return f"lost: {type(err).__name__}"
    if response.status_code == 200:
        return "answered" if len(response.json()["entities"]) == len(request["texts"]) else "lost: incomplete"
    return {429: "turned away", 504: "given up"}.get(response.status_code, f"lost: status {response.status_code}")


async def run_phase(
    url: str, requests: Iterator[dict[str, Any]], n_clients: int, seconds: float, process: psutil.Process
) -> dict[str, Any]:
    """Let clients ask for a while, and look at the memory ten times."""
    outcomes: Counter[str] = Counter()
    milliseconds: list[float] = []
    resident: list[float] = []
    limits = httpx.Limits(max_connections=n_clients, max_keepalive_connections=n_clients)
    started = time.perf_counter()

    async def be_client(client: httpx.AsyncClient) -> None:
        while time.perf_counter() - started < seconds:
            asked = time.perf_counter()
            outcome = await ask(client, next(requests))
            outcomes[outcome] += 1
            if outcome == "answered":
                milliseconds.append(1000 * (time.perf_counter() - asked))
            elif outcome == "turned away":
                await asyncio.sleep(1.0)  # what Retry-After says

    async def watch() -> None:
        for _ in range(10):
            await asyncio.sleep(seconds / 10)
            resident.append(round(process.memory_info().rss / 1e6, 1))

    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60.0) as client:
        await asyncio.gather(watch(), *(be_client(client) for _ in range(n_clients)))
    took = time.perf_counter() - started
    ranked = sorted(milliseconds)
    return {
        "clients": n_clients,
        "seconds": round(took, 1),
        "sent": sum(outcomes.values()),
        "outcomes": dict(outcomes),
        "lost": sum(n for outcome, n in outcomes.items() if outcome.startswith("lost")),
        "answered_per_second": round(len(ranked) / took, 1),
        "p50_ms": round(ranked[len(ranked) // 2], 1),
        "p99_ms": round(ranked[int(0.99 * len(ranked))], 1),
        "max_ms": round(ranked[-1], 1),
        "resident_mb": resident,
    }


def main() -> None:
    """Print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--seconds", type=float, default=45.0, help="of each phase")
    parser.add_argument("--max-queue", type=int, default=64)
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = start_service(port, args.max_queue)
    requests = read_requests()
    url = f"http://127.0.0.1:{port}"
    watched = psutil.Process(service.pid)
    resident_at_first = round(watched.memory_info().rss / 1e6, 1)
    phases = [asyncio.run(run_phase(url, requests, n, args.seconds, watched)) for n in args.clients]
    metrics = httpx.get(f"{url}/metrics").text
    service.send_signal(signal.SIGTERM)
    stopped = service.wait(timeout=60)
    columns = ("clients", "sent", "lost", "answered_per_second", "p50_ms", "p99_ms", "max_ms")
    Printer().table([[phase[name] for name in columns] for phase in phases], header=columns, divider=True)
    for phase in phases:
        print(f"{phase['clients']} clients: {phase['outcomes']}; resident MB {phase['resident_mb']}")
    if args.output:
        n_texts, n_batches = (read_metric(metrics, name) for name in ("uniner_texts_total", "uniner_batch_texts_count"))
        report = {
            "command": " ".join(["python", *sys.argv]),
            "load_average": os.getloadavg(),
            "threads_of_torch": os.environ.get("OMP_NUM_THREADS", "its own choice"),
            "max_queue": args.max_queue,
            "types_per_request": N_TYPES,
            "resident_mb_at_first": resident_at_first,
            "phases": phases,
            "texts": n_texts,
            "batches": n_batches,
            "exit_status": stopped,
        }
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf8")


def read_metric(metrics: str, name: str) -> int:
    return int(float(next(line.split()[1] for line in metrics.splitlines() if line.startswith(f"{name} "))))


if __name__ == "__main__":
    main()
