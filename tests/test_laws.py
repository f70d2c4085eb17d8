"""Laws of the house that can be read off the source: who may import whom, names, docstrings, exception handling."""

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("schemas", "feedback", "align", "cli")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
OURS = set(PACKAGES)
FORBIDDEN = {
    "schemas": OURS - {"schemas"} | {"torch", "transformers", "accelerate", "datasets", "click"},
    "feedback": {"torch", "transformers", "accelerate", "datasets", "click", "peft", "align", "cli"},
    "align": {"polars", "pandera", "click", "feedback", "cli"},
    "cli": set(),
}
STAGES = ("convert", "dedup", "conflicts", "caps", "split", "pairs", "mix", "rebalance", "export")
"""Every stage that takes candidate rows: a module, or a package with the modules that are its own."""
BELOW = ("engine", "formats", "near", "personal", "records")
"""Packages of `feedback` that know no stage."""
LAYERS = (
    "config",
    "objectives",
    "data",
    "tokens",
    "batches",
    "models",
    "distributed",
    "scoring",
    "reference",
    "artifacts",
    "evaluate",
    "step",
    "resources",
    "trainer",
    "champion",
)
"""Rooms of `align`, each of which imports only itself and those before it."""


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.AST) -> set[str]:
    """Every module named in an import statement of the tree, those inside functions too."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_imports_only_what_its_package_may(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    imported = _imports(ast.parse(path.read_text("utf-8")))
    assert {name.split(".")[0] for name in imported}.isdisjoint(FORBIDDEN[package])
    if package == "schemas" and path.name != "rules.py":
        assert {name.split(".")[0] for name in imported}.isdisjoint({"pandera", "polars"})
    if package == "align":
        assert "schemas.rules" not in imported


def _rooms(path: Path, package: str = "feedback") -> set[str]:
    """The modules and packages of `package` that a file imports."""
    names = (name.split(".") for name in _imports(ast.parse(path.read_text("utf-8"))))
    return {name[1] for name in names if name[0] == package and len(name) > 1}


@pytest.mark.parametrize("stage", STAGES)
def test_stage_never_imports_another_stage(stage: str) -> None:
    """Nor do the modules that are its own, nor does it import theirs."""
    others = {*STAGES, "ingest", "pipeline"} - {stage}
    files = [*(ROOT / "feedback").glob(f"{stage}.py"), *(ROOT / "feedback" / stage).glob("*.py")]
    assert files
    for path in files:
        assert _rooms(path).isdisjoint(others), path.name


@pytest.mark.parametrize("package", BELOW)
def test_what_stages_stand_on_knows_no_stage(package: str) -> None:
    files = list((ROOT / "feedback" / package).rglob("*.py"))
    assert files
    for path in files:
        assert _rooms(path).isdisjoint({*STAGES, "ingest", "pipeline"}), path.name


@pytest.mark.parametrize("room", LAYERS)
def test_room_of_training_imports_only_those_it_stands_on(room: str) -> None:
    below = set(LAYERS[: LAYERS.index(room) + 1])
    files = [*(ROOT / "align").glob(f"{room}.py"), *(ROOT / "align" / room).glob("*.py")]
    assert files
    for path in files:
        assert _rooms(path, "align") <= below, path.name


def test_every_room_of_training_has_its_place_in_the_order() -> None:
    """In the table, and in the docstring of the package, which draws it."""
    rooms = {
        path.stem for path in (ROOT / "align").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms - {"__init__"} == set(LAYERS)
    drawn = re.findall(r"^    (\w+) {2,}", importlib.import_module("align").__doc__ or "", re.MULTILINE)
    assert tuple(drawn) == LAYERS


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_can_be_imported_and_lists_what_it_offers(path: Path) -> None:
    """`__all__` names what exists, and every public class and function."""
    module = importlib.import_module(_name(path))
    assert module.__doc__, "a module says what it holds"
    assert all(hasattr(module, name) for name in module.__all__)
    public = {
        node.name
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    assert public <= set(module.__all__)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_fits_on_a_few_screens_and_is_named_by_what_it_holds(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 400
    assert not re.search(r"utils?|helpers?|misc|common|manager", path.stem)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_broad_except_and_assert_stay_out(path: Path) -> None:
    """Only `cli/main.py` may catch everything; what a file or user can cause is an exception, not an assertion."""
    tree = ast.parse(path.read_text("utf-8"))
    broad = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}))
    ]
    assert not broad or path == ROOT / "cli" / "main.py"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_polars_takes_our_paths_for_names_and_not_for_patterns(path: Path) -> None:
    """`out[1]/x.parquet` read as a pattern is a file of `out1`."""
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    readers = [
        call
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and re.fullmatch(r"(read|scan)_(parquet|ipc|ndjson|csv)", call.func.attr)
    ]
    literal = [{word.arg: ast.unparse(word.value) for word in call.keywords}.get("glob") for call in readers]
    assert literal == ["False"] * len(readers)


@pytest.mark.parametrize("package", ["schemas", "feedback", "align"])
def test_package_loads_nothing_forbidden_when_it_runs(package: str) -> None:
    """The import table holds for what libraries pull in on import of every module of the package."""
    names = [_name(path) for path in MODULES if path.relative_to(ROOT).parts[0] == package]
    if package == "schemas":
        names.remove("schemas.rules")
    heavy = {"feedback": ["torch", "transformers", "accelerate", "click"], "align": ["polars", "pandera"]}
    probe = (
        "import sys, importlib\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"print([name for name in {heavy.get(package, ['torch', 'polars', 'pandera'])!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", probe],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.stdout.strip() == "[]"


def test_a_run_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    """Each of these costs a run more time than some of its stages; only who asks for it pays."""
    (tmp_path / "in.jsonl").write_text(
        "".join(
            f'{{"prompt": "q{n}", "completion": "a{n}", "label": "{"up" if n % 3 else "down"}", "user": "u{n % 9}"}}\n'
            for n in range(60)
        )
    )
    unwanted = ["altair", "datasets", "deltalake", "jinja2", "pandas", "pandera", "phonenumbers", "ray"]
    unwanted += [
        "rensa",
        "sklearn",
        "torch",
        "duckdb",
        "feedback.formats.langfuse",
        "feedback.formats.sniffing.sniff",
        "huggingface_hub",
    ]
    program = (
        "import sys\n"
        "from feedback.pipeline import curate, default_config\n"
        "from pathlib import Path\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "curate(default_config([folder / 'in.jsonl'], 'thumbs'), folder / 'out')\n"
        f"print([name for name in {unwanted!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_no_host_or_machine_path_is_written_down() -> None:
    """What is committed names no package registry's host and no folder of one machine."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    pattern = re.compile(r"/(?:home|root|work)/[a-z]|pypi\.org|files\.pythonhosted|registry\.npmjs")
    text_suffixes = {".py", ".md", ".toml", ".txt", ".yaml", ".cfg", ""}
    for name in filter(None, listed):
        path = ROOT / name
        if path.suffix in text_suffixes and path.is_file() and path.name != Path(__file__).name:
            assert not pattern.search(path.read_text("utf-8")), name
