"""The floor: read the JSONL, write Parquet, nothing else. `floor.py LOG OUT`."""

import sys

import polars as pl

pl.scan_ndjson(sys.argv[1]).sink_parquet(f"{sys.argv[2]}/floor.parquet")
