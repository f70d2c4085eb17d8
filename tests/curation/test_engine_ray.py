"""Ray: the same files as on this machine, also when nodes are killed; and no cluster without a token.

The cluster is simulated: three nodes are processes of this machine, the first runs no tasks. A kernel says by a file on
which node it runs and waits there to be killed, so each kill hits a running task of the stage that it is meant for.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

import feedback.engine.ray
import feedback.pipeline.partitions
from feedback.config import CurateConfig, SourceConfig
from feedback.engine import Engine, LocalEngine, open_engine
from feedback.engine.ray import RayEngine
from feedback.pipeline import curate
from schemas.errors import DataGateError, MissingExtraError, ThumblineError, UsageError
from schemas.manifest import Manifest
from tests.curation.test_engine import file_bytes
from tests.engine_kernels import STAGES, MakeTask, Signal, fail_on_odd, make, run_toy_plan, square

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra `ray` is not installed")
T = TypeVar("T")
SAMPLE = Path(__file__).parents[2] / "sample_data"
CURATE_STAGES = ("ingest", "clusters", "keys", "rows", "balance")
TOKEN = "0123456789abcdef0123456789abcdef"
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}
QUICK_DEATHS = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
}


class ThreeNodes:
    """A head that runs no tasks and two workers; a killed worker is replaced."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={**NODE, "num_cpus": 0, "include_dashboard": False, "_system_config": QUICK_DEATHS},
        )
        self.workers = [self.cluster.add_node(**NODE) for _ in range(2)]
        self.address = str(self.cluster.address)

    def kill(self, node_id: str) -> None:
        victim = next(node for node in self.workers if node.node_id == node_id)
        self.workers.remove(victim)
        self.cluster.remove_node(victim, allow_graceful=False)
        self.workers.append(self.cluster.add_node(**NODE, wait=False))


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[ThreeNodes]:
    saved = dict(os.environ)
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN, RAY_USAGE_STATS_ENABLED="0")
    import ray

    nodes = ThreeNodes()
    RayEngine(nodes.address).run("join", square, [1])
    yield nodes
    ray.shutdown()
    nodes.cluster.shutdown()
    os.environ.clear()
    os.environ.update(saved)


