"""An audit of what came into a store since a version, set against all that was there before."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from feedback.audit.compare import Side, compare, side_of
from feedback.audit.config import AuditConfig
from feedback.audit.report import AuditReport
from feedback.audit.subjects import Subject
from feedback.audit.texts import look_at_texts, with_language
from feedback.config import IngestConfig, SourceConfig
from feedback.ingest import ingest_validated
from feedback.pipeline import read_candidates
from feedback.store import Store
from feedback.store.selection import count_since, select_rows
from schemas.progress import Progress, silent

__all__ = ["audit_new_feedback"]

_SOURCE = SourceConfig(path="store", format="store")


def audit_new_feedback(
    store: Store,
    since: int,
    until: int,
    *,
    exclude: Sequence[int] = (),
    config: AuditConfig | None = None,
    progress: Progress = silent,
) -> AuditReport:
    """The audit of the feedback of some versions; where there is older feedback, with what changed against it.

    Args:
        store: the store.
        since: the version up to which feedback was looked at before.
        until: the version up to which it is looked at now.
        exclude: versions that are left out.
        config: the thresholds.
        progress: told about every stage.

    Raises:
        CorruptionError: a file of the store is damaged.
    """
    config = config or AuditConfig()
    subject = _subject(store, (since, until), until, exclude, config, "new feedback", progress)
    report = subject.report()
    if not since or not any(count_since(store, 0, since, exclude, at=until).values()):
        return report
    older = _subject(store, (0, since), until, exclude, config, "older feedback", progress)
    before = older.report()
    return compare(report, _side(subject), before, _side(older), config)


def _subject(
    store: Store,
    versions: tuple[int, int],
    at: int,
    exclude: Sequence[int],
    config: AuditConfig,
    name: str,
    progress: Progress,
) -> Subject:
    """The rows that came after the first of two versions, up to the second, as they are in the version `at`."""
    since, until = versions
    with tempfile.TemporaryDirectory(prefix="thumbline-") as work:
        files = select_rows(store, Path(work), since=since, until=until, exclude=exclude, at=at)
        read = read_candidates(
            [_SOURCE],
            ingest_config=IngestConfig(max_rejected_share=1.0),
            look=partial(look_at_texts, config=config),
            read=partial(ingest_validated, files),
            progress=progress,
        )
    return Subject(
        read.frame,
        read.pairs,
        read.reports,
        read.looked,
        config,
        name=f"{name} (versions {since + 1} to {until})",
        kind="feedback",
        source="RAW --from FORMAT",
        raw="RAW --from FORMAT",
    )


def _side(subject: Subject) -> Side:
    return side_of(with_language(subject.frame, subject.texts), name=subject.name, kind=subject.kind)
