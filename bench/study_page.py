"""The study as Markdown, and what it says in sentences, all of it made from `bench/results/study.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["study_claims", "study_tables", "title"]

Result = Mapping[str, Any]

_VERDICTS: Final = {"agrees": "so here", "disagrees": "NOT so here", "open": "open here"}


def study_tables(result: Result) -> str:
    """The table of `bench.study` with its conditions, choices and findings, as Markdown."""
    greedy = (
        "<details>\n<summary>The same of the most likely answers</summary>\n\n"
        f"Before alignment {_cell(result['base']['greedy'])}.\n\n{_table(result, 'greedy')}\n\n</details>"
    )
    parts = (
        _head(result),
        _table(result, "sampled"),
        _conditions(result),
        _findings(result),
        study_claims(result),
        greedy,
    )
    return "\n\n".join(part for part in parts if part)


def title(objective: str) -> str:
    """The name of an objective with its setting, as Markdown."""
    head, comma, rest = objective.partition(",")
    return f"`{head}`{comma}{rest}"


def _head(result: Result) -> str:
    base = result["base"]
    return (
        f"Answers that are right, of {result['held_out']} held-out questions, when they are sampled; means of "
        f"{len(result['seeds'])} seeds with the half width of their 95% interval, in percent. Before alignment "
        f"{_cell(base['sampled'])}. {result['pairs']} pairs, {2 * result['pairs']} labelled answers; "
        f"{result['date']}, {result['machine']}, {result['minutes']:.0f} minutes in {result['processes']} processes."
    )


def _table(result: Result, answers: str) -> str:
    """A row for each objective and a column for each condition, of `sampled` or of `greedy` answers."""
    found = {(row["objective"], row["condition"]): row for row in result["table"]}
    conditions = [one["name"] for one in result["conditions"]]
    objectives = list(dict.fromkeys(objective for objective, _ in found))
    lines = [
        "| | " + " | ".join(one["title"] for one in result["conditions"]) + " |",
        "|---" * (len(conditions) + 1) + "|",
    ]
    for objective in objectives:
        cells = [_cell(found[objective, name][answers]) if (objective, name) in found else "–" for name in conditions]
        lines.append(f"| {title(objective)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _conditions(result: Result) -> str:
    return "\n".join(f"- {one['title']}: {one['does']}." for one in result["conditions"])


def _findings(result: Result) -> str:
    """What stands out: the best of each condition, what is worse than before, and what the tries chose."""
    chosen = [one for one in result["tries"] if one["is_chosen"]]
    settings = [
        f"{title(one['objective'])} {one['rate']:g}" + (f" and {one['beta']:g}" if one["beta"] is not None else "")
        for one in chosen
    ]
    lines = [
        f"- Best by the mean, {_best(result)}.",
        *_unsure(result),
        *_worse_than_before(result),
        "- Learning rate, and beta where there is one, of the best of six tries on clean feedback of another seed: "
        + "; ".join(settings)
        + "."
        + _at_the_edge(result["tries"]),
    ]
    return "\n".join(lines)


def _best(result: Result) -> str:
    """The objective with the largest mean under each condition, and how often each is that."""
    found, wins = [], Counter[str]()
    for one in result["conditions"]:
        rows = [row for row in result["table"] if row["condition"] == one["name"]]
        best = max(rows, key=lambda row: row["sampled"]["mean"])
        wins[title(best["objective"])] += 1
        found.append(f"{one['title']} {title(best['objective'])} ({_percent(best['sampled']['mean'])})")
    counts = ", ".join(f"{name} {'once' if count == 1 else f'{count} times'}" for name, count in wins.most_common())
    return f"{counts}: " + "; ".join(found)


def _unsure(result: Result) -> list[str]:
    """The objective whose most likely answers are right much more often than its sampled ones, on clean feedback."""
    rows = [row for row in result["table"] if row["condition"] == "clean"]
    if not rows:
        return []
    row = max(rows, key=lambda row: row["greedy"]["mean"] - row["sampled"]["mean"])
    shares = f"{_percent(row['greedy']['mean'])}%, its sampled ones in {_percent(row['sampled']['mean'])}%"
    head = f"- The largest gap on clean feedback: the most likely answers of {title(row['objective'])} are right in"
    return [f"{head} {shares}; it learned what is better without making it as probable."]


def _worse_than_before(result: Result) -> list[str]:
    """The objectives whose mean is below that of the model before alignment, with the conditions."""
    before = result["base"]["sampled"]["mean"]
    titles = {one["name"]: one["title"] for one in result["conditions"]}
    under: dict[str, list[str]] = {}
    for row in result["table"]:
        conditions = under.setdefault(row["objective"], [])
        if row["sampled"]["mean"] < before:
            conditions.append(titles[row["condition"]])
    tried = Counter(row["objective"] for row in result["table"])
    found = [
        f"{title(objective)} ({'all' if len(conditions) == tried[objective] > 1 else ', '.join(conditions)})"
        for objective, conditions in under.items()
        if conditions
    ]
    return [f"- Worse than before alignment: {'; '.join(found)}."] if found else []


def _at_the_edge(tries: Sequence[Mapping[str, Any]]) -> str:
    """The objectives whose choice is the smallest or largest rate tried, so that a better one may lie beyond."""
    edge = []
    for one in tries:
        rates = [other["rate"] for other in tries if other["objective"] == one["objective"]]
        if one["is_chosen"] and one["rate"] in (min(rates), max(rates)):
            edge.append(title(one["objective"]))
    return f" At the end of what was tried: {', '.join(edge)}." if edge else ""


def study_claims(result: Result) -> str:
    """What is so here of what the paper says, with numbers, as Markdown; nothing where too little was run."""
    claims = result["claims"]
    if not claims:
        return ""
    counts = Counter(claim["verdict"] for claim in claims)
    head = (
        f"Of {len(claims)} claims of the paper (arXiv:2402.01306, models of 1 to 30 billion weights that write prose) "
        f"{counts['agrees']} are so here, {counts['disagrees']} are not, and {counts['open']} are open. "
        "Differences in points, with their 95% intervals over seeds:"
    )
    lines = [head, ""]
    for claim in claims:
        difference = claim["difference"]
        numbers = f"{_points(difference['mean'])} [{_points(difference['low'])}, {_points(difference['high'])}]"
        lines.append(f"- {claim['says'][0].upper()}{claim['says'][1:]}: {_VERDICTS[claim['verdict']]}, {numbers}.")
    return "\n".join(lines)


def _cell(share: Mapping[str, float]) -> str:
    return f"{100 * share['mean']:.1f} ± {100 * (share['high'] - share['mean']):.1f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")
