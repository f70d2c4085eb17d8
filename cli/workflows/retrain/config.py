"""Settings of `thumbline retrain`: where things lie, what stops a run, and the settings of every part of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from align.champion.config import ContestConfig
from align.config import TrainConfig
from align.objectives import OBJECTIVES, Objective, find_objective
from feedback.audit.config import AuditConfig
from feedback.config import (
    CapsConfig,
    ConflictConfig,
    ConvertConfig,
    CurateConfig,
    DedupConfig,
    EngineConfig,
    ExportConfig,
    PairsConfig,
    RebalanceConfig,
    SourceConfig,
    SplitConfig,
)
from schemas.errors import ConfigError, UnknownChoiceError
from schemas.settings import apply_overrides, load_settings, read_toml, settings, settings_to_dict

__all__ = [
    "CurationConfig",
    "GatesConfig",
    "MixConfig",
    "NoticesConfig",
    "RetrainConfig",
    "curate_config",
    "identity_of_retrain",
    "load_retrain_config",
]

Share = Annotated[float, Field(ge=0, le=1)]
_PLAIN_NAME: Final = r"^[A-Za-z0-9._-]{1,200}$"


@settings
class CurationConfig:
    """Curation of the whole history, as in a config of `thumbline curate`, without sources: the store is the source.

    Args:
        seed: decides which rows are held out or left out and in what order the rest is written; 0 or more.
        convert: settings of the stage `convert`, and so on for each stage.
        engine: where the stages run.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    convert: ConvertConfig = ConvertConfig()
    dedup: DedupConfig = DedupConfig()
    conflicts: ConflictConfig = ConflictConfig()
    caps: CapsConfig = CapsConfig()
    split: SplitConfig = SplitConfig()
    pairs: PairsConfig = PairsConfig()
    rebalance: RebalanceConfig = RebalanceConfig()
    export: ExportConfig = ExportConfig()
    engine: EngineConfig = EngineConfig()


@settings
class GatesConfig:
    """What stops a run before anything is trained.

    Gates of the audit that fail always do.

    Args:
        min_new: new events and pairs below which there is nothing to do yet, at least 1; where the objective trains on
            pairs of answers, new pairs of the curated dataset too.
        min_first: the same for the first run, which freezes the evaluation set of all later ones, at least 1.
        stop_at: names of gates of the audit whose warning stops a run too, see docs/audit.md: accounts that vote as
            nobody else does, unless others are named.
        max_share_up_change: how far the share of up of the new feedback may surely lie from that of the older one, in
            [0, 1]; 1 allows anything.
        max_rejected_share: largest share of new records that may be in quarantine, in [0, 1]; a new version of a
            product's export that nobody reads yet is found by this.
    """

    min_new: Annotated[int, Field(ge=1)] = 1
    min_first: Annotated[int, Field(ge=1)] = 200
    stop_at: tuple[str, ...] = ("extreme_raters",)
    max_share_up_change: Share = 0.2
    max_rejected_share: Share = 0.2


@settings
class MixConfig:
    """How much of the older feedback is trained on again, so that the model does not forget.

    Args:
        older_share: share of the rows or pairs trained on that are older than the champion, in [0, 1]; 1 takes the
            whole history. Null is 0.5 where training goes on from the champion, and 1 where it begins from the base
            model.
    """

    older_share: Share | None = None


@settings
class NoticesConfig:
    """Who is told of every run.

    Args:
        webhook: URL that the run's outcome is sent to, as JSON by POST; null sends none. Tokens in it are shown
            nowhere.
        webhook_timeout_s: seconds to wait for an answer, greater than 0.
        prometheus: file of metrics for the textfile collector of Prometheus, whose name ends in `.prom`; in a config
            file relative to that file. Null writes none.
        mlflow: URI of an MLflow model registry in which the champion is mirrored; null has none. Passwords in it are
            shown nowhere.
        mlflow_model: name of the model there, of letters, digits, `-`, `_` and `.`.
        mlflow_alias: alias that stands at the champion's version, likewise.
    """

    webhook: str | None = None
    webhook_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    prometheus: str | None = None
    mlflow: str | None = None
    mlflow_model: Annotated[str, Field(pattern=_PLAIN_NAME)] = "thumbline"
    mlflow_alias: Annotated[str, Field(pattern=_PLAIN_NAME)] = "champion"

    def __post_init__(self) -> None:
        """Refuse what could never be sent or read."""
        if self.webhook is not None and not self.webhook.startswith(("http://", "https://")):
            raise ConfigError(
                "the webhook is not a web address", where="config table [notices]", expected="http:// or https://"
            )
        if self.prometheus is not None and not self.prometheus.endswith(".prom"):
            raise ConfigError(
                "Prometheus reads no file of this name",
                where="config table [notices]",
                received=self.prometheus,
                expected="a name that ends in .prom",
            )


