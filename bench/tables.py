"""Tables made from the results: `python -m bench.tables` prints them, `--write` puts them into README and docs.

There each stands between `<!-- bench: PART -->` and `<!-- bench: end -->`; `tests/test_bench.py` compares.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.headlines import headlines
from bench.runner import results_folder
from bench.study_page import study_claims, study_tables

__all__ = [
    "PAGES",
    "PARTS",
    "audit_power_tables",
    "audit_tables",
    "curate_tables",
    "fill_in",
    "main",
    "near_tables",
    "reader_tables",
    "scale_tables",
    "store_tables",
    "train_memory_tables",
    "train_tables",
    "trl_losses_tables",
]

Result = Mapping[str, Any]

_ROOT: Final = Path(__file__).parents[1]
PAGES: Final = (_ROOT / "README.md", _ROOT / "docs" / "benchmarks.md")
"""Where tables stand: the headlines, and all parts."""
_BLOCK: Final = re.compile(r"<!-- bench: (?P<part>\w+) -->\n.*?<!-- bench: end -->", re.DOTALL)


def curate_tables(result: Result) -> str:
    """The table of `bench.curate` with what its rows are, as Markdown."""
    columns = ("", "seconds", "rows/s", "times the floor", "peak MiB", "rows left", "rounds")
    rows = [
        (
            row["name"],
            f"{row['seconds']:.1f}",
            f"{row['rows_per_second']:,}",
            f"{row['times_the_floor']:.1f}",
            f"{row['peak_mib']:,}",
            f"{row['rows_kept']:,}" if "rows_kept" in row else "–",
            str(row.get("rounds", result["rounds"])),
        )
        for row in result["table"]
    ]
    does = [f"- {row['name']}: {row['does']}." for row in result["table"] if row.get("does")]
    absent = [f"- Left out, {name}: {reason}." for name, reason in sorted(result.get("absent", {}).items())]
    head = f"{result['rows']:,} votes, {result['bytes'] / 1e6:.0f} MB of JSONL, medians; {_place(result)}."
    return _page(head, _table(columns, rows), "\n".join(does + absent), _targets(result))


def near_tables(result: Result) -> str:
    """The table of `bench.near`, as Markdown."""
    columns = ("", "precision of pairs", "recall of pairs", "precision of copies", "recall of copies", "seconds")
    rows = [
        (row["name"], *(_share(row[key]) for key in _NEAR_FIGURES), f"{row['seconds']:.2f}") for row in result["table"]
    ]
    absent = [f"- Left out, {name}: {reason}." for name, reason in sorted(result.get("absent", {}).items())]
    head = (
        f"{result['documents']:,} documents with {result['true_pairs']:,} pairs at Jaccard {result['threshold']:g} or "
        f"more by the exact answer, {result['planted_pairs']:,} planted between 0.6 and 0.95; {_place(result)}."
    )
    return _page(head, _table(columns, rows), "\n".join(absent), _targets(result))


_NEAR_FIGURES: Final = ("pair_precision", "pair_recall", "copy_precision", "copy_recall")


def scale_tables(result: Result) -> str:
    """The table of `bench.scale`, as Markdown."""
    columns = ("rows", "MB of JSONL", "seconds", "microseconds a row", "peak MiB", "floor seconds", "rounds")
    rows = [
        (
            f"{row['rows']:,}",
            f"{row['bytes'] / 1e6:,.0f}",
            f"{row['seconds']:.1f}",
            f"{row['seconds'] / row['rows'] * 1e6:.1f}",
            f"{row['peak_mib']:,}",
            f"{row['floor_seconds']:.1f}",
            str(row["rounds"]),
        )
        for row in result["table"]
    ]
    return _page(f"All of `thumbline curate`; {_place(result)}.", _table(columns, rows), "", _targets(result))


def reader_tables(result: Result) -> str:
    """The table of `bench.readers`, as Markdown."""
    columns = ("", "records", "MB of JSONL", "floor seconds", "seconds", "MB/s", "of the floor")
    rows = [
        (
            f"`{row['name']}`",
            f"{row['records']:,}",
            f"{row['bytes'] / 1e6:.0f}",
            f"{row['floor_seconds']:.2f}",
            f"{row['seconds']:.2f}",
            f"{row['bytes_per_second'] / 1e6:.0f}",
            f"{row['share_of_floor']:.2f}",
        )
        for row in result["table"]
    ]
    reached = sum(row["is_met"] for row in result["table"])
    head = (
        f"Medians of {result['rounds']} rounds, each in a process of its own that read a small file before the clock "
        f"started; {_place(result)}. Half of the floor's throughput is reached by {reached} of {len(rows)}."
    )
    notes = [
        f"- The floor reads `{row['name']}` with {row['floor_note']}." for row in result["table"] if row["floor_note"]
    ]
    joined = ", ".join(f"`{row['name']}`" for row in result["table"] if row["files"] > 1)
    notes += [f"- Two files that are joined: {joined}."] if joined else []
    absent = [f"- Left out, `{name}`: {reason}." for name, reason in sorted(result.get("absent", {}).items())]
    return _page(head, _table(columns, rows), "\n".join(notes + absent), _targets(result))


def train_tables(result: Result) -> str:
    """The table of `bench.train`, as Markdown."""
    columns = (
        *("", "numbers", "rows", "ours, examples/s", "TRL, examples/s", "times"),
        *("times, processor time", "ours, peak MiB", "TRL, peak MiB", "of TRL"),
    )
    rows = []
    for row in result["table"]:
        if "ours" in row and "trl" in row:
            ours, theirs = row["ours"], row["trl"]
            ratio = ours["examples_per_cpu_second"] / theirs["examples_per_cpu_second"]
            rows.append(
                (
                    *(row["title"], row["dtype"], f"{row['rows']} of `{row['source']}`, {row['batch']} a step"),
                    *(f"{ours['examples_per_second']:.3f}", f"{theirs['examples_per_second']:.3f}"),
                    f"{ours['examples_per_second'] / theirs['examples_per_second']:.2f}",
                    f"{ratio:.2f}",
                    *(f"{ours['peak_mib']:,}", f"{theirs['peak_mib']:,}"),
                    f"{ours['peak_mib'] / theirs['peak_mib']:.2f}",
                )
            )
    places = [_place({**result, **row}) for row in result["table"]]
    head = (
        f"`{result['model']}`, every weight trained; TRL {result['versions'].get('trl', '')} with two rows a micro "
        f"batch and without recomputed activations. Reference pass and steps, without loading; {places[0]}. In float32 "
        "ours takes another library's products on AMD processors with AVX-512 (oneDNN, not MKL), where that alone is a "
        "third less time; on others both sides take the same."
    )
    elsewhere = [
        f"- {row['title']}, {row['dtype']}: measured {place}."
        for row, place in zip(result["table"], places, strict=True)
        if place != places[0]
    ]
    return _page(head, _table(columns, rows), "\n".join(elsewhere), _targets(result))


def train_memory_tables(result: Result) -> str:
    """The table of `bench.train_memory`, as Markdown."""
    columns = (
        *("vocabulary", "completion tokens", "ours, peak MiB", "TRL, peak MiB"),
        *("ours, processor seconds", "TRL, processor seconds"),
    )
    rows = [
        (
            *(f"{row['vocabulary']:,}", f"{row['tokens']:,}"),
            *(f"{row[side]['peak_mib']:,}" if side in row else "–" for side in ("ours", "trl")),
            *(f"{row[side]['cpu_seconds']:.1f}" if side in row else "–" for side in ("ours", "trl")),
        )
        for row in result["table"]
    ]
    widths = result["model"]
    head = (
        f"A Llama of random weights, {widths['num_hidden_layers']} layers of {widths['hidden_size']}, one KTO step on "
        f"two rows in float32; TRL {result['versions'].get('trl', '')} with both in one micro batch; {_place(result)}."
    )
    return _page(head, _table(columns, rows), "", _targets(result))


def trl_losses_tables(result: Result) -> str:
    """The table of `bench.trl_losses`, as Markdown: steps from left to right."""
    columns = ("loss of step", *(str(step) for step in range(1, len(result["ours"]) + 1)))
    rows = [(name, *(f"{loss:.4f}" for loss in result[side])) for name, side in (("ours", "ours"), ("TRL", "trl"))]
    rows.append(("our z0, nats", *(f"{z0:.2f}" for z0 in result["z0"])))
    head = (
        f"A tiny Llama of random weights in float32, {result['batch']} examples a step, beta {result['beta']:g}, "
        f"learning rate {result['learning_rate']:g}; TRL {result['versions'].get('trl', '')}; {_place(result)}."
    )
    return _page(head, _table(columns, rows), "", _targets(result))


def audit_tables(result: Result) -> str:
    """The table of `bench.audit`, as Markdown."""
    columns = ("", "seconds", "times the read", "peak MiB")
    rows = [
        (row["name"], f"{row['seconds']:.1f}", f"{row['times_the_read']:.1f}", f"{row['peak_mib']:,}")
        for row in result["table"]
    ]
    does = "\n".join(f"- {row['name']}: {row['does']}." for row in result["table"])
    head = (
        f"{result['rows']:,} votes, {result['bytes'] / 1e6:,.0f} MB of JSONL, medians of {result['rounds']} rounds; "
        f"{_place(result)}."
    )
    return _page(head, _table(columns, rows), does, _targets(result))


def store_tables(result: Result) -> str:
    """The table of `bench.store`, as Markdown."""
    columns = ("", "seconds", "times the floor", "peak MiB")
    rows = [
        (
            row["name"],
            f"{row['seconds']:.1f}",
            "" if row["times_the_floor"] is None else f"{row['times_the_floor']:.1f}",
            f"{row['peak_mib']:,}",
        )
        for row in result["table"]
    ]
    does = "\n".join(f"- {row['name']}: {row['does']}." for row in result["table"])
    head = (
        f"{result['rows']:,} votes, {result['bytes'] / 1e6:,.0f} MB of JSONL, into a new store; {result['nightly']:,} "
        f"into one of {result['stored']:,}; medians of {result['rounds']} rounds; {_place(result)}."
    )
    return _page(head, _table(columns, rows), does, _targets(result))


def audit_power_tables(result: Result) -> str:
    """The table of `bench.audit_power`, as Markdown."""
    columns = ("planted", "gate", "seen", "95%", "false alarms", "95%")
    rows = [
        (row["fault"], f"`{row['gate']}`", *_rate_cells(row, "hits"), *_rate_cells(row, "alarms"))
        for row in result["table"]
    ]
    does = "\n".join(f"- {row['fault']}: {row['how'][0].lower()}{row['how'][1:]}." for row in result["table"])
    head = f"{result['draws']:,} draws of a table, sound and with each fault, default thresholds; {_place(result)}."
    return _page(head, _table(columns, rows), does, _targets(result))


def _rate_cells(row: Mapping[str, Any], name: str) -> tuple[str, str]:
    return f"{row[f'{name}_share']:.1%}", f"{row[f'{name}_low']:.1%} to {row[f'{name}_high']:.1%}"


PARTS: Final[dict[str, Callable[[Result], str]]] = {
    "curate": curate_tables,
    "near": near_tables,
    "scale": scale_tables,
    "readers": reader_tables,
    "store": store_tables,
    "audit": audit_tables,
    "audit_power": audit_power_tables,
    "train": train_tables,
    "train_memory": train_memory_tables,
    "trl_losses": trl_losses_tables,
    "study": study_tables,
}
"""The parts in the order in which they are shown, each with what makes its tables."""

_SUMMARIES: Final[dict[str, Callable[[Mapping[str, Result]], str]]] = {
    "headlines": headlines,
    "study_claims": lambda results: study_claims(results["study"]) if "study" in results else "",
}
"""What the README has of the results, by its mark."""


def fill_in(text: str, results: Mapping[str, Result]) -> str:
    """`text` with the tables of `results` between their marks; parts without a result stay as they are.

    The mark `headlines` gets the few figures of all results, see `bench.headlines`; `study_claims` what the study says
    of the paper's claims.
    """

    def _block(match: re.Match[str]) -> str:
        part = match["part"]
        if part in _SUMMARIES:
            tables = _SUMMARIES[part](results)
        elif part in results:
            tables = PARTS[part](results[part])
        else:
            tables = ""
        if not tables:
            return match[0]
        return f"<!-- bench: {part} -->\n{tables}\n<!-- bench: end -->"

    return _BLOCK.sub(_block, text)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines).replace("|  |", "| |").replace("| --- ", "|---")


def _targets(result: Result) -> str:
    return "\n".join(
        f"- {'Reached' if target['is_met'] else 'NOT reached'}: {target['claim']} (measured: {target['value']:g})."
        for target in result.get("targets", ())
    )


def _place(result: Result) -> str:
    day = f"{result['date']}, " if "date" in result else ""
    return f"{day}{result['machine']}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _page(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables of all results that are there, or put them into README and docs."""
    parser = argparse.ArgumentParser(prog="python -m bench.tables", description="tables from bench/results")
    parser.add_argument("--write", action="store_true", help="put them into README.md and docs/benchmarks.md")
    options = parser.parse_args(arguments)
    paths = {part: results_folder() / f"{part}.json" for part in PARTS}
    results = {part: json.loads(path.read_text("utf-8")) for part, path in paths.items() if path.is_file()}
    if options.write:
        for page in PAGES:
            page.write_text(fill_in(page.read_text("utf-8"), results), "utf-8")
    else:
        print("\n\n".join(f"## {part}\n\n{PARTS[part](results[part])}" for part in results))


if __name__ == "__main__":
    main()
