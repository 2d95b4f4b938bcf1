"""Projects and servers for the tests. The command is named by ASOF_BIN."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import asof

FLIGHTS = Path(__file__).parents[3] / "examples" / "flights"

#: A project with a managed source, and nothing else.
SHOP = '''
[[entity]]
name = "card"
keys = { card = "int64" }

[[source]]
name = "payments"
schema = { card = "int64", at = "timestamp", amount = "float64", place = "string" }
event_time = "at"

[[view]]
name = "last_payment"
entity = "card"
source = "payments"
owner = "ops@example.com"
[view.features]
amount = "float64"
place = "string"

[[service]]
name = "fraud_v1"
features = ["last_payment:*"]
'''


class Server:
    """`asof serve` of a project, until it is stopped."""

    def __init__(self, project: Path, *options: str) -> None:
        command = [os.environ["ASOF_BIN"], "--project", str(project), "serve", "--listen", "127.0.0.1:0", "--json"]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        self.pid: int = told["pid"]
        self.url: str = told["url"].replace("http://", "grpc://")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def command(project: Path, *arguments: str) -> Any:
    """What `asof --json` answers."""
    done = subprocess.run(
        [os.environ["ASOF_BIN"], "--project", str(project), "--json", *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project whose definitions are not applied yet."""
    directory = tmp_path / "shop"
    (directory / "features").mkdir(parents=True)
    (directory / "asof.toml").write_text('project = "shop"\n')
    (directory / "features" / "all.toml").write_text(SHOP)
    return directory


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart's project, applied and materialized as of the last hours of its data."""
    directory = tmp_path_factory.mktemp("projects") / "flights"
    shutil.copytree(FLIGHTS, directory, ignore=shutil.ignore_patterns(".asof", "*.py", "*.ipynb"))
    with asof.open(directory) as store:
        store.apply()
        store.materialize(as_of="2013-12-30T12:00:00Z").wait()
    return directory


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers, which end with the test."""
    servers: list[Server] = []

    def start(project: Path, *options: str) -> Server:
        servers.append(Server(project, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(params=["in process", "remote"])
def store(request: pytest.FixtureRequest, shop: Path, serve: Callable[..., Server]) -> Iterator[asof.Store]:
    """A store with the shop's definitions, in both ways."""
    if request.param == "in process":
        opened = asof.open(shop)
        opened.apply()
    else:
        opened = asof.connect(serve(shop).url)
        opened.apply(shop)
    with opened:
        yield opened
