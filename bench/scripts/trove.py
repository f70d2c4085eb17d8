"""datatrove's MinHash deduplication, its four stages on two workers. `trove.py FOLDER_OF_JSONL OUT [WORD_NGRAM]`.

Its own tokenizers for English need spaCy; words here are what stands between spaces. Hashes are its SHA-1: its other
choice wants an xxhash below the version that this project has.
"""

import sys

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.word_tokenizers import WordTokenizer

WORKERS = 2


class SpaceTokenizer(WordTokenizer):
    """Words are what stands between spaces."""

    def word_tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        """Not used."""
        raise NotImplementedError

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Not used."""
        raise NotImplementedError


def main() -> None:
    """Run the four stages one after the other."""
    source, out = sys.argv[1:3]
    n_grams = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    config = MinhashConfig(n_grams=n_grams, hash_config=HashConfig(hash_fc="sha1"))
    reader = JsonlReader(source, text_key="text", glob_pattern="*.jsonl")
    stages = [
        ([reader, MinhashDedupSignature(f"{out}/signatures", config=config, language=SpaceTokenizer())], WORKERS),
        ([MinhashDedupBuckets(f"{out}/signatures", f"{out}/buckets", config=config)], config.num_buckets),
        ([MinhashDedupCluster(f"{out}/buckets", f"{out}/remove", config=config)], 1),
        ([reader, MinhashDedupFilter(f"{out}/remove"), JsonlWriter(f"{out}/kept", compression=None)], WORKERS),
    ]
    for number, (pipeline, tasks) in enumerate(stages):
        LocalPipelineExecutor(
            pipeline, tasks=tasks, workers=min(tasks, WORKERS), logging_dir=f"{out}/logs/{number}"
        ).run()


if __name__ == "__main__":
    main()
