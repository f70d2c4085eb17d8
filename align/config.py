"""Settings of a training run: what is trained, on which tokens, with which numbers, and what is left behind.

Each key can be set in a TOML file or with `--set key=value`. Keys under `batch.tokens_per_micro_batch`,
`gradient_checkpointing`, `device`, `evaluation`, `checkpoint` and `trackers` change speed, memory or reports but not
the model beyond float rounding, so a run may be resumed with other values of them; all others must stay the same.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from schemas.errors import ConfigError
from schemas.settings import settings, settings_to_dict

__all__ = [
    "AdapterConfig",
    "BatchConfig",
    "CheckpointConfig",
    "EvaluationConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "TokenConfig",
    "TrainConfig",
    "WeightRule",
    "identity_of",
]

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]

_EXECUTION_KEYS: Final = ("gradient_checkpointing", "device", "evaluation", "checkpoint", "trackers")


@settings
class ObjectiveConfig:
    """The loss.

    A setting that the objective does not have must keep its default.

    Args:
        name: objective, a key of `align.objectives.OBJECTIVES`.
        beta: kto, dpo, cdpo, rlhf: pull towards the reference, > 0; larger stays closer. 0.1 is the paper's
            (arXiv:2402.01306).
        desirable_weight: kto: lambda_D, > 0, multiplies the loss of desirable rows.
        undesirable_weight: kto: lambda_U, > 0, multiplies the loss of undesirable rows.
        z0_scope: kto: rows that one KL estimate is taken over: `step` (all rows of the optimizer step, all ranks),
            `micro` (each micro batch, averaged over ranks, as other libraries do) or `none` (z0 = 0, no KL pass).
        ratio_low: kto: lower end of the wanted range of lambda_D n_D / (lambda_U n_U); outside, the run card warns.
        ratio_high: kto: upper end of that range; 4/3 is the paper's.
        value: kto: the value function, `logistic` (the paper's), `concave`, `risk_neutral` or `kahneman_tversky`; see
            `align.objectives.values`.
        value_exponent: kto with `kahneman_tversky`: its exponent, in (0, 1]; 0.88 is Tversky and Kahneman's.
        loss_aversion: kto with `kahneman_tversky`: how much more losses count than gains, > 0; 2.25 is theirs.
        reference: kto: `model` (the model that training begins with) or `uniform` (all outputs alike: no reference
            model is needed, and z0 is not clamped).
        label_noise: cdpo: share of pairs whose order is taken to be wrong, in [0, 0.5).
        odds_weight: orpo: weight of the odds ratio, at least 0; 0.1 is what the study of KTO uses.
        margin: slic: nats by which the chosen answer should be more probable, at least 0.
        sft_weight: slic: weight of the chosen answer's likelihood, at least 0.
        clip: offline_ppo: how far the ratio to the reference moves before its gradient is cut, > 0.
        value_weight: offline_ppo: weight of the value head's error, at least 0; 0.01 is what the study of KTO uses.
        kl_weight: offline_ppo: weight of the drift from the reference, at least 0; 0.1 is what the study uses.
        reward_model: rlhf: what judges the answers: a run of `reward_model`, or a model with a scalar head, by name or
            path; required.
        answers_per_prompt: rlhf: answers that are sampled to each prompt, at least 2.
        max_answer_tokens: rlhf: longest sampled answer, in tokens.
    """

    name: str = "kto"
    beta: Positive = 0.1
    desirable_weight: Positive = 1.0
    undesirable_weight: Positive = 1.0
    z0_scope: Literal["step", "micro", "none"] = "step"
    ratio_low: Positive = 1.0
    ratio_high: Positive = 4 / 3
    value: Literal["logistic", "concave", "risk_neutral", "kahneman_tversky"] = "logistic"
    value_exponent: Annotated[float, Field(gt=0, le=1)] = 0.88
    loss_aversion: Positive = 2.25
    reference: Literal["model", "uniform"] = "model"
    label_noise: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    odds_weight: NotNegative = 0.1
    margin: NotNegative = 1.0
    sft_weight: NotNegative = 0.1
    clip: Positive = 0.5
    value_weight: NotNegative = 0.01
    kl_weight: NotNegative = 0.1
    reward_model: str = ""
    answers_per_prompt: Annotated[int, Field(ge=2)] = 4
    max_answer_tokens: Count = 128

    def __post_init__(self) -> None:
        """Refuse a range that is upside down."""
        if self.ratio_low > self.ratio_high:
            raise ConfigError(
                "ratio_low is greater than ratio_high",
                where="objective.ratio_low",
                received=(self.ratio_low, self.ratio_high),
                expected="ratio_low <= ratio_high",
            )


@settings
class TokenConfig:
    """Length limits, in tokens.

    Args:
        max_prompt_tokens: longest prompt, template included; longer ones lose their oldest turns after the system turn.
        max_completion_tokens: longest completion, with the token that ends the turn.
        long_completions: `drop` leaves rows with a longer completion out and counts them, `truncate` cuts it; a cut
            completion gets no end of turn.
    """

    max_prompt_tokens: Count = 1024
    max_completion_tokens: Count = 1024
    long_completions: Literal["drop", "truncate"] = "drop"


@settings
class BatchConfig:
    """Rows of a step and of a forward pass.

    Args:
        batch_size: examples of one optimizer step, over all micro batches and ranks; at least 2 where they need
            mismatched partners (kto but for `z0_scope` `none`), else at least 1.
        tokens_per_micro_batch: tokens, padding included, of one forward and backward pass on one device. Changes speed
            and memory only; a single longer row is still legal, and passes without a gradient have four times as many.
            0 takes 512 on a CPU (1024 in bfloat16) and 8192 on a GPU, or fewer where a short probe finds that memory is
            not free for them.
        answers_together: whether a liked and a disliked answer to one prompt, as labelled rows, are learned from in one
            step, which computes their prompt once. Without, a step holds more different prompts.
    """

    batch_size: Count = 32
    tokens_per_micro_batch: CountOrNone = 0
    answers_together: bool = True


@settings
class OptimizerConfig:
    """AdamW, its schedule and its clipping.

    Args:
        learning_rate: peak rate, > 0. 5e-6 suits full fine-tuning of large models; small ones and adapters want
            10-50 times that.
        schedule: course after the warm-up: `cosine` or `linear` down to 0, or `constant`.
        warmup_fraction: share of all steps in which the rate rises linearly, in [0, 1].
        weight_decay: decoupled decay of matrices; norms and biases have none.
        beta1: decay of the mean of gradients, in [0, 1).
        beta2: decay of the mean of squared gradients, in [0, 1).
        epsilon: added to the denominator, > 0.
        moments: `float32`, or `int8`: both running means in blocks of 8 bits, with a quarter of the memory (extra
            `bitsandbytes`); weights and gradients stay in float32, weights of fewer than 4096 numbers have moments in
            float32.
        max_grad_norm: gradients are scaled down to this global L2 norm; 0 is off.
    """

    learning_rate: Positive = 5e-6
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_fraction: Fraction = 0.1
    weight_decay: NotNegative = 0.0
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    epsilon: Positive = 1e-8
    moments: Literal["float32", "int8"] = "float32"
    max_grad_norm: NotNegative = 1.0


@settings
class AdapterConfig:
    """Low-rank adapters (LoRA, extra `peft`) instead of full fine-tuning.

    Args:
        enabled: whether adapters are trained and all else is frozen.
        rank: width of the adapters.
        alpha: the adapters' output is scaled by alpha / rank.
        target_modules: names of the layers that get one; `all-linear` is every linear layer but the head.
        merge: whether the run also leaves `merged/`, the base model with the adapters added to its weights.
    """

    enabled: bool = False
    rank: Count = 16
    alpha: Positive = 32.0
    target_modules: str | tuple[str, ...] = "all-linear"
    merge: bool = False


@settings
class EvaluationConfig:
    """When rewards on the held-out split are measured.

    Args:
        at_start: measure before the first step.
        every_steps: measure after each so many steps; 0 is never between start and end.
        max_rows: at most so many rows of the split, chosen by a hash of their ids; 0 is all.
    """

    at_start: bool = True
    every_steps: CountOrNone = 0
    max_rows: CountOrNone = 0


@settings
class CheckpointConfig:
    """When a run saves what it needs to go on.

    Args:
        every_steps: save after each so many steps; 0 is only when the run is interrupted.
        keep: how many of the newest are kept.
    """

    every_steps: CountOrNone = 50
    keep: Count = 2


@settings
class WeightRule:
    """Whose rows weigh how much; see `align.data.weights`.

    Args:
        column: a column of the dataset, such as a segment, a rater or `source`.
        value: the rows that have this value there, compared as text.
        label: rows of which label: `both`, `desirable` or `undesirable`; of pairs `both`.
        weight: multiplies the loss of these rows, at least 0.
    """

    column: str
    value: str
    label: Literal["both", "desirable", "undesirable"] = "both"
    weight: NotNegative


@settings
class TrainConfig:
    """Everything a run needs besides its dataset, its model and its folder.

    Args:
        objective: the loss.
        tokens: length limits.
        batch: rows of a step and of a forward pass.
        optimizer: AdamW, its schedule and its clipping.
        adapter: LoRA instead of full fine-tuning.
        weights: rules that multiply the weights of rows, by segment, rater or another column, and by label.
        evaluation: when rewards on the held-out split are measured.
        checkpoint: when the run saves what it needs to go on.
        epochs: passes over the training split.
        max_steps: stop after so many optimizer steps; 0 is all steps of all epochs.
        seed: of the batch plan and the adapters' initial weights.
        dtype: `float32`, or `bfloat16`: matrix products in bfloat16 (autocast) with weights, optimizer and sums in
            float32.
        device: `auto` takes a GPU where there is one.
        gradient_checkpointing: recompute activations in the backward pass: less memory, about a third more time; true,
            false, or `auto`: where a short probe finds that the longest example would not fit without.
        skip_bad_steps: leave out the update of a step whose loss or gradient is NaN, infinite or 0, and count it,
            instead of ending the run.
        trackers: where each line of the metrics also goes: any of `wandb`, `mlflow` and `trackio` (extra `trackers`).
    """

    objective: ObjectiveConfig = ObjectiveConfig()
    tokens: TokenConfig = TokenConfig()
    batch: BatchConfig = BatchConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    adapter: AdapterConfig = AdapterConfig()
    weights: tuple[WeightRule, ...] = ()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    epochs: Count = 1
    max_steps: CountOrNone = 0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gradient_checkpointing: bool | Literal["auto"] = "auto"
    skip_bad_steps: bool = False
    trackers: tuple[Literal["wandb", "mlflow", "trackio"], ...] = ()


def identity_of(config: TrainConfig) -> dict[str, Any]:
    """The keys of `config` that decide what is learned; those that only change how it is executed are left out."""
    values: dict[str, Any] = settings_to_dict(config)
    for key in _EXECUTION_KEYS:
        del values[key]
    if config.objective.z0_scope != "micro":  # there, each micro batch has a z0 of its own
        del values["batch"]["tokens_per_micro_batch"]
    del values["adapter"]["merge"]
    return values
