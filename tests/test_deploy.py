"""The wrappers for schedulers: their own checkers take them, and each runs the command with its exit codes mapped."""

from __future__ import annotations

import configparser
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
AIRFLOW_PYTHON = os.environ.get("THUMBLINE_AIRFLOW_PYTHON")
"""An interpreter with Airflow, which does not go into our environment: its pins are others."""


def fake_command(folder: Path, code: int) -> Path:
    """A `thumbline` that notes its arguments and ends with a code."""
    path = folder / "bin" / "thumbline"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "$@" >> {folder}/called\nexit {code}\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def cronjob() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes" / "cronjob.yaml").read_text())
    return found


def container(cronjob: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_timer_and_service(tmp_path: Path) -> None:
    for name in ("thumbline-retrain.service", "thumbline-retrain.timer"):
        shutil.copy(DEPLOY / "systemd" / name, tmp_path)
    units = [str(tmp_path / "thumbline-retrain.timer"), str(tmp_path / "thumbline-retrain.service")]
    result = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    ours = [line for line in (result.stdout + result.stderr).splitlines() if "thumbline" in line]
    assert (result.returncode, ours) == (0, [])
    when = subprocess.run(
        ["systemd-analyze", "calendar", "*-*-* 02:00:00"], capture_output=True, text=True, check=True
    ).stdout
    assert "Normalized form" in when


def test_service_takes_75_and_a_stop_as_a_success_and_runs_the_command() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "systemd" / "thumbline-retrain.service")
    assert unit["Service"]["SuccessExitStatus"] == "75 130"
    assert unit["Service"]["Type"] == "oneshot"
    assert unit["Service"]["KillSignal"] == "SIGINT"
    assert unit["Service"]["ExecStart"].split()[1:3] == ["thumbline", "retrain"]


@pytest.mark.parametrize(("code", "mapped"), [(0, 0), (75, 0), (1, 1), (3, 3), (4, 4), (5, 5), (130, 130)])
def test_cronjob_runs_the_command_and_maps_only_75(
    code: int, mapped: int, cronjob: dict[str, Any], tmp_path: Path
) -> None:
    """The container's own command line, run by this machine's shell."""
    fake = fake_command(tmp_path, code)
    one = container(cronjob)
    env = {**os.environ, "PATH": f"{fake.parent}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run([*one["command"], *one["args"]], env=env, check=False)
    assert result.returncode == mapped
    assert (tmp_path / "called").read_text() == "retrain /data/retrain.toml\n"


@pytest.mark.parametrize("shell", [name for name in ("sh", "bash", "dash") if shutil.which(name)])
def test_cronjob_that_is_stopped_tells_the_command_and_waits_for_its_end(
    shell: str, cronjob: dict[str, Any], tmp_path: Path
) -> None:
    """The command takes a while to save its checkpoint, and its exit code is that of the container."""
    fake = fake_command(tmp_path, 1)
    fake.write_text(
        "#!/bin/sh\ntrap 'sleep 0.1; echo saved; exit 130' TERM\n"
        "echo started; for turn in $(seq 300); do sleep 0.01; done; echo never told\n"
    )
    one = container(cronjob)
    assert one["command"] == ["/bin/sh", "-c"]
    env = {**os.environ, "PATH": f"{fake.parent}{os.pathsep}{os.environ['PATH']}"}
    with subprocess.Popen([shell, "-c", *one["args"]], env=env, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "started\n"
        run.send_signal(signal.SIGTERM)
        said, _ = run.communicate()
    assert (run.returncode, said) == (130, "saved\n")


def test_cronjob_forbids_a_second_run_and_does_not_repeat_what_a_gate_stopped(cronjob: dict[str, Any]) -> None:
    job = cronjob["spec"]["jobTemplate"]["spec"]
    assert (cronjob["apiVersion"], cronjob["kind"]) == ("batch/v1", "CronJob")
    assert cronjob["spec"]["concurrencyPolicy"] == "Forbid"
    rule = job["podFailurePolicy"]["rules"][0]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [2, 3, 4, 5])
    assert rule["onExitCodes"]["containerName"] == container(cronjob)["name"]
    # Kubernetes takes a policy for failed pods only where pods are not restarted in place.
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_cronjob_is_what_the_published_schema_says(cronjob: dict[str, Any]) -> None:
    """That of Kubernetes' own API, of which `kubernetes-validate` carries every version."""
    version = kubernetes_validate.latest_version()
    assert version.startswith(kubernetes_validate.validate(cronjob, version, strict=True))
    wrong = {**cronjob, "spec": {**cronjob["spec"], "concurrencyPolicies": "Forbid"}}
    with pytest.raises(kubernetes_validate.ValidationError, match="concurrencyPolicies"):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_cronjob_mounts_what_it_has(cronjob: dict[str, Any]) -> None:
    pod = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container(cronjob)["volumeMounts"]} == volumes
    assert pod["securityContext"]["runAsNonRoot"] is True


def test_dag_is_python_that_names_what_the_schedulers_need() -> None:
    text = (DEPLOY / "airflow" / "thumbline_retrain.py").read_text()
    compile(text, "thumbline_retrain.py", "exec")
    assert "skip_on_exit_code=75" in text
    assert "max_active_runs=1" in text


@pytest.mark.slow
@pytest.mark.skipif(AIRFLOW_PYTHON is None, reason="THUMBLINE_AIRFLOW_PYTHON names no interpreter with Airflow")
@pytest.mark.parametrize(("code", "state"), [(0, "success"), (75, "skipped"), (3, "failed")])
def test_dag_runs_the_command_and_skips_on_75(code: int, state: str, tmp_path: Path) -> None:
    """By `dag.test()`, in an environment of its own."""
    fake = fake_command(tmp_path, code)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import thumbline_retrain as module\n"
        "module.dag.get_task('retrain').retries = 0\n"
        "run = module.dag.test()\n"
        "print('STATE', [str(one.state) for one in run.get_task_instances()])\n"
    )
    env = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DEPLOY / "airflow"),
        "THUMBLINE_BIN": str(fake),
        "THUMBLINE_CONFIG": str(tmp_path / "retrain.toml"),
    }
    python = str(AIRFLOW_PYTHON)
    subprocess.run([python, "-m", "airflow", "db", "migrate"], env=env, check=True, capture_output=True)
    result = subprocess.run(
        [python, "-c", program, str(DEPLOY / "airflow")], env=env, capture_output=True, text=True, check=False
    )
    assert f"STATE ['{state}']" in result.stdout, result.stdout[-3000:] + result.stderr[-3000:]
    assert (tmp_path / "called").read_text() == f"retrain {tmp_path}/retrain.toml\n"
    assert sys.executable != python
