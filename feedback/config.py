"""Settings of every curation stage, and of the whole run.

Each class is one table of a config file: `[dedup]`, `[rebalance]`, ..., and one `[[sources]]` for each source. All are
frozen and checked on creation; unknown keys are errors.
"""

from __future__ import annotations

import os
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from schemas.errors import ConfigError
from schemas.settings import settings

__all__ = [
    "PHONE_REGIONS",
    "CapsConfig",
    "ConflictConfig",
    "ConvertConfig",
    "CurateConfig",
    "DedupConfig",
    "EngineConfig",
    "ExportConfig",
    "IngestConfig",
    "PairsConfig",
    "RebalanceConfig",
    "SourceConfig",
    "SplitConfig",
]

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
PathText = Annotated[str, BeforeValidator(lambda given: os.fspath(given) if isinstance(given, os.PathLike) else given)]
Ranking = Literal["extremes", "neighbours", "off"]
PHONE_REGIONS: Final = ("US", "GB", "DE", "FR", "IN")
"""Regions whose national telephone numbers are looked for unless others are named."""


def _refuse_disorder(table: str, low_key: str, low: float, high_key: str, high: float) -> None:
    if low > high:
        raise ConfigError(
            f"{low_key} is greater than {high_key}",
            where=f"config table [{table}]",
            received=(low, high),
            expected=f"{low_key} <= {high_key}",
        )


@settings
class SourceConfig:
    """Where raw feedback lies and what it looks like.

    Args:
        path: a file, a glob, a folder, or `-` for standard input, in a config file relative to that file; or a URL that
            begins with `s3://`, `hf://datasets/`, `postgresql://`, `sqlite:///` or `duckdb:///`.
        format: name of a known format, see `thumbline formats`.
        name: name of the source in every table; null takes the format's name. Part of every id, so renaming a source
            renames its rows.
        map: path of the TOML map, for formats that need one.
        ranking: which of several ranked answers become pairs, for formats that rank: `extremes` (best against worst),
            `neighbours` (each against the next), which contradicts itself: a middle answer wins and loses, or `off`
            (ranks are not read, but the answers' thumbs).
        join: a file, a glob or a folder with what the records lack, for formats that judge in one file what lies in
            another; in a config file relative to that file.
        sql: query of which every row is a record, where `path` is the URL of a database; null elsewhere.
    """

    path: PathText
    format: str
    name: str | None = None
    map: PathText | None = None
    ranking: Ranking = "extremes"
    join: PathText | None = None
    sql: str | None = None


@settings
class IngestConfig:
    """What is accepted from the sources.

    Args:
        max_rejected_share: largest share of records that may go to quarantine, in [0, 1]; above it nothing is written.
    """

    max_rejected_share: Share = 0.2


@settings
class ConvertConfig:
    """Which events and pairs become labelled rows.

    Args:
        min_margin: pairs with a margin below this are dropped, in the source's units; null takes all. Pairs without a
            margin are never dropped for it.
        min_chosen_score: a preferred answer that scored below this is not called desirable; null takes all.
        max_rejected_score: a rejected answer that scored above this is not called undesirable; null takes all.
        max_pairs_per_prompt: pairs that one prompt may give, at least 1; null takes all. A hash decides which.
    """

    min_margin: float | None = None
    min_chosen_score: float | None = None
    max_rejected_score: float | None = None
    max_pairs_per_prompt: Annotated[int, Field(ge=1)] | None = None


