"""A Ray cluster (extra `ray`): the same kernels as tasks of Ray, over an explicit list of tasks.

Every node must see the input, the staging folder and the output under the same paths (a shared file system), and must
have this version of thumbline installed. A task whose node is lost is run again on another one; its files are the same.

Whoever reaches a Ray cluster can run code on it. So a cluster that is not started here is only joined with token
authentication: `RAY_AUTH_MODE=token`, and the token in `RAY_AUTH_TOKEN`, in the file named by `RAY_AUTH_TOKEN_PATH`,
or in `~/.ray/auth_token`. Usage statistics are off.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

from schemas.errors import MissingExtraError, ThumblineError, UsageError

__all__ = ["RayEngine"]

T = TypeVar("T")
R = TypeVar("R")

_RETRIES: Final = 10
"""Times that a task is run again when its node or process is lost; what the kernel raises is never retried."""

_TASKS_A_CORE: Final = 2


class RayEngine:
    """Runs kernels on a Ray cluster.

    Args:
        address: `HOST:PORT` or `auto` for a running cluster that this machine is a node of, or `ray://HOST:PORT`; null
            takes the one that this process is connected to, or starts Ray on this machine.
        workers: cores that Ray gets where it is started here, at least 1; null gives it all.

    Raises:
        UsageError: a running cluster without token authentication.
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, address: str | None = None, *, workers: int | None = None) -> None:
        if address is not None:
            _refuse_without_token(address)
        self._ray = _import_ray()
        if not self._ray.is_initialized():
            self._connect(address, workers)

    def run(self, name: str, kernel: Callable[[T], R], tasks: Iterable[T], *, key: str = "") -> list[R]:
        """The kernel's results, in the order of the tasks; see `feedback.engine.plan.Engine`.

        At most twice as many tasks as the cluster has cores are under way. When one fails no other is started; the call
        returns when those under way are done, so nothing is written after it.

        Raises:
            Exception: what the kernel raised, unchanged; where several tasks failed, the error of the first of them.
            ThumblineError: a task was lost again and again.
        """
        del key
        ray = self._ray
        call = ray.remote(_call).options(num_cpus=1, max_retries=_RETRIES, retry_exceptions=False)
        results: dict[int, R] = {}
        failed: dict[int, Any] = {}
        running: dict[Any, int] = {}
        try:
            for number, task in enumerate(tasks):
                running[call.remote(kernel, task)] = number
                while len(running) >= self._most_running():
                    self._collect_one(running, results, failed)
                if failed:
                    break
            while running:
                self._collect_one(running, results, failed)
        finally:
            for reference in running:
                ray.cancel(reference)
        if failed:
            _raise_first(name, failed, ray.exceptions)
        return [results[number] for number in sorted(results)]

    def _collect_one(self, running: dict[Any, int], results: dict[int, Any], failed: dict[int, Any]) -> None:
        done, _ = self._ray.wait(list(running), num_returns=1)
        number = running.pop(done[0])
        try:
            results[number] = self._ray.get(done[0])
        except self._ray.exceptions.RayError as error:
            failed[number] = error

    def _most_running(self) -> int:
        return _TASKS_A_CORE * max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def _connect(self, address: str | None, workers: int | None) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        quiet = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": False}
        if address is None:
            self._ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
            return
        try:
            self._ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, self._ray.exceptions.RayError) as error:
            raise ThumblineError(
                f"the Ray cluster cannot be joined ({str(error).splitlines()[0]})",
                where=f"--ray-address {address}",
                todo="Check the address, the token, and that the cluster runs with RAY_AUTH_MODE=token",
            ) from error


def _call(kernel: Callable[[Any], Any], task: Any) -> Any:
    return kernel(task)


def _raise_first(name: str, failed: dict[int, Any], exceptions: Any) -> None:
    """Raise what the first failing task raised, with the traceback of its node as the cause."""
    number = min(failed)
    error = failed[number]
    if isinstance(error, exceptions.RayTaskError) and not isinstance(error.cause, exceptions.RayError):
        raise error.cause from error
    raise ThumblineError(
        f"a task was lost {_RETRIES + 1} times ({type(error).__name__})",
        where=f"stage {name!r} task {number}",
        todo="Look at the nodes' memory and at Ray's logs",
    ) from error


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    return ray


def _refuse_without_token(address: str) -> None:
    """Pass if token authentication is on and there is a token, by the rules of Ray.

    Raises:
        UsageError: it is off, or there is no token.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if mode.lower() != "token":
        raise UsageError(
            "a Ray cluster is only joined with token authentication",
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
            expected="the cluster's token in RAY_AUTH_TOKEN, in the file named by RAY_AUTH_TOKEN_PATH, or there",
        )
