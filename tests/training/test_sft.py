"""SFT beside TRL: the loss of a step and its gradient on the tensors that TRL's trainer makes."""

from __future__ import annotations

import copy
from pathlib import Path

import datasets
import pytest
import torch

from align.objectives.sft import sft_loss
from align.scoring.logps import CompletionLogps
from tests.trl_step import tiny_model


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_loss_and_gradient_of_a_step_equal_trl(micro_batches: int, tmp_path: Path) -> None:
    """Over answers of 2 to 21 tokens, also accumulated: the sum over tokens divided by those of the whole step."""
    from trl import SFTConfig, SFTTrainer

    answers = ["y", "a bit", "rather longer, it is", "no", "well", "it depends on that"]
    rows = [{"prompt": "ask " * (1 + place % 3), "completion": answer} for place, answer in enumerate(answers)]
    arguments = SFTConfig(
        output_dir=str(tmp_path / "run"),
        per_device_train_batch_size=len(rows) // micro_batches,
        max_length=128,
        completion_only_loss=True,
        report_to="none",
        use_cpu=True,
        activation_checkpointing=False,
    )
    model = str(tiny_model(tmp_path / "model"))
    trainer = SFTTrainer(model=model, args=arguments, train_dataset=datasets.Dataset.from_list(rows))
    ours = copy.deepcopy(trainer.model)
    batches = list(trainer.get_train_dataloader())
    tokens = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
    assert len(batches) == micro_batches
    assert tokens == sum(len(answer) + 1 for answer in answers)  # with the token that ends each
    for batch in batches:
        masks = batch["attention_mask"], batch["labels"] != -100
        theirs = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=tokens)
        loss = sft_loss(CompletionLogps(ours)(batch["input_ids"], *masks)).sum() / tokens
        torch.testing.assert_close(loss, theirs, rtol=1e-5, atol=1e-6)
        theirs.backward()
        loss.backward()
    for (name, mine), their in zip(ours.named_parameters(), trainer.model.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, their.grad, rtol=1e-4, atol=1e-6, msg=name)
