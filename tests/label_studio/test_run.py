"""The server as a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.label_studio.server import body, keypoint, png, squares, task, uri

ROOT = Path(__file__).parents[2]
CODE = """
import sys, time
from sam_label_studio.app import create_app
from sam_label_studio.run import run
from sam_label_studio.settings import Settings
from tests.fake import FakeSegmenter
from tests.label_studio.server import memory

class Slow(FakeSegmenter):
    def encode(self, image, **options):
        time.sleep(0.2)
        return super().encode(image, **options)

run(create_app(Settings(), Slow(), memory()), host="127.0.0.1", port=int(sys.argv[1]))
"""


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
    command = [sys.executable, "-c", CODE, str(port)]
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
        _wait(process, client)
        yield process, client
    process.kill()
    process.communicate()


def _wait(process: subprocess.Popen[str], client: httpx.Client) -> None:
    for _ in range(600):
        assert process.poll() is None
        try:
            client.get("/health")
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("the server did not come up within a minute")


def test_a_signal_lets_the_task_be_answered_and_drops_the_batch(
    server: tuple[subprocess.Popen[str], httpx.Client],
) -> None:
    process, client = server
    tasks = [task(uri(png(np.roll(squares(), i, axis=1))), i) for i in range(200)]
    answers: list[httpx.Response] = []
    batch = threading.Thread(target=lambda: answers.append(client.post("/predict", json=body(tasks))))
    batch.start()
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    batch.join(20)
    results = answers[0].json()["results"]
    assert answers[0].status_code == 200
    assert len(results) == 200
    done = [not each["model_version"].endswith("failed") for each in results]
    assert 0 < sum(done) < 200
    assert done == sorted(done, reverse=True)


def test_who_hangs_up_does_not_keep_the_server_busy(server: tuple[subprocess.Popen[str], httpx.Client]) -> None:
    process, client = server
    tasks = [task(uri(png(np.roll(squares(), i, axis=1))), i) for i in range(200)]
    with pytest.raises(httpx.ReadTimeout):
        client.post("/predict", json=body(tasks), timeout=1)
    for _ in range(100):
        text = client.get("/metrics").text
        if "\nsam_label_studio_batches_busy 0\n" in text:
            break
        time.sleep(0.1)
    assert 'tasks_total{kind="batch",outcome="failed"}' in text
    click = client.post("/predict", json=body([task()], context={"result": [keypoint(6, 10)]}))
    assert len(click.json()["results"][0]["result"]) == 1
    process.send_signal(signal.SIGINT)
    assert "hung up" in process.communicate(timeout=20)[1]
