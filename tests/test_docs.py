"""The README is true: every command in it runs, and prints what it says.

A ```console block is a session: lines that begin with `$ ` are commands, run in order in one temporary folder that
holds `sample_data`; the lines below a command are its output, compared line by line after trailing space is cut.
`...` on a line of its own stands for any number of lines. Blocks below the comment `<!-- slow -->` are run too by
`make test-all`; blocks below `<!-- by hand -->` set up the project itself, which `.ci/run` does.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- (?P<mark>[a-z ]+) -->\n)?```console\n(?P<text>.*?)```", re.DOTALL)
PYTHON = re.compile(r"(?:<!-- (?P<mark>[a-z ]+) -->\n)?```python\n(?P<text>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A command of a page and the output that it promises."""

    command: str
    expected: list[str]


def _steps(page: Path, marks: set[str | None]) -> list[Step]:
    steps: list[Step] = []
    for block in BLOCK.finditer(page.read_text("utf-8")):
        if block["mark"] not in marks:
            continue
        for part in re.split(r"^\$ ", block["text"], flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            steps.append(
                Step(command, [line.rstrip() for line in output.rstrip().split("\n")] if output.strip() else [])
            )
    return steps


def _matches(expected: list[str], actual: list[str]) -> bool:
    if not expected:
        return not actual
    if expected[0].strip() == "...":
        return any(_matches(expected[1:], actual[start:]) for start in range(len(actual) + 1))
    return bool(actual) and actual[0] == expected[0] and _matches(expected[1:], actual[1:])


def _workplace(folder: Path) -> tuple[Path, dict[str, str]]:
    shutil.copytree(ROOT / "sample_data", folder / "sample_data")
    scripts = Path(sys.executable).parent
    env = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "100",
        "PYTHONPATH": str(ROOT),
    }
    env.update(THUMBLINE_RATER_KEY="0" * 64, HF_HUB_OFFLINE="1", NO_COLOR="1")
    return folder, env


def _run_page(page: Path, marks: set[str | None], folder: Path) -> None:
    workplace, env = _workplace(folder)
    for step in _steps(page, marks):
        result = subprocess.run(
            step.command, shell=True, cwd=workplace, env=env, capture_output=True, text=True, timeout=1500
        )
        assert result.returncode in (0, 3), f"$ {step.command}\n{result.stdout}{result.stderr}"
        if step.expected:
            actual = [line.rstrip() for line in result.stdout.rstrip().split("\n")]
            assert _matches(step.expected, actual), f"$ {step.command}\n{result.stdout}{result.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_the_page_run_and_print_what_it_says(page: Path, tmp_path: Path) -> None:
    _run_page(page, {None}, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_slow_commands_of_the_page_run(page: Path, tmp_path: Path) -> None:
    _run_page(page, {None, "slow"}, tmp_path)


def test_readme_names_the_two_first_commands() -> None:
    """`make demo` and `make test` stand on the first screen."""
    first_screen = "\n".join((ROOT / "README.md").read_text("utf-8").split("\n")[:40])
    assert "make demo" in first_screen
    assert "make test" in first_screen


@pytest.mark.parametrize(
    ("target", "command"), [("demo", "thumbline demo"), ("test", "-m pytest"), ("test-all", 'loadfile -m ""')]
)
def test_make_target_sets_up_and_runs_what_the_readme_says(target: str, command: str, tmp_path: Path) -> None:
    """In a folder without `.venv`, the target makes one first."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    plan = subprocess.run(["make", "-n", target], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert plan.index("-m venv .venv") < plan.index("pip install") < plan.index(command)


def test_every_command_is_documented() -> None:
    from cli.main import COMMANDS

    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    assert [name for name in COMMANDS if f"thumbline {name}" not in text] == []


def test_every_reason_is_documented() -> None:
    """A reader who meets a reason in a report finds its sentence."""
    from schemas.reasons import DropReason, RejectReason

    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    for reason in [*DropReason, *RejectReason]:
        assert f"| `{reason.value}` | {reason.meaning} |" in text, reason


def test_every_file_of_the_map_exists() -> None:
    """Paths in the README's file map are real, and no package file is missing from it."""
    text = (ROOT / "README.md").read_text("utf-8")
    block = re.search(r"## File map\n(.*?)\n## ", text, re.DOTALL)
    assert block is not None
    named = set(
        re.findall(r"`((?:schemas|feedback|align|cli)/[\w/]+\.py|(?:schemas|feedback|align|cli)/[\w/]+/)`", block[1])
    )
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    for package in ("schemas", "feedback", "align", "cli"):
        for path in (ROOT / package).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            covered = name in named or any(name.startswith(entry) for entry in named if entry.endswith("/"))
            assert covered or path.name == "__init__.py", f"{name} is not in the file map"


def test_every_config_key_is_documented_with_its_meaning() -> None:
    """Two pages of `docs` hold every key of every settings class, and the sentence of its docstring."""
    import align.champion.config
    import align.config
    import cli.workflows.retrain.config
    import feedback.audit.config
    import feedback.config

    text = " ".join(
        " ".join((ROOT / "docs" / f"{name}.md").read_text("utf-8").split()) for name in ("config", "retrain")
    )
    of_retraining = (align.champion.config, cli.workflows.retrain.config)
    for module in (feedback.config, feedback.audit.config, align.config, *of_retraining):
        for name in filter(lambda each: each.endswith("Config"), module.__all__):
            docstring = getattr(module, name).__doc__
            for key, meaning in re.findall(r"^ {8}(\w+): ((?:.+\n)(?: {12}.+\n)*)", docstring, re.MULTILINE):
                is_table = f"`[{key}]`" in text
                assert is_table or f"| `{key}` |" in text, f"{name}.{key}"
                assert is_table or " ".join(meaning.split()) in text, f"{name}.{key}"


def test_every_metric_of_the_audit_is_documented() -> None:
    """`docs/audit.md` names every metric that a module of the audit makes."""
    text = (ROOT / "docs" / "audit.md").read_text("utf-8")
    source = "".join(path.read_text("utf-8") for path in (ROOT / "feedback" / "audit").rglob("*.py"))
    names = re.findall(r'Metric\(\s*name="(\w+)"', source)
    assert len(names) > 20
    assert [name for name in names if f"`{name}`" not in text] == []


def _python_of(page: Path, marks: set[str | None]) -> str:
    return "\n".join(block["text"] for block in PYTHON.finditer(page.read_text("utf-8")) if block["mark"] in marks)


def _run_python(page: Path, marks: set[str | None], folder: Path) -> None:
    workplace, env = _workplace(folder)
    result = subprocess.run(
        [sys.executable, "-c", _python_of(page, marks)], cwd=workplace, env=env, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_python_of_the_readme_runs(tmp_path: Path) -> None:
    _run_python(ROOT / "README.md", {None}, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_slow_python_of_the_readme_runs(tmp_path: Path) -> None:
    _run_python(ROOT / "README.md", {None, "slow"}, tmp_path)


def test_benchmark_table_is_made_from_the_results() -> None:
    """Figures are copied from `bench/results`, never typed."""
    text = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    result = json.loads((ROOT / "bench" / "results" / "curate.json").read_text("utf-8"))
    for row in result["table"]:
        figures = (
            f"{row['seconds']:.1f} | {row['rows_per_second']:,} | {row['times_the_floor']:.1f} | {row['peak_mib']:,}"
        )
        assert f"| {row['name']} | {figures} |" in text
    assert result["machine"].split(",")[0] in text
