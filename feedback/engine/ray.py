"""A Ray cluster (extra `ray`): the same kernels as tasks of Ray, over an explicit list of tasks.

Every node must see the input, the staging folder and the output under the same paths (a shared file system), must have
this version of thumbline installed, and this process must run on one of them. A task whose node is lost is run again on
another one; its files are the same.

Which clusters are joined at all is said in `ray_access`. Usage statistics are off.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from feedback.engine.ray_access import cannot_join, refuse_open_cluster, refuse_without_token
from schemas import __version__
from schemas.errors import MissingExtraError, ThumblineError, UsageError

__all__ = ["RayEngine"]

T = TypeVar("T")
R = TypeVar("R")

_RETRIES: Final = 10
"""Times that a task is run again when its node or process is lost; what the kernel raises is never retried."""

_TASKS_A_CORE: Final = 2
_CANCEL_TIMEOUT_S: Final = 10


class RayEngine:
    """Runs kernels on a Ray cluster; it is joined, or started, when the first stage is run.

    Args:
        address: `HOST:PORT` of a running cluster that this machine is a node of; null takes the one that this process
            is connected to, or else starts Ray on this machine.
        workers: cores that Ray gets where it is started here, at least 1; null gives it all.

    Raises:
        UsageError: an address of another form, no token authentication, or fewer than one worker.
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, address: str | None = None, *, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise UsageError("no worker is left to run a task", received=workers, expected="at least 1")
        if importlib.util.find_spec("ray") is None:
            raise MissingExtraError("ray", "ray")
        if address is not None:
            refuse_without_token(address)
        self._address = address
        self._workers = workers

    def run(self, name: str, kernel: Callable[[T], R], tasks: Iterable[T], *, key: str = "") -> list[R]:
        """The kernel's results, in the order of the tasks; see `feedback.engine.plan.Engine`.

        At most twice as many tasks as the cluster has cores are under way. When one fails no other is started; the call
        returns when those under way are done.

        Raises:
            Exception: what the kernel raised, unchanged; where several tasks failed, the error of the first of them.
            ThumblineError: the cluster cannot be joined, or a task was lost again and again.
            UsageError: the cluster lets in who has no token.
        """
        del key
        ray = _connected(self._address, self._workers)
        call = ray.remote(_call).options(num_cpus=1, max_retries=_RETRIES, retry_exceptions=False)
        outcomes: dict[int, Any] = {}
        running: dict[Any, int] = {}
        failed: dict[int, Any] = {}

        def collect_one() -> None:
            """Wait for a task that is done, and keep its result."""
            done = ray.wait(list(running), num_returns=1)[0][0]
            number = running.pop(done)
            try:
                outcomes[number] = ray.get(done)
            except ray.exceptions.RayError as error:
                failed[number] = error

        try:
            for number, task in enumerate(tasks):
                running[call.remote(__version__, kernel, task)] = number
                # Asked each time: nodes come and go.
                while len(running) >= _TASKS_A_CORE * max(1, int(ray.cluster_resources().get("CPU", 1))):
                    collect_one()
                if failed:
                    break
            while running:
                collect_one()
        finally:
            _cancel(ray, list(running))
        if failed:
            _raise_first(name, failed, ray.exceptions)
        return [outcomes[number] for number in sorted(outcomes)]


def _cancel(ray: Any, references: list[Any]) -> None:
    """Kill the processes of tasks that nobody waits for any more, so that they write nothing later.

    What they were writing is not there yet: files appear whole.
    """
    for reference in references:
        ray.cancel(reference, force=True)
    if references:
        ray.wait(references, num_returns=len(references), timeout=_CANCEL_TIMEOUT_S)


def _call(version: str, kernel: Callable[[Any], Any], task: Any) -> Any:
    """Runs on a node: the kernel's result.

    Raises:
        ThumblineError: the node has another version of this package, which might decide otherwise.
        Exception: what the kernel raised.
    """
    if version != __version__:
        raise ThumblineError(
            "a node has another version of thumbline",
            where=socket.gethostname(),
            received=__version__,
            expected=version,
            todo="Install the same version on every node",
        )
    return kernel(task)


def _raise_first(name: str, failed: dict[int, Any], exceptions: Any) -> None:
    """Raise what the first failing task raised; its cause shows the traceback of the node."""
    number = min(failed)
    error = failed[number]
    if isinstance(error, exceptions.RayTaskError) and not isinstance(error.cause, exceptions.RayError):
        raise error.cause from error
    raise ThumblineError(
        f"a task could not be run ({type(error).__name__})",
        where=f"stage {name!r} task {number}",
        todo=f"It is tried {_RETRIES + 1} times: look at the nodes' memory and at Ray's logs",
    ) from error


def _connected(address: str | None, workers: int | None) -> Any:
    """The module `ray`, connected."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    if ray.is_initialized():
        joined = ray.get_runtime_context().gcs_address
        if address not in (None, joined):
            raise UsageError(
                "this process is on another Ray cluster", where=f"--ray-address {address}", received=joined
            )
        return ray
    # A task has one core, so polars in it needs no more threads than one.
    options: dict[str, Any] = {
        "runtime_env": {"env_vars": {"POLARS_MAX_THREADS": "1"}},
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        "configure_logging": False,
    }
    if address is None:
        ray.init(address="local", num_cpus=workers, include_dashboard=False, **options)
        return ray
    refuse_open_cluster(address)
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        raise cannot_join(address, str(error)) from error
    return ray