@settings
class DedupConfig:
    """Which rows say the same, and which of them stays.

    Args:
        match: `exact` (same text), `normalized` (same but for case, white space and Unicode form), `near` (nearly the
            same words too) or `off` (only the same record read twice is a duplicate).
        near_threshold: least Jaccard similarity of near-duplicates, in [0.1, 1): shared word shingles over all of them.
        shingle_words: words in a shingle, 1 to 8; a character of a script without spaces counts as a word.
        near_memory_mb: memory for candidate pairs and their shingles, in MiB; where they need more, they are compared
            in several rounds, with the same result.
        keep: which row of a cluster stays: the text with the `most_votes`, the `newest` row or the `longest` one.
    """

    match: Literal["exact", "normalized", "near", "off"] = "near"
    near_threshold: Annotated[float, Field(ge=0.1, lt=1)] = 0.8
    shingle_words: Annotated[int, Field(ge=1, le=8)] = 3
    near_memory_mb: Annotated[int, Field(ge=16)] = 512
    keep: Literal["most_votes", "newest", "longest"] = "most_votes"


@settings
class ConflictConfig:
    """What happens to an answer that carries both labels. Near-duplicate answers count as one answer here.

    The share of up is (prior_up + up) / (prior_up + prior_down + up + down), up and down being raters.

    Args:
        policy: `majority` (the label that more raters gave), `soft` (the same, with a weight that falls with the doubt
            inside the band), `drop` (neither label), `keep_both`, or `off` (nobody looks for contradictions, not even
            for one rater's change of mind).
        min_raters: different raters that a majority needs, at least 1.
        votes_per_rater: votes of one rater for one label of an answer that count, at least 1.
        prior_up: ups that every answer has before anybody votes, 0 or more: the Beta prior of the share of up.
        prior_down: downs that every answer has before anybody votes, 0 or more.
        band_low: an answer whose share of up lies in [band_low, band_high] is contested: left out under `majority`,
            kept with a lower weight under `soft`. Null is 0.5 for `majority` (only a tie) and 0 for `soft` (all).
        band_high: see `band_low`; null is 0.5 for `majority` and 1 for `soft`.
        cycles: what happens to pairs whose preferences run in a circle (a before b, b before c, c before a): `report`
            counts them, `drop` leaves out the pairs that stand against the fewest-reversals order, `off` does not look.
    """

    policy: Literal["majority", "soft", "drop", "keep_both", "off"] = "majority"
    min_raters: Annotated[int, Field(ge=1)] = 2
    votes_per_rater: Annotated[int, Field(ge=1)] = 1
    prior_up: Annotated[float, Field(ge=0)] = 1.0
    prior_down: Annotated[float, Field(ge=0)] = 1.0
    band_low: Share | None = None
    band_high: Share | None = None
    cycles: Literal["report", "drop", "off"] = "report"

    def __post_init__(self) -> None:
        """Refuse a band that is upside down, and a soft band beside the tie, where the doubt is greatest."""
        low, high = self.band
        _refuse_disorder("conflicts", "band_low", low, "band_high", high)
        if self.policy == "soft" and not low < 0.5 < high:
            raise ConfigError(
                "the band of the policy 'soft' does not reach to both sides of 0.5",
                where="config table [conflicts]",
                received=(low, high),
                expected="band_low < 0.5 < band_high",
            )

    @property
    def band(self) -> tuple[float, float]:
        """The shares of up between which an answer is contested, both ends with it."""
        low, high = (0.0, 1.0) if self.policy == "soft" else (0.5, 0.5)
        return low if self.band_low is None else self.band_low, high if self.band_high is None else self.band_high


