"""The fixed lists of reasons: why a record went to quarantine, and why a row was dropped.

Nothing vanishes. A record that cannot be read or breaks a rule is quarantined under a `RejectReason`; a sound row
that a stage leaves out is dropped under a `DropReason`. Each carries the sentence that docs and reports show.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["DropReason", "RejectReason"]


class _Reason(StrEnum):
    """A string with a sentence of meaning."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> _Reason:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class RejectReason(_Reason):
    """Why a raw record went to quarantine."""

    INVALID_JSON = "invalid_json", "The text is not JSON."
    INVALID_UTF8 = "invalid_utf8", "The bytes are not UTF-8."
    NOT_AN_OBJECT = "not_an_object", "The record is JSON but not an object with keys."
    DUPLICATE_KEY = "duplicate_key", "A key occurs twice in one object; readers disagree on which value wins."
    NON_FINITE_NUMBER = "non_finite_number", "A number is NaN, infinite or too large for a float."
    LONE_SURROGATE = "lone_surrogate", "The text holds half of a surrogate pair, which is not a character."
    TOO_DEEP = "too_deep", "The JSON is nested deeper than the reader allows."
    TOO_LARGE = "too_large", "The record is larger than the allowed number of bytes."
    TRUNCATED = "truncated", "The file ends within this record or its compressed stream is cut off."
    MISSING_FIELD = "missing_field", "A required field is absent or null."
    WRONG_TYPE = "wrong_type", "A field has another type than the format says."
    UNKNOWN_LABEL = "unknown_label", "The label's value is not in the format's label map; labels are never guessed."
    BAD_TIME = "bad_time", "A time cannot be read or lies outside 1990 to 2100."
    BROKEN_THREAD = "broken_thread", "The rated message or one of its ancestors is not in the conversation."
    PROMPTS_DIFFER = "prompts_differ", "The two answers of a pair do not belong to the same prompt."
    IDENTICAL_RESPONSES = "identical_responses", "The two answers of a pair are the same text."
    EMPTY_PROMPT = "empty_prompt", "The prompt has no message or only blank ones."
    EMPTY_COMPLETION = "empty_completion", "The completion has no message or ends with a blank one."
    BAD_ROLES = (
        "bad_roles",
        "The prompt does not end with user or tool, the completion not with assistant, or a role is unknown.",
    )
    NO_JUDGEMENT = "no_judgement", "The record is sound, and nothing in it judges an answer."
    RULE_VIOLATION = "rule_violation", "A value breaks another rule of the table it was meant for."


class DropReason(_Reason):
    """Why a stage left out a sound row."""

    QUARANTINED = "quarantined", "ingest: the record went to quarantine under a reason of its own."
    IGNORED = (
        "ignored",
        "ingest: the source's map does not ask for it, or it judges no answer; the report says what.",
    )
    NEUTRAL = "neutral", "convert: the feedback says neither up nor down."
    RETRACTED = "retracted", "convert: the feedback was withdrawn later."
    SUPERSEDED_REVISION = "superseded_revision", "convert: a later revision of the same record exists."
    TIE = "tie", "convert: the pair was judged a tie or the rater abstained."
    BELOW_MARGIN = "below_margin", "convert: the pair's margin is below the wanted one."
    SCORE_THRESHOLD = (
        "score_threshold",
        "convert: a chosen answer scored too low, or a rejected one too high, in absolute terms.",
    )
    PAIR_CAP = "pair_cap", "convert: the prompt already gives as many pairs as allowed."
    DUPLICATE_RECORD = "duplicate_record", "dedup: the same record of the same source came in twice."
    EXACT_DUPLICATE = (
        "exact_duplicate",
        "dedup: prompt, completion and label are those of another row, whose votes now count it.",
    )
    NORMALIZED_DUPLICATE = (
        "normalized_duplicate",
        "dedup: the same but for case, white space or Unicode form; the surviving row's votes now count it.",
    )
    NEAR_DUPLICATE = (
        "near_duplicate",
        "dedup: nearly the same words and the same label as another row, whose votes now count it.",
    )
    SUPERSEDED_VOTE = "superseded_vote", "conflicts: the raters behind this label later gave the other one."
    OUTVOTED = "outvoted", "conflicts: more raters gave the same answer, or a near-duplicate, the other label."
    CONTESTED = "contested", "conflicts: both labels, and the votes do not decide."
    TOO_FEW_RATERS = "too_few_raters", "conflicts: both labels, from fewer raters than a majority needs."
    PREFERENCE_CYCLE = (
        "preference_cycle",
        "conflicts: the row rests on pairs whose preferences contradict the others of their prompt in a circle.",
    )
    UNCONFIRMED = "unconfirmed", "caps: fewer different raters gave the answer this label than wanted."
    RATER_DAY_CAP = "rater_day_cap", "caps: one rater gave more rows on one day than allowed."
    GROUP_CAP = "group_cap", "caps: the cluster of near-duplicate prompts already gives as many rows as allowed."
    DAY_CAP = "day_cap", "caps: the day already gives as many rows as allowed."
    RATER_CAP = (
        "rater_cap",
        "caps, rebalance: one rater would be behind a larger share of the label's rows than allowed.",
    )
    BROKEN_PAIR = "broken_pair", "pairs: an answer of the comparison was left out, or carries the other label by now."
    REPEATED_PAIR = "repeated_pair", "pairs: another comparison is of the same answers, or of near-duplicates."
    OLDER = "older", "mix: an older row beyond the share that is trained on again beside what is new."
    ONE_PER_PROMPT = "one_per_prompt", "rebalance: another row of the train split has the same prompt."
    DESIRABLE_SHARE = "desirable_share", "rebalance: a desirable row beyond the share that is to be kept."
    DOWNSAMPLED = "downsampled", "rebalance: left out to bring the label ratio into its range."
    REDACTED_ALIKE = (
        "redacted_alike",
        "export, transcode: both answers of the pair are the same once personal data is replaced.",
    )
    NO_PARTNER = "no_partner", "transcode: a pair needs an answer with the other label to the same prompt."
    NOT_EXPRESSIBLE = (
        "not_expressible",
        "transcode: the target format cannot hold the row, for example an answer of several turns.",
    )
    UNDESIRABLE = "undesirable", "train: the objective learns from desirable answers only."
    TOO_LONG = "too_long", "tokenize: the completion and the newest turn do not fit into the token limits."
    EMPTY_AFTER_TOKENIZATION = "empty_after_tokenization", "tokenize: no completion token is left."
    TOKENIZED_ALIKE = (
        "tokenized_alike",
        "tokenize: both answers of the pair are the same tokens: cut where they were alike, or alike but for blanks.",
    )
    TEMPLATE_REFUSED = (
        "template_refused",
        "tokenize: the model's chat template refuses the conversation, for example for the order of its roles.",
    )
