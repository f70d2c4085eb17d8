"""The champion in a model registry of MLflow, as a mirror: an alias that stands at the version of the champion's run.

The decisions on disk stay what holds; the mirror is made right again by every run that is decided. A rollback sends
nothing: until the next run is decided, the alias stands at the model that was taken back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cli.workflows.retrain.config import NoticesConfig
from schemas.errors import MissingExtraError

__all__ = ["mirror_champion"]

_RUN: Final = "thumbline.run"
_DIGEST: Final = "thumbline.digest"
_RETRIES: Final = "2"


def mirror_champion(config: NoticesConfig, champion: Mapping[str, Any] | None, folder: Path) -> str:
    """Let the alias stand at the champion, whose version is made where it is not there; what became of it.

    Args:
        config: `mlflow`, `mlflow_model` and `mlflow_alias` of it.
        champion: `run`, `folder` and `digest` of the champion; null where there is none yet.
        folder: the folder of runs, which the champion's is relative to.
    """
    if champion is None:
        return "nothing to mirror: there is no champion yet"
    # Nobody asked for its usage statistics, and a registry that does not answer is not waited for long.
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, round(config.webhook_timeout_s))),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": _RETRIES,
    }.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        return f"not mirrored: {MissingExtraError('mlflow', 'mlflow')}"
    try:
        version = _point(MlflowClient(config.mlflow, config.mlflow), config, champion, folder)
    except MlflowException as error:
        return f"not mirrored: {type(error).__name__} {error.error_code}"  # its text may hold the address
    except (OSError, ValueError, ImportError) as error:
        return f"not mirrored: {type(error).__name__}"
    return f"sent: version {version} of {config.mlflow_model} is {config.mlflow_alias}"


def _point(client: Any, config: NoticesConfig, champion: Mapping[str, Any], folder: Path) -> str:
    name, run = config.mlflow_model, str(champion["run"])
    if not client.search_registered_models(f"name='{name}'"):
        client.create_registered_model(name)
    known = client.search_model_versions(f"name='{name}' and tags.`{_RUN}`='{run}'")
    made = next((one for one in known if one.tags.get(_DIGEST) == champion["digest"]), None)
    if made is None:
        place = (folder / champion["folder"]).resolve().as_uri()
        made = client.create_model_version(name, place, tags={_RUN: run, _DIGEST: champion["digest"]})
    client.set_registered_model_alias(name, config.mlflow_alias, made.version)
    return str(made.version)
