"""What took personal data out of the texts of a dataset, and that it cannot be taken out of a finished one."""

from __future__ import annotations

from pathlib import Path

from feedback.config import PHONE_REGIONS, ExportConfig
from schemas.errors import UsageError
from schemas.manifest import Manifest

__all__ = ["redactions_of", "refuse_late_redaction"]


def redactions_of(manifest: Manifest) -> tuple[tuple[str, ...], ...]:
    """For each time that personal data was taken out, the regions whose telephone numbers were looked for.

    Args:
        manifest: the manifest of a dataset, of any version.
    """
    # By its history, not by its config, which says what was done last.
    configs = [stage.config for stage in manifest.stages if stage.stage == "export"]
    regions = [tuple(one.get("phone_regions", PHONE_REGIONS)) for one in configs if one.get("redact")]
    return tuple(dict.fromkeys(regions))


def refuse_late_redaction(folder: Path, manifest: Manifest, config: ExportConfig) -> None:
    """Pass if nothing is to be taken out of the texts of a finished dataset that was not taken out when it was made.

    Its splits and labels were decided on its texts as they are. Redaction would make prompts alike on both sides, and
    would not reach the pairs beside them.

    Args:
        folder: the dataset's folder.
        manifest: its manifest.
        config: what is wanted of another dataset that is made of it.

    Raises:
        UsageError: something is.
    """
    if config.redact and config.phone_regions not in redactions_of(manifest):
        raise UsageError(
            "personal data cannot be taken out of a finished dataset: prompts that become alike could stand on both "
            "sides of its split",
            where=folder,
            received="export.redact = true",
            todo="Curate again with --redact, or leave the texts as they are",
        )
