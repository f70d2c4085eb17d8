"""A log as what text deduplicators read: one text a line, in two files for two workers. `texts.py LOG FOLDER`."""

import json
import sys
from pathlib import Path

log, folder = sys.argv[1:]
with (
    Path(log).open(encoding="utf-8") as lines,
    Path(folder, "0.jsonl").open("w", encoding="utf-8") as even,
    Path(folder, "1.jsonl").open("w", encoding="utf-8") as odd,
):
    for number, line in enumerate(lines):
        row = json.loads(line)
        text = json.dumps({"id": row["id"], "text": row["prompt"] + " " + row["completion"]}, ensure_ascii=False)
        (odd if number % 2 else even).write(text + "\n")
