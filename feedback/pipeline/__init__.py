"""The only room that knows the order of the stages: from raw files to a dataset, on any engine."""

from feedback.pipeline.from_store import curate_store, store_config
from feedback.pipeline.mixed import mix_dataset, mix_pairs_of_dataset
from feedback.pipeline.run import (
    CurateResult,
    RawCandidates,
    curate,
    default_config,
    load_curate_config,
    read_candidates,
    rebalance_dataset,
)

__all__ = [
    "CurateResult",
    "RawCandidates",
    "curate",
    "curate_store",
    "default_config",
    "load_curate_config",
    "mix_dataset",
    "mix_pairs_of_dataset",
    "read_candidates",
    "rebalance_dataset",
    "store_config",
]