@settings
class CapsConfig:
    """How much of the dataset may rest on one rater, one cluster of prompts or one day.

    A row rests on a rater when all its votes are that rater's. Rows whose rater is not known are never capped for it.
    Which rows of a cap stay, a hash decides; a higher cap only adds rows.

    Args:
        max_rater_share: largest share of the rows of each label that may rest on one rater, in (0, 1]; null does not
            cap. No rater is held below twice an equal share of a label. 0.1 is where the audit starts to warn.
        share_from_raters: known raters from which on `max_rater_share` holds, at least 1. With fewer, the raters are a
            team and its rows are kept.
        exempt_kinds: kinds of raters that are never capped, any of `end_user`, `annotator`, `llm_judge`, `code` and
            `unknown`. Judges that are machines were chosen by you.
        max_rows_per_rater_day: rows of one day (UTC) that may rest on one rater, at least 1; null does not cap.
        max_rows_per_group: rows that one cluster of near-duplicate prompts may give, at least 1; null does not cap.
        max_rows_per_day: rows that one day (UTC) may give, at least 1; null does not cap.
        min_raters: different raters who gave the row's label, at least 1. Unknown raters count each.
    """

    max_rater_share: Annotated[float, Field(gt=0, le=1)] | None = 0.1
    share_from_raters: Annotated[int, Field(ge=1)] = 50
    exempt_kinds: tuple[Literal["end_user", "annotator", "llm_judge", "code", "unknown"], ...] = ("llm_judge", "code")
    max_rows_per_rater_day: Annotated[int, Field(ge=1)] | None = None
    max_rows_per_group: Annotated[int, Field(ge=1)] | None = None
    max_rows_per_day: Annotated[int, Field(ge=1)] | None = None
    min_raters: Annotated[int, Field(ge=1)] = 1


@settings
class SplitConfig:
    """How much is held out.

    Args:
        test_fraction: share of the rows that goes to the split `test`, in [0, 1); 0 holds out only what `held_out`
            names.
        held_out: folder of a curated dataset, in a config file relative to that file. Every group of prompts with one
            of its prompts goes to the split `test`, whatever `test_fraction` is, so that a frozen evaluation set is
            never trained on, nor, where `dedup.match` is `near`, what is nearly the same, also if its own prompts do
            not come in again. Where its texts are redacted, all texts are compared without personal data. Null names
            none.
    """

    test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    held_out: str | None = None


@settings
class PairsConfig:
    """Which pairs of answers the dataset in the folder `preference` is made of, for objectives that train on pairs.

    They are made of the rows that the stage `split` leaves, so what was merged, outvoted or capped is in no pair.

    Args:
        mode: `all` (answers that were compared side by side, and others to one prompt of which one is up and one is
            down), `compared` (only the former) or `off` (no pairs).
    """

    mode: Literal["all", "compared", "off"] = "all"


@settings
class RebalanceConfig:
    """The wanted ratio R = lambda_D n_D / (lambda_U n_U) of the train split, and how to get there.

    Every row is counted with its weight. What is left out is left out evenly: every stratum loses the same share.

    Args:
        mode: `downsample` leaves out rows of the label that is too many; `reweight` keeps every row and raises the
            weight of the other label; `both` leaves out rows down to `min_keep_share` and does the rest by weight;
            `off` leaves R as it is.
        low: least R. 1 is the paper's; below 1 only with `allow_below_one`.
        high: largest R. 4/3 is the paper's. Equal to `low`, it is a target: R is at least it and less than a row above.
        allow_below_one: whether R may fall below 1, so that avoiding bad answers weighs more than giving good ones;
            wanted against toxic answers, and a mistake almost everywhere else.
        desirable_weight: lambda_D, greater than 0.
        undesirable_weight: lambda_U, greater than 0.
        min_keep_share: least share of a label's rows that the mode `both` keeps, in (0, 1].
        strata: what the rows left out are spread over: any of `source`, `model`, `week` (of the event, from Monday,
            UTC) and `cluster` (of prompts). Rows that agree in all of them are a stratum; nothing is a value too.
        one_per_prompt: whether a prompt gives one row of the train split only; a hash decides which. The cap
            `caps.max_rater_share` holds for the rows that are left, too.
        keep_desirable_share: share of the desirable rows that is kept before R is looked at, in (0, 1]; a larger share
            only adds rows. The paper kept as little as 0.1 and reached the range by weight.

    Source: Ethayarajh et al. 2024, arXiv:2402.01306 (the range [1, 4/3]; one y per x; discarding desirable rows).
    """

    mode: Literal["downsample", "reweight", "both", "off"] = "downsample"
    low: Positive = 1.0
    high: Positive = 4 / 3
    allow_below_one: bool = False
    desirable_weight: Positive = 1.0
    undesirable_weight: Positive = 1.0
    min_keep_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    strata: tuple[Literal["source", "model", "week", "cluster"], ...] = ("source",)
    one_per_prompt: bool = False
    keep_desirable_share: Annotated[float, Field(gt=0, le=1)] = 1.0

    def __post_init__(self) -> None:
        """Refuse a range that is upside down, one below 1 that was not asked for, and a stratum named twice."""
        _refuse_disorder("rebalance", "low", self.low, "high", self.high)
        if self.low < 1 and self.mode != "off" and not self.allow_below_one:
            raise ConfigError(
                "the range lets R fall below 1, so that avoiding bad answers weighs more than giving good ones",
                where="config table [rebalance]",
                received=(self.low, self.high),
                expected="low >= 1",
                todo="Where this is what you want, for example against toxic answers, ask for it with "
                "allow_below_one = true (--allow-below-one)",
            )
        if len(set(self.strata)) < len(self.strata):
            raise ConfigError(
                "a stratum is named twice",
                where="config table [rebalance]",
                received=list(self.strata),
                expected="each of source, model, week and cluster at most once",
            )