@pytest.fixture
def local_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sample data curated on this machine, in several partitions; so it will be on Ray in the same test."""
    monkeypatch.setattr(feedback.pipeline.partitions, "_ROWS_A_PARTITION", 150)
    return curate(sample_config(), tmp_path / "local", engine=LocalEngine(2)).folder


@pytest.mark.slow
@needs_ray
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
class TestThreeNodes:
    def test_ray_gives_the_files_of_local(self, three_nodes: ThreeNodes, tmp_path: Path) -> None:
        total, blocks, _ = run_toy_plan(LocalEngine(2), tmp_path / "local")
        on_ray = run_toy_plan(RayEngine(three_nodes.address), tmp_path / "ray")
        assert (total, [block.rows for block in blocks]) == (on_ray[0], [block.rows for block in on_ray[1]])
        assert file_bytes(tmp_path / "local") == file_bytes(tmp_path / "ray")

    @pytest.mark.parametrize("stage", STAGES)
    def test_a_node_killed_in_a_stage_changes_no_file(
        self, three_nodes: ThreeNodes, tmp_path: Path, stage: str
    ) -> None:
        run_toy_plan(LocalEngine(2), tmp_path / "local")
        signal = Signal(tmp_path)
        (tmp_path / f"hold-{stage}").touch()
        engine = RayEngine(three_nodes.address)
        run_and_kill(three_nodes, tmp_path / f"held-{stage}", lambda: run_toy_plan(engine, tmp_path / "ray", signal))
        assert file_bytes(tmp_path / "local") == file_bytes(tmp_path / "ray")

    def test_curate_on_ray_gives_the_dataset_of_local(
        self, three_nodes: ThreeNodes, tmp_path: Path, local_dataset: Path
    ) -> None:
        result = curate(sample_config(), tmp_path / "ray", engine=RayEngine(three_nodes.address))
        assert result.manifest.digest == Manifest.read(local_dataset).digest
        assert all_bytes(tmp_path / "ray") == all_bytes(local_dataset)

    @pytest.mark.parametrize("after", [False, True], ids=["before it wrote", "after it wrote"])
    def test_a_node_killed_in_each_stage_of_curate_changes_no_byte(
        self, three_nodes: ThreeNodes, tmp_path: Path, local_dataset: Path, after: bool
    ) -> None:
        """One run, and in every stage a node is killed under a task: before it did anything, or before it said so."""
        for stage in CURATE_STAGES:
            (tmp_path / f"hold-{stage}").touch()
        engine = HoldingEngine(RayEngine(three_nodes.address), Signal(tmp_path), after)
        with ThreadPoolExecutor(1) as pool:
            outcome = pool.submit(curate, sample_config(), tmp_path / "ray", engine=engine)
            for stage in CURATE_STAGES:
                kill_the_holder(three_nodes, tmp_path / f"held-{stage}", outcome)
            result = outcome.result()
        assert result.manifest.digest == Manifest.read(local_dataset).digest
        assert all_bytes(tmp_path / "ray") == all_bytes(local_dataset)

    def test_results_come_in_the_order_of_the_tasks(self, three_nodes: ThreeNodes) -> None:
        engine = RayEngine(three_nodes.address)
        assert engine.run("square", square, iter(range(20))) == [number**2 for number in range(20)]
        assert engine.run("none", square, []) == []

    def test_the_error_is_that_of_the_first_failing_task_unchanged(self, three_nodes: ThreeNodes) -> None:
        with pytest.raises(DataGateError, match="task 3: an odd task: got 3") as caught:
            RayEngine(three_nodes.address).run("odd", fail_on_odd, [0, 2, 3, 5, 7, 8, 9])
        assert (type(caught.value), caught.value.received, caught.value.exit_code) == (DataGateError, 3, 3)

    def test_an_iterator_is_read_two_tasks_a_core_ahead(self, three_nodes: ThreeNodes, tmp_path: Path) -> None:
        """Two cores: when a task is asked for, at most three of those before it are not done."""
        unfinished: list[int] = []

        def tasks() -> Iterator[MakeTask]:
            for number in range(12):
                unfinished.append(number - len(list(tmp_path.glob("block-*.parquet"))))
                yield MakeTask(number, tmp_path)

        assert len(RayEngine(three_nodes.address).run("make", make, tasks())) == 12
        assert max(unfinished) <= 3

    def test_an_interrupted_stage_stops_its_tasks(self, three_nodes: ThreeNodes, tmp_path: Path) -> None:
        (tmp_path / "hold-make").touch()

        def tasks() -> Iterator[MakeTask]:
            yield MakeTask(0, tmp_path, Signal(tmp_path))
            while not (tmp_path / "held-make").exists():
                time.sleep(0.02)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            RayEngine(three_nodes.address).run("make", make, tasks())
        assert RayEngine(three_nodes.address).run("square", square, [1, 2, 3]) == [1, 4, 9]
        assert not list(tmp_path.glob("block-*"))

    def test_another_cluster_than_the_joined_one_is_refused(self, three_nodes: ThreeNodes) -> None:
        with pytest.raises(UsageError, match="this process is on another Ray cluster"):
            RayEngine("127.0.0.1:1").run("other", square, [1])

    def test_a_wrong_token_is_told(self, three_nodes: ThreeNodes) -> None:
        done = run_elsewhere(three_nodes.address, RAY_AUTH_TOKEN="f" * 32)
        assert "the Ray cluster cannot be joined" in done.stderr
        assert "that the token is that of the cluster" in done.stderr

    def test_a_right_token_is_enough_in_another_process(self, three_nodes: ThreeNodes) -> None:
        done = run_elsewhere(three_nodes.address, RAY_AUTH_TOKEN=TOKEN)
        assert (done.stdout.strip(), done.returncode) == ("[1, 4, 9]", 0), done.stderr


@pytest.mark.slow
@needs_ray
def test_a_cluster_that_lets_anybody_in_is_refused() -> None:
    program = (
        "from ray.cluster_utils import Cluster\n"
        f"cluster = Cluster(initialize_head=True, head_node_args={{**{NODE!r}, 'include_dashboard': False}})\n"
        "print('ADDRESS', cluster.address, flush=True)\n"
        "input()\n"
        "cluster.shutdown()\n"
    )
    env = {**environment(), "RAY_AUTH_MODE": "disabled"}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = next(line for line in process.stdout if line.startswith("ADDRESS")).split()[1]
        done = run_elsewhere(address, RAY_AUTH_TOKEN=TOKEN)
        process.communicate("\n", timeout=60)
    assert "UsageError" in done.stderr
    assert f"--ray-address {address}: the Ray cluster lets in who has no token" in done.stderr


@pytest.mark.slow
@needs_ray
def test_ray_without_an_address_starts_on_this_machine(tmp_path: Path) -> None:
    done = run_elsewhere(None, HOME=str(tmp_path))
    assert (done.stdout.strip(), done.returncode) == ("[1, 4, 9]", 0), done.stderr


@pytest.mark.parametrize(
    ("address", "env", "message"),
    [
        ("10.0.0.1:6379", {}, r"--ray-address 10\.0\.0\.1:6379: .*with token authentication only.*RAY_AUTH_MODE=token"),
        ("head:6379", {"RAY_AUTH_MODE": "disabled"}, "got 'RAY_AUTH_MODE=disabled'.*ray get-auth-token --generate"),
        ("127.0.0.1:6379", {"RAY_AUTH_MODE": "token"}, "token authentication is on, and there is no token"),
        ("head:6379", {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/none/t"}, "/none/t: .* there is no token"),
        (
            "ray://head:10001",
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x"},
            r"expected HOST:PORT.*\(ray://\) is not used",
        ),
        ("auto", {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x"}, "this is no address of a Ray cluster: got 'auto'"),
    ],
)
@needs_ray
def test_a_cluster_is_refused_without_token_authentication(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, env: dict[str, str], message: str
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**env, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message) as caught:
        open_engine("ray", address)
    assert caught.value.exit_code == 2


@needs_ray
def test_a_token_in_a_file_is_a_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    (tmp_path / "token").write_text(TOKEN)
    assert isinstance(open_engine("ray", "head:6379"), RayEngine)


@needs_ray
def test_a_cluster_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    from feedback.engine.ray_access import refuse_open_cluster

    with pytest.raises(
        ThumblineError, match=r"--ray-address 127\.0\.0\.1:9: the Ray cluster cannot be joined \(.*refused"
    ):
        refuse_open_cluster("127.0.0.1:9")


def test_a_node_with_another_version_is_told() -> None:
    with pytest.raises(
        ThumblineError, match=r"another version of thumbline: got '.*'; expected 0\.0\.1\. Install the same"
    ):
        feedback.engine.ray._call("0.0.1", square, 2)


def test_ray_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find_spec(name))
    with pytest.raises(MissingExtraError, match=r"Install it with: pip install 'thumbline\[ray\]'"):
        open_engine("ray")


@dataclass(frozen=True)
class HoldingEngine:
    """An engine whose tasks may be held by a test: before they do anything, or when they have written all."""

    inner: Engine
    signal: Signal
    after: bool

    def run(self, name: str, kernel: Callable[[Any], T], tasks: Iterable[Any], *, key: str = "") -> list[T]:
        held = partial(run_held, kernel=kernel, stage=name, signal=self.signal, after=self.after)
        return self.inner.run(name, held, tasks, key=key)


def run_held(task: Any, kernel: Callable[[Any], T], stage: str, signal: Signal, after: bool) -> T:
    if not after:
        signal.pass_by(stage)
    result = kernel(task)
    if after:
        signal.pass_by(stage)
    return result


def run_and_kill(nodes: ThreeNodes, held: Path, plan: Callable[[], T]) -> T:
    """What `plan` gives, with a node killed under it: the one whose name appears in the file `held`."""
    with ThreadPoolExecutor(1) as pool:  # the plan on a thread, since Ray starts nodes from the main one only
        outcome = pool.submit(plan)
        kill_the_holder(nodes, held, outcome)
        return outcome.result()


def kill_the_holder(nodes: ThreeNodes, held: Path, outcome: Future[Any]) -> None:
    while not held.exists() and not outcome.done():
        time.sleep(0.02)
    if not held.exists():
        outcome.result()
    assert held.exists(), f"no task was held for {held.name}"
    nodes.kill(held.read_text())


def sample_config() -> CurateConfig:
    sources = [("thumbs.jsonl", "thumbs"), ("pairs.jsonl", "trl"), ("open_webui.json", "open_webui")]
    return CurateConfig(sources=tuple(SourceConfig(path=str(SAMPLE / path), format=name) for path, name in sources))


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def environment() -> dict[str, str]:
    """This process' environment without anything that Ray reads."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**env, "PYTHONPATH": str(Path(__file__).parents[2]), "RAY_USAGE_STATS_ENABLED": "0"}


def run_elsewhere(address: str | None, **env: str) -> subprocess.CompletedProcess[str]:
    """The squares of 1, 2 and 3 by an engine of another process."""
    program = (
        "from feedback.engine.ray import RayEngine\n"
        "from tests.engine_kernels import square\n"
        f"print(RayEngine({address!r}, workers=1).run('square', square, [1, 2, 3]))\n"
    )
    mode = {} if address is None else {"RAY_AUTH_MODE": "token"}
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**environment(), **mode, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )
