"""The bare read: all columns of the JSONL, nothing else. `read.py LOG`."""

import sys

import polars as pl

print(pl.scan_ndjson(sys.argv[1]).collect(engine="streaming").height)
