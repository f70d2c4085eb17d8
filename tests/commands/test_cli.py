"""The command line's frame: help that loads nothing, one place for failures, exit codes, and harmless text."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

import cli.main
import cli.progress
from cli.main import COMMANDS, run
from cli.options import parse_ratio
from cli.render import clean, show, table_of, waterfall
from schemas.errors import (
    AuditGateError,
    CorruptionError,
    DataGateError,
    EvaluationGateError,
    ThumblineError,
    UnknownChoiceError,
)
from schemas.progress import silent
from schemas.report import LabelCounts, StageReport

ROOT = Path(__file__).parents[2]


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter at the root of the project."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make the command `formats` raise the error."""

    @click.command()
    @click.option("--json", is_flag=True)
    def command(json: bool) -> None:
        raise error

    monkeypatch.setattr(cli.main.LazyGroup, "get_command", lambda self, ctx, name: command)


def test_help_loads_neither_torch_nor_polars_nor_pyarrow() -> None:
    code = (
        "import sys; from cli.main import run; run(['--help'])\n"
        "print([name for name in ('torch', 'polars', 'pyarrow', 'pandera', 'numpy', 'rich') if name in sys.modules])"
    )
    assert python(code).stdout.splitlines()[-1] == "[]"


def test_help_answers_in_under_400_ms() -> None:
    """The best of five, as other work on the machine only ever adds time."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        python("from cli.main import run; run(['--help'])")
        times.append(time.perf_counter() - start)
    assert min(times) < 0.4


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    page = capsys.readouterr().out
    assert all(f"\n  {name} " in page for name in COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_and_speaks_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    page = capsys.readouterr().out
    assert "--json" in page
    assert "Example" in page


def test_version_is_that_of_the_schemas(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("thumbline 0.")


def test_unknown_command_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cruate"]) == 2
    assert "No such command 'cruate'. Commands: formats, convert, audit" in capsys.readouterr().err


def test_unknown_option_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["formats", "--nope"]) == 2
    assert "No such option" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ThumblineError("it broke"), 1),
        (UnknownChoiceError("format", "x", ["thumbs"]), 2),
        (DataGateError("bad data"), 3),
        (AuditGateError("gate"), 3),
        (EvaluationGateError("worse"), 4),
        (CorruptionError("bytes"), 5),
        (RuntimeError("a defect"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_error_has_its_exit_code(monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int) -> None:
    fail_with(monkeypatch, error)
    assert run(["formats"]) == code


def test_error_is_one_message_on_stderr_without_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, UnknownChoiceError("format", "thumb\x1b[31ms", ["thumbs", "trl"]))
    run(["formats"])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "Error: unknown format: got 'thumb\\x1b[31ms'; expected one of thumbs, trl.\n"


def test_error_is_json_on_stdout_where_json_is_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, DataGateError("one label only", where="train", received={"up": 3}, todo="Add more"))
    assert run(["formats", "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["type"] == "DataGateError"
    assert (error["exit_code"], error["where"], error["received"], error["todo"]) == (
        3,
        "train",
        "{'up': 3}",
        "Add more",
    )


def test_usage_error_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["convert", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == 2


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    run(["formats"])
    assert "stopped; run the same command again to resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "out/data"),
            "out/data: the system says: Permission denied.",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "Error: the system says: No space left on device."),
        (FileExistsError(errno.EEXIST, "File exists", "a"), "a: the system says: File exists."),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a/b"), "a/b: the system says: Not a directory."),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "a"), "a: the system says: Is a directory."),
        (OSError(errno.ENAMETOOLONG, "File name too long", "aa"), "aa: the system says: File name too long."),
        (OSError(errno.ELOOP, "Too many levels of symbolic links", "a"), "a: the system says: Too many levels of"),
        (OSError(errno.ETXTBSY, "Text file busy", "a"), "a: the system says: Text file busy."),
        (OSError(errno.EBUSY, "Device or resource busy", "a"), "a: the system says: Device or resource busy."),
        (OSError(errno.EXDEV, "Invalid cross-device link", "a"), "a: the system says: Invalid cross-device link."),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a/b"), "not one that was foreseen"),
        (OSError("a library's own words"), "not one that was foreseen"),
    ],
)
def test_what_the_system_refuses_is_no_defect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: OSError, says: str
) -> None:
    """A file of ours that is not there is one."""
    fail_with(monkeypatch, error)
    assert run(["formats"]) == 1
    shown = capsys.readouterr().err
    assert says in shown
    assert ("report it" in shown) == ("foreseen" in says)
    assert ("run the same command again" in shown) == ("foreseen" not in says)


def test_defect_shows_its_traceback_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, RuntimeError("a defect"))
    run(["formats"])
    assert "THUMBLINE_TRACEBACK=1" in capsys.readouterr().err
    monkeypatch.setenv("THUMBLINE_TRACEBACK", "1")
    run(["formats"])
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://example.com\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\u202eb\u2066c", "abc"),
        ("bell\x07back\x08", "bellback"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\x9b31mC1", "31mC1"),
    ],
)
def test_text_of_strangers_is_made_harmless(text: str, harmless: str) -> None:
    assert clean(text) == harmless


def test_tables_print_markup_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show(table_of(("text", "n>"), [("[red]hi[/red] :smile:", 1234)]))
    printed = capsys.readouterr().out
    assert "[red]hi[/red] :smile:" in printed
    assert "1,234" in printed


def test_a_number_that_rounds_to_zero_has_no_sign(capsys: pytest.CaptureFixture[str]) -> None:
    show(table_of(("n>",), [(-1e-9,), (-0.25,)]))
    printed = capsys.readouterr().out
    assert "-0.000" not in printed
    assert "-0.250" in printed


def test_waterfall_fits_into_80_columns_and_shows_every_reason(capsys: pytest.CaptureFixture[str]) -> None:
    stages = [
        StageReport("ingest", 1_000_000, 0, 999_990, {"quarantined": 10}),
        StageReport(
            "dedup",
            999_990,
            0,
            3,
            {"normalized_duplicate": 999_000, "duplicate_record": 987},
            labels_kept=LabelCounts(2, 1),
        ),
    ]
    show(waterfall(stages, ratio=1.25))
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines()) <= 80
    assert "987 duplicate_record" in printed
    assert "999,000 normalized_duplicate" in printed
    assert "2.000" in printed
    assert "1.250" in printed


@pytest.mark.parametrize(("text", "pair"), [("1:1.33", (1.0, 1.33)), ("1", (1.0, 1.0)), ("3/4:4/3", (0.75, 4 / 3))])
def test_ratio_is_a_range_or_a_target(text: str, pair: tuple[float, float]) -> None:
    assert parse_ratio(click.Context(click.Command("x")), click.Option(["--ratio"]), text) == pytest.approx(pair)


@pytest.mark.parametrize("text", ["", "a:b", "2:1", "0:1", "1:2:3", "-1", "1/0"])
def test_ratio_that_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not"):
        parse_ratio(click.Context(click.Command("x")), click.Option(["--ratio"]), text)


def work_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], delay_s: float) -> str:
    """What a task of two units prints to a stderr that says it is a terminal."""
    monkeypatch.setattr("cli.progress.DELAY_S", delay_s)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with cli.progress.shown_progress() as progress, progress("reading [x]\x1b]0;t\x07", 2) as advance:
        advance(1)
        advance(1)
    return capsys.readouterr().err


def test_slow_work_shows_a_bar_with_harmless_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = work_on_a_terminal(monkeypatch, capsys, delay_s=-1.0)
    assert "reading [x]" in shown
    assert "]0;t" not in shown


def test_quick_work_shows_no_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert "reading" not in work_on_a_terminal(monkeypatch, capsys, delay_s=60.0)


def test_no_bar_is_drawn_where_stderr_is_no_terminal() -> None:
    with cli.progress.shown_progress() as progress:
        assert progress is silent
