"""Which Ray clusters may be joined: those that refuse whoever has no token.

Whoever reaches a Ray cluster can run code on it, and sends what others unpickle. So token authentication must be on
here (`RAY_AUTH_MODE=token`, and the token in `RAY_AUTH_TOKEN`, in the file named by `RAY_AUTH_TOKEN_PATH`, or in
`~/.ray/auth_token`) and on every node. That it is on there is not believed but tried: Ray itself joins an open cluster
without a word, token or not.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

from schemas.errors import ThumblineError, UsageError

__all__ = ["cannot_join", "refuse_open_cluster", "refuse_without_token"]

_ADDRESS: Final = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\]):(\d+)")
_REACH_TIMEOUT_S: Final = 10
_PROBE_TIMEOUT_S: Final = 60

# A process of its own, since Ray reads its mode once. Whatever else happens than these two words, nothing is joined.
_PROBE: Final = """
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1])
except AuthenticationError:
    print("refused")
else:
    print("open")
"""


def refuse_without_token(address: str) -> None:
    """Pass if token authentication is on here and there is a token, by the rules of Ray.

    Args:
        address: `HOST:PORT` of the cluster.

    Raises:
        UsageError: it is off, there is no token, or the address has another form.
    """
    if _ADDRESS.fullmatch(address) is None:
        raise UsageError(
            "this is no address of a Ray cluster",
            where="--ray-address",
            received=address,
            expected="HOST:PORT, as `ray start --head` prints it",
            todo="Run thumbline on a node of the cluster; Ray Client (ray://) is not used",
        )
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if mode.lower() != "token":
        raise UsageError(
            "a Ray cluster is joined with token authentication only",
            where=f"--ray-address {address}",
            received=f"RAY_AUTH_MODE={mode}",
            expected="RAY_AUTH_MODE=token, here and on every node",
            todo="Make a token with `ray get-auth-token --generate`, give it to every node, and start them anew",
        )
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not path.is_file() or not path.read_text("utf-8").strip():
        raise UsageError(
            "token authentication is on, and there is no token",
            where=path,
            expected="the cluster's token there, in RAY_AUTH_TOKEN, or in the file named by RAY_AUTH_TOKEN_PATH",
        )


def refuse_open_cluster(address: str) -> None:
    """Pass if the cluster refuses a caller without a token.

    Args:
        address: `HOST:PORT` of the cluster, as `refuse_without_token` lets it through.

    Raises:
        UsageError: it lets the caller in.
        ThumblineError: it cannot be reached, or does not answer as a Ray cluster does.
    """
    host, _, port = address.rpartition(":")
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_TIMEOUT_S).close()
        probe = subprocess.run(  # noqa: S603 - our own interpreter and program
            [sys.executable, "-c", _PROBE, address],
            env={**env, "RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise cannot_join(address, str(error)) from error
    answer = probe.stdout.strip()
    if answer == "open":
        raise UsageError(
            "the Ray cluster lets in who has no token, so anybody who reaches it can run code on it",
            where=f"--ray-address {address}",
            expected="a cluster started with RAY_AUTH_MODE=token on every node",
            todo="Start it anew with RAY_AUTH_MODE=token and a token from `ray get-auth-token --generate`",
        )
    if answer != "refused":
        raise cannot_join(address, probe.stderr.strip().rpartition("\n")[2])


def cannot_join(address: str, why: str) -> ThumblineError:
    """The error for a cluster that could not be joined.

    Args:
        address: its address.
        why: what Ray or the network said; its first line is shown.
    """
    return ThumblineError(
        f"the Ray cluster cannot be joined ({why.splitlines()[0] if why else 'no answer'})",
        where=f"--ray-address {address}",
        todo="Check the address, that the token is that of the cluster, and that this machine is one of its nodes",
    )