@settings
class ExportConfig:
    """The shape of the dataset on disk.

    Args:
        shard_mb: wanted size of a shard in millions of characters of text, greater than 0. Compressed it is smaller.
        memory_mb: text that is held in memory, in millions of characters, at least 0; more goes through files, with the
            same result.
        redact: whether personal data in prompts, completions and tools is replaced by marks such as `[EMAIL]`. Texts
            are compared without it too: what becomes alike is one prompt, or one answer. The stage folder keeps the
            texts as they came.
        phone_regions: ISO 3166 codes of the regions whose telephone numbers are looked for also without their
            country's code; those with it, behind + or 00, are found in any case.
        raters: whether the column `rater_key` says on which rater alone a row rests, as a keyed hash, so that training
            can weigh by rater. It links the rows of one person, so a dataset to give away has better none.
    """

    shard_mb: Positive = 64.0
    memory_mb: Annotated[float, Field(ge=0)] = 256.0
    redact: bool = False
    phone_regions: tuple[str, ...] = PHONE_REGIONS
    raters: bool = False


@settings
class EngineConfig:
    """Where the stages run. The dataset is the same on any engine, so nothing of this is recorded in its manifest.

    Args:
        name: `local` (all cores of this machine) or `ray` (a Ray cluster; extra `ray`).
        ray_address: `HOST:PORT` of a Ray cluster that this machine is a node of; null starts Ray on this machine.
        workers: tasks that run at once on this machine, at least 1; null takes one for each core.
    """

    name: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    workers: Annotated[int, Field(ge=1)] | None = None


@settings
class CurateConfig:
    """A whole curation run, from raw files to a dataset.

    Args:
        sources: the raw files, at least one source.
        seed: decides which rows are held out or left out and in what order the rest is written; 0 or more.
        ingest: settings of the stage `ingest`, and so on for each stage.
        engine: where the stages run.
    """

    sources: Annotated[tuple[SourceConfig, ...], Field(min_length=1)]
    seed: Annotated[int, Field(ge=0)] = 0
    ingest: IngestConfig = IngestConfig()
    convert: ConvertConfig = ConvertConfig()
    dedup: DedupConfig = DedupConfig()
    conflicts: ConflictConfig = ConflictConfig()
    caps: CapsConfig = CapsConfig()
    split: SplitConfig = SplitConfig()
    pairs: PairsConfig = PairsConfig()
    rebalance: RebalanceConfig = RebalanceConfig()
    export: ExportConfig = ExportConfig()
    engine: EngineConfig = EngineConfig()