@settings
class RetrainConfig:
    """Everything that `thumbline retrain` needs.

    Args:
        store: folder of the feedback store, in a config file relative to that file; or `s3://BUCKET/PREFIX`.
        folder: folder of runs, decisions and the frozen evaluation set, likewise.
        model: the base model: a local folder, a builtin name, or `owner/name` on the hub. A local folder is relative to
            the config file where it begins with a dot.
        start: what training begins from: the `champion`, where there is one, or the `base` model each time. Where
            somebody is forgotten whom the champion was trained on, it begins from the base model once.
        exclude_versions: versions of the store; what first came in with them is left out for good, of a week that a
            gate stopped for example. Votes taken back in them stay taken back.
        curate: curation of the whole history.
        train: training.
        audit: thresholds of the audit.
        gates: what stops a run.
        mix: how much older feedback is trained on again.
        contest: when the challenger wins.
        notices: who is told.
        keep_runs: how many of the newest runs keep their dataset and model, at least 1; null keeps all. Those of the
            champion, of the one before it, of runs whose folder holds a file `pinned`, and what adapters of all these
            lie on stay in any case.
    """

    store: str
    folder: str
    model: str
    start: Literal["champion", "base"] = "champion"
    exclude_versions: tuple[Annotated[int, Field(ge=1)], ...] = ()
    curate: CurationConfig = CurationConfig()
    train: TrainConfig = TrainConfig()
    audit: AuditConfig = AuditConfig()
    gates: GatesConfig = GatesConfig()
    mix: MixConfig = MixConfig()
    contest: ContestConfig = ContestConfig()
    notices: NoticesConfig = NoticesConfig()
    keep_runs: Annotated[int, Field(ge=1)] | None = None

    def __post_init__(self) -> None:
        """Refuse what the run itself decides, and objectives that make no champion."""
        if self.curate.split.held_out is not None:
            raise ConfigError(
                "the frozen evaluation set is made and named by the run itself",
                where="config key 'curate.split.held_out'",
                received=self.curate.split.held_out,
            )
        if not self.curate.split.test_fraction:
            raise ConfigError(
                "nothing would be held out to compare models on",
                where="config key 'curate.split.test_fraction'",
                received=0,
                expected="more than 0: the first run freezes this share",
            )
        if "://" in self.folder:
            raise ConfigError(
                "the folder of runs and decisions lies on this machine",
                where="config key 'folder'",
                received=self.folder,
                expected="a path",
                todo="Only the store may be in a bucket",
            )
        self._check_objective()

    def _check_objective(self) -> None:
        from align.objectives.losses import check_objective

        objective = find_objective(self.train.objective.name)
        if not _makes_champion(objective):
            reason = (
                "It learns from a reward model's judgement of its own answers, not from what came in"
                if objective.is_online
                else "It makes a model that scores answers and gives none"
            )
            raise UnknownChoiceError(
                "objective of a champion",
                objective.name,
                [name for name, one in OBJECTIVES.items() if _makes_champion(one)],
                where="config key 'train.objective.name'",
                todo=f"{reason}: use `thumbline train` for it",
            )
        check_objective(self.train.objective)
        if objective.data == "preference" and self.curate.pairs.mode == "off":
            raise ConfigError(
                f"the objective {objective.name!r} trains on pairs, and none would be made",
                where="config key 'curate.pairs.mode'",
                received="off",
                expected="all or compared",
            )


def _makes_champion(objective: Objective) -> bool:
    """Whether an objective makes a language model, of feedback: not one that scores, nor of a reward model's word."""
    return objective.head == "logps" and not objective.is_online


def load_retrain_config(path: Path, overrides: Iterable[str] = ()) -> RetrainConfig:
    """The config in a TOML file; paths in it are relative to the file.

    Args:
        path: the file.
        overrides: `dotted.key=value` texts that win over the file.

    Raises:
        InputNotFoundError: there is no such file.
        ConfigError: it is not TOML, or a key or value is not right.
        UnknownChoiceError: a key does not exist.
    """
    config = load_settings(RetrainConfig, apply_overrides(read_toml(path), overrides), where=path)
    beside = path.resolve().parent
    safety, metrics = config.contest.probes.safety, config.notices.prometheus
    probes = replace(config.contest.probes, safety=None if safety is None else str(beside / safety))
    return replace(
        config,
        store=config.store if "://" in config.store else str(beside / config.store),
        folder=str(beside / config.folder),
        model=str(beside / config.model) if config.model.startswith(".") else config.model,
        contest=replace(config.contest, probes=probes),
        notices=replace(config.notices, prometheus=None if metrics is None else str(beside / metrics)),
    )


def curate_config(config: RetrainConfig, *, frozen: Path | None) -> CurateConfig:
    """How the history is curated.

    Args:
        config: the run's config.
        frozen: folder of the frozen evaluation set; null where this run makes it.
    """
    stages = {field.name: getattr(config.curate, field.name) for field in fields(CurationConfig)}
    if find_objective(config.train.objective.name).data == "preference":
        # Nobody trains on the labels, so their ratio must neither leave rows out nor stop a night.
        stages["rebalance"] = RebalanceConfig(mode="off")
    if frozen is not None:
        stages["split"] = SplitConfig(test_fraction=0.0, held_out=str(frozen))
    return CurateConfig(sources=(SourceConfig(path="store", format="store"),), **stages)


def identity_of_retrain(config: RetrainConfig) -> dict[str, Any]:
    """The keys of the config that decide what a run does; places, engine and notices are left out."""
    values: dict[str, Any] = settings_to_dict(config)
    for key in ("store", "folder", "model", "notices", "keep_runs"):
        del values[key]
    del values["curate"]["engine"]
    return values
