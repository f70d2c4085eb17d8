"""Thresholds of the audit: one settings class, the table `[audit]` of a config file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from feedback.config import PHONE_REGIONS
from schemas.errors import ConfigError
from schemas.manifest import Ratio
from schemas.settings import load_settings, settings

__all__ = ["AuditConfig", "AuditSettings", "settled"]

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


@settings
class AuditConfig:
    """What the audit compares the data with.

    Args:
        low: least R that is in range. The paper's is 1.
        high: largest R that is in range. The paper's is 4/3.
        desirable_weight: lambda_D of the training, greater than 0; it multiplies the rows' own weights.
        undesirable_weight: lambda_U of the training, greater than 0; likewise.
        max_contradictions: largest share of answers that may carry both labels, in [0, 1].
        max_near_contradictions: largest share of answers that may be up in one text and down in nearly the same, in
            [0, 1].
        max_top_rater: largest share of judgements that one rater may have given, in [0, 1].
        min_rater_votes: votes that a rater has given before their share of up is compared with the others', at least 1.
        extreme_rater_fdr: false discovery rate at which a rater is called extreme, in [0, 1].
        length_low: least AUC of the label given the answer's length that is in order, in [0, 1].
        length_high: largest such AUC, in [0, 1].
        max_cycles: largest share of prompts with three compared answers whose preferences may run in a circle, in
            [0, 1].
        max_position_bias: largest distance from 1/2 of the share of pairs that the answer shown first may win, in
            [0, 0.5].
        max_flips: largest share of answers shown in both orders whose winner may change with the order, in [0, 1].
        max_pair_noise: largest share of answers judged twice that may be preferred both ways where DPO is advised, in
            [0, 1].
        good_score: score from which an answer is good by itself, in the source's own points; null takes the median.
        max_model_confound: largest share of the label's uncertainty that the model's name may tell, in [0, 1].
        max_shortcut_auc: largest AUC with which metadata alone may predict the label, in [0.5, 1].
        max_psi: largest population stability index (PSI) of a week, or against another input, at least 0. Credit
            scoring calls 0.2 a shift.
        compare_fdr: false discovery rate at which a difference from another input is called more than chance, in
            [0, 1].
        previous_model: name of the model that was trained on this feedback before, whose share of the answers is
            measured; null measures none.
        max_rejected: largest share of raw records that may be in quarantine, in [0, 1].
        max_empty: largest share of answers that may hold nothing but white space and invisible signs, in [0, 1].
        max_truncated: largest share of answers that may be cut off, in [0, 1].
        max_error_texts: largest share of answers that may be the message of a broken service, in [0, 1].
        max_role_order: largest share of rows that may have turns in an order that chat templates refuse, in [0, 1].
        max_special_tokens: largest share of rows that may hold control tokens of a chat template as text, in [0, 1].
        max_naive_times: largest share of rows that may have a time without a zone, in [0, 1].
        max_missing_times: largest share of rows that may have no time where others have one, in [0, 1].
        max_personal_data: largest share of rows that may hold personal data in their texts, in [0, 1].
        max_refused_consent: largest share of rows that may come from users who refused consent, in [0, 1].
        phone_regions: ISO 3166 codes of the regions whose telephone numbers are looked for also without their
            country's code.
        style_margin: how far from 0 the log-odds of up given a mark of style may surely be, at least 0.
        style_rows: most rows that the regression on style takes, at least 1; a hash decides which.
        min_rows: a rate over fewer cases than this is shown but warns of nothing, at least 1.
        examples: contradicted answers, and as many near-duplicates, that the page shows, in [0, 20]; 0 leaves all text
            of users out.
        redact_examples: replace personal data in them by marks such as [EMAIL].
        max_slices: values of one column that a table shows, largest first, at least 1; the others are one line.

    Source: Ethayarajh et al. 2024, arXiv:2402.01306 (the range of R); the other thresholds are this project's choice.
    """

    low: Positive = 1.0
    high: Positive = 4 / 3
    desirable_weight: Positive = 1.0
    undesirable_weight: Positive = 1.0
    max_contradictions: Share = 0.05
    max_near_contradictions: Share = 0.02
    max_top_rater: Share = 0.10
    min_rater_votes: Annotated[int, Field(ge=1)] = 5
    extreme_rater_fdr: Share = 0.01
    length_low: Share = 0.4
    length_high: Share = 0.6
    max_cycles: Share = 0.1
    max_position_bias: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    max_flips: Share = 0.25
    max_pair_noise: Share = 0.1
    good_score: float | None = None
    max_model_confound: Share = 0.05
    max_shortcut_auc: Annotated[float, Field(ge=0.5, le=1)] = 0.65
    max_psi: Annotated[float, Field(ge=0)] = 0.2
    compare_fdr: Share = 0.01
    previous_model: str | None = None
    max_rejected: Share = 0.2
    max_empty: Share = 0.0
    max_truncated: Share = 0.01
    max_error_texts: Share = 0.0
    max_role_order: Share = 0.0
    max_special_tokens: Share = 0.0
    max_naive_times: Share = 0.05
    max_missing_times: Share = 0.5
    max_personal_data: Share = 0.001
    max_refused_consent: Share = 0.0
    phone_regions: tuple[str, ...] = PHONE_REGIONS
    style_margin: Annotated[float, Field(ge=0)] = 0.5
    style_rows: Annotated[int, Field(ge=1)] = 50_000
    min_rows: Annotated[int, Field(ge=1)] = 20
    examples: Annotated[int, Field(ge=0, le=20)] = 3
    redact_examples: bool = True
    max_slices: Annotated[int, Field(ge=1)] = 12

    def __post_init__(self) -> None:
        """Refuse a range that is upside down."""
        for low, high in (("low", "high"), ("length_low", "length_high")):
            if getattr(self, low) > getattr(self, high):
                raise ConfigError(
                    f"{low} is greater than {high}",
                    where="config table [audit]",
                    received=(getattr(self, low), getattr(self, high)),
                    expected=f"{low} <= {high}",
                )


AuditSettings = AuditConfig | Mapping[str, Any] | None
"""All thresholds, or some of them by name, or none: what is not named is the input's own, and then the default."""


def settled(given: AuditSettings, ratio: Ratio | None = None) -> AuditConfig:
    """All thresholds of an audit.

    Args:
        given: what was asked for; an `AuditConfig` is taken as it is.
        ratio: the ratio of a curated dataset, which is judged by the range that it was made for; null for raw files.

    Raises:
        UnknownChoiceError: a threshold that there is not.
        ConfigError: a value out of its range, or a range that is upside down.
    """
    if isinstance(given, AuditConfig):
        return given
    own = {} if ratio is None else {"low": ratio.low, "high": ratio.high}
    return load_settings(AuditConfig, {**own, **(given or {})}, where="settings of the audit (--set)")
