"""Training: curated shards in, an aligned model with a run card out.

A user needs `config.TrainConfig`, `trainer.train` and `evaluate.evaluate`. The rooms in the order in which they stand
on each other: none imports one that is named after it.

    config        settings of a run
    objectives    the losses, pure functions of tensors, and their registry
    data          datasets on disk as rows
    tokens        rows as token ids
    batches       which rows make which step, and their tensors
    models        models and tokenizers, loaded
    distributed   sums over processes, weights shared out over them
    scoring       log-probabilities and rewards of token sequences
    reference     the frozen reference's numbers
    artifacts     run card, metrics, checkpoints
    evaluate      how good a model is
    step          one optimizer step
    resources     what a run takes of a machine
    trainer       the loop
    champion      which of two models wins
"""

__all__: list[str] = []
