"""An Airflow DAG that retrains every night: one task, which is skipped where nothing new came in.

Copy the file to the DAGs folder. Where `thumbline` and its config lie, the environment of the workers says:

    THUMBLINE_BIN      the command; `thumbline` on the PATH unless it is set
    THUMBLINE_CONFIG   the TOML file of `thumbline retrain`

Exit code 75 (nothing new, or another run is at work) skips the task. 2 to 5 fail it, and no retry would change that;
after 1 or 130 (an error around the run, or a stop) it is tried again and goes on where it was.
"""

from __future__ import annotations

import os
import shlex
from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

COMMAND = os.environ.get("THUMBLINE_BIN", "thumbline")
CONFIG = os.environ.get("THUMBLINE_CONFIG", "/var/lib/thumbline/retrain.toml")

with DAG(
    dag_id="thumbline_retrain",
    description="Retrain a model on new feedback, and promote it where it wins",
    schedule="0 2 * * *",
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["thumbline"],
) as dag:
    BashOperator(
        task_id="retrain",
        bash_command=f"{shlex.quote(COMMAND)} retrain {shlex.quote(CONFIG)}",
        skip_on_exit_code=75,
        append_env=True,
        retries=2,
        retry_delay=timedelta(minutes=10),
    )
