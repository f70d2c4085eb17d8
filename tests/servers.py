"""Servers that tests start on the loopback address and stop again: PostgreSQL, S3, and a hub of datasets."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

import pytest

COMMIT = "a" * 40
"""The commit of every repository of `hub_server`."""


@contextmanager
def postgresql_server() -> Iterator[str]:
    """The URL of a PostgreSQL server with an empty database, whose user `thumb` has the password `s3cret`."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if shutil.which("initdb") is None else None
    initdb = shutil.which("initdb") if programs is None else str(programs[-1] / "initdb") if programs else None
    if initdb is None:
        pytest.skip("PostgreSQL is not installed: neither initdb on PATH nor /usr/lib/postgresql/*/bin")
    user = _other_user()
    # Not in pytest's folder, which no other user may enter.
    folder = Path(tempfile.mkdtemp(prefix="thumbline-postgresql-"))
    data, password = folder / "data", folder / "password"
    password.write_text("s3cret")
    if user is not None:
        shutil.chown(folder, user)
        shutil.chown(password, user)
    options: dict[str, Any] = {} if user is None else {"user": user, "extra_groups": []}
    command = [initdb, "-D", data, "-U", "thumb", f"--pwfile={password}", "--auth=scram-sha-256", "-E", "UTF8", "-N"]
    subprocess.run([*command, "--locale=C"], check=True, capture_output=True, cwd=folder, **options)
    port = _free_port()
    server = subprocess.Popen(
        [Path(initdb).with_name("postgres"), "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", "", "-F"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        **options,
    )
    try:
        _wait_for(port, server)
        yield f"postgresql://thumb:s3cret@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder)


@contextmanager
def s3_server() -> Iterator[Callable[[str, bytes], None]]:
    """What puts bytes at `BUCKET/KEY` of an S3 server, which the environment names as long as it runs."""
    server_module = pytest.importorskip("moto.server", reason="moto, which stands in for S3, is not installed")
    from pyarrow import fs

    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _one_at_a_time(server._server)
    host, port = server.get_host_and_port()
    names = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "thumb",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    store = fs.S3FileSystem(endpoint_override=f"{host}:{port}", scheme="http", allow_bucket_creation=True)

    def put(path: str, data: bytes) -> None:
        store.create_dir(path.split("/")[0])
        with store.open_output_stream(path, compression=None) as stream:
            stream.write(data)

    try:
        yield put
    finally:
        # Buckets live in this process, so the next server would show them again.
        urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST"), timeout=30).close()
        server.stop()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _one_at_a_time(server: Any) -> None:
    """Let requests wait for each other: moto looks whether an object is there and then writes it, and S3 does both."""
    lock, answer = threading.Lock(), server.app

    def answer_alone(*request: Any) -> Any:
        with lock:
            return answer(*request)

    server.app = answer_alone


@contextmanager
def hub_server(repositories: dict[str, dict[str, bytes]]) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub with dataset repositories, and the requests that it was sent.

    Args:
        repositories: files by path, by `OWNER/NAME`. All revisions but `missing` are one commit.
    """
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(has_body=True)

        def do_HEAD(self) -> None:
            self._answer(has_body=False)

        def log_message(self, *args: object) -> None:
            pass

        def _answer(self, *, has_body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            requests.append(f"{self.command} {path}")
            status, headers, body = _hub_answer(repositories, path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if has_body:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()


def _hub_answer(repositories: dict[str, dict[str, bytes]], path: str) -> tuple[int, dict[str, str], bytes]:
    match = re.fullmatch(r"(?:/api)?/datasets/([^/]+/[^/]+)/(revision|tree|resolve)/(.+)", path)
    files = repositories.get(match[1]) if match else None
    if match is None or files is None:
        return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
    if "missing" in match[3]:
        return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
    if match[2] == "revision":
        listed = [{"rfilename": name} for name in files]
        answer = {"id": match[1], "sha": COMMIT, "siblings": listed, "private": False, "tags": [], "downloads": 0}
        return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()
    if match[2] == "tree":
        tree = [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in files.items()
        ]
        return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
    data = files.get(match[3].partition("/")[2])
    if data is None:
        return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
    return 200, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT}, data


def _other_user() -> str | None:
    """A user to run PostgreSQL as, since it refuses root; None where we are not root."""
    if os.geteuid() != 0:
        return None
    import pwd

    known = {entry.pw_name for entry in pwd.getpwall()}
    user = next((name for name in ("postgres", "nobody") if name in known), None)
    if user is None:
        pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres or nobody")
    return user


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if server.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the PostgreSQL server did not start")
