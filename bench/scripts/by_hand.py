"""What people write by hand: exact duplicates, the majority's label, 4:3 by chance. `by_hand.py LOG OUT`."""

import collections
import random
import sys

import datasets

datasets.disable_progress_bars()
log, out = sys.argv[1:]
rows = datasets.load_dataset("json", data_files=log, split="train", cache_dir=f"{out}/cache")
votes: dict[tuple[str, str], collections.Counter[str]] = collections.defaultdict(collections.Counter)
for prompt, completion, label in zip(rows["prompt"], rows["completion"], rows["label"], strict=True):
    votes[prompt, completion][label] += 1
seen = set()


def is_first_of_majority(row: dict[str, str]) -> bool:
    """True for one row of each answer whose votes decide."""
    key = row["prompt"], row["completion"]
    up, down = votes[key]["up"], votes[key]["down"]
    if key in seen or up == down or (up > down) != (row["label"] == "up"):
        return False
    seen.add(key)
    return True


rows = rows.filter(is_first_of_majority)
up = [place for place, label in enumerate(rows["label"]) if label == "up"]
down = [place for place, label in enumerate(rows["label"]) if label == "down"]
kept = random.Random(0).sample(up, min(len(up), len(down) * 4 // 3)) + down
rows.select(kept).map(lambda row: {"label": row["label"] == "up"}).to_parquet(f"{out}/by_hand.parquet")
