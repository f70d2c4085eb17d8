"""The command `thumbline`: which commands exist, and what a failure looks like.

Commands live in modules that are imported only when their command runs, so `thumbline --help` loads neither torch nor
polars. This is the one place that catches every exception: an error becomes a message on stderr (and, with `--json`, a
JSON object `{"error": ...}` on stdout) and an exit code.

    0 done, or nothing was left to do      3 a data gate failed          75 nothing to do, or locked
    1 an error                             4 an evaluation gate failed   130 stopped with Ctrl-C
    2 the call is wrong                    5 bytes on disk are damaged
"""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from cli.lean_start import leave_lean
from schemas import __version__
from schemas.errors import ThumblineError
from schemas.redaction import without_passwords

__all__ = ["COMMANDS", "LazyGroup", "main", "run", "thumbline"]

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "formats": ("cli.curate", "What can be read and written, and how labels are read."),
    "convert": ("cli.curate", "One file format into another."),
    "audit": ("cli.audit", "What is in the data, and what is wrong with it."),
    "ingest": ("cli.store", "Raw files into a store, each row once."),
    "rebalance": ("cli.rebalance", "Bring the ratio of up to down into a range."),
    "curate": ("cli.curate", "All stages: raw files in, a dataset out."),
    "train": ("cli.train", "A dataset and a model in, an aligned model out."),
    "evaluate": ("cli.evaluate", "Rewards and answers on the held-out split."),
    "doctor": ("cli.store", "Find, heal and explain what is wrong with a store."),
    "forget": ("cli.store", "Somebody is forgotten: in a store and in what was made of it."),
    "retrain": ("cli.operate", "New feedback into a new champion, if it wins; can run every night."),
    "rollback": ("cli.operate", "An earlier champion becomes champion again."),
    "history": ("cli.operate", "Every decision about the champion, and why."),
    "diff": ("cli.operate", "What differs between two datasets, models or runs."),
    "dashboard": ("cli.operate", "Store, runs, audits and models over time, as pages."),
    "demo": ("cli.operate", "Everything on the sample data, in minutes, on a CPU."),
}
"""Module and one-line help of every command. The command's function has the command's name."""

TRACEBACK_VARIABLE: Final = "THUMBLINE_TRACEBACK"

_REFUSALS: Final = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        *(errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOLCK, errno.EADDRINUSE),
        *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
        *(errno.ETXTBSY, errno.EBUSY, errno.EXDEV),
    }
)
"""What only the user, or who runs the machine, can mend. A file that is not there is none of it: a defect may have lost
it."""


class LazyGroup(click.Group):
    """A group of commands whose modules are imported when one of them is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order in which they are used."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, from its module."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that `args` begin with; an unknown one is refused with the known ones."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(f"No such command {args[0]!r}. Commands: {', '.join(COMMANDS)}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    name="thumbline",
    epilog="New here? Run: thumbline demo",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="thumbline %(version)s")
def thumbline() -> None:
    """From thumbs to an aligned model: feedback in, a curated dataset and a trained model out."""


def main() -> None:
    """Run the command line and leave with its exit code."""
    code = run(sys.argv[1:])
    leave_lean(code)
    # At its end Python looks through all objects for cycles, a fifth of a second behind large commands, for nothing.
    gc.freeze()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; failures are reported, never raised.

    Args:
        arguments: what follows `thumbline` on the command line.
    """
    wants_json = "--json" in arguments
    try:
        code = thumbline.main(list(arguments), prog_name="thumbline", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return _report_json(error, error.format_message(), error.exit_code, wants_json)
    except (click.Abort, KeyboardInterrupt):
        _say("stopped; run the same command again to resume")
        return 130
    except ThumblineError as error:
        _say(f"Error: {error}")
        return _report_json(error, str(error), error.exit_code, wants_json)
    except OSError as error:
        return (_report_refusal if error.errno in _REFUSALS else _report_defect)(error, wants_json)
    except Exception as error:  # noqa: BLE001 - the one place where a defect becomes a message
        return _report_defect(error, wants_json)
    return code if isinstance(code, int) else 0


def _report_refusal(error: OSError, wants_json: bool) -> int:
    """What the system did not allow: no right to a file, no space left, a file where a folder should be."""
    where = f"{error.filename}: " if error.filename else ""
    message = without_passwords(f"{where}the system says: {error.strerror}")
    _say(f"Error: {message}. Mend the cause, then run the same command again.")
    _show_traceback(error)
    return _report_json(error, message, 1, wants_json)


def _report_defect(error: Exception, wants_json: bool) -> int:
    message = without_passwords(f"{type(error).__name__}: {error}")
    _say(f"Error, and not one that was foreseen: {message}")
    if not _show_traceback(error):
        click.echo(f"Run it again with {TRACEBACK_VARIABLE}=1 to see where, and please report it.", err=True)
    return _report_json(error, message, 1, wants_json)


def _show_traceback(error: Exception) -> bool:
    """Whether it was asked for, and is on stderr."""
    is_wanted = bool(os.environ.get(TRACEBACK_VARIABLE))
    if is_wanted:
        click.echo(without_passwords("".join(traceback.format_exception(error))), err=True)
    return is_wanted


def _report_json(error: Exception, message: str, exit_code: int, wants_json: bool) -> int:
    if wants_json:
        parts: dict[str, Any] = {"type": type(error).__name__, "message": message, "exit_code": exit_code}
        if isinstance(error, ThumblineError):
            parts |= {"what": error.what, "where": error.where, "expected": error.expected, "todo": error.todo}
            parts["received"] = None if error.received is None else without_passwords(repr(error.received))
        click.echo(json.dumps({"error": parts}, ensure_ascii=False, indent=2))
    return exit_code


def _say(message: str) -> None:
    from cli.render import clean

    click.secho(clean(message), fg="red", err=True)


if __name__ == "__main__":
    main()
