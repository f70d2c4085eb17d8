"""Scheduled retraining: `retrain` takes a config to a decision, once for the same inputs, and goes on after a crash."""

from cli.workflows.retrain.config import RetrainConfig, load_retrain_config
from cli.workflows.retrain.run import RetrainResult, retrain

__all__ = ["RetrainConfig", "RetrainResult", "load_retrain_config", "retrain"]
