"""Near-duplicates against the exact answer: what is found, what is missed, what is made up.

    python -m bench.near [--documents N] [--threshold T]

All get the same words: three in a row are a shingle, and documents are near-duplicates from the threshold on. Pairs are
compared where a contestant names pairs. Removed documents are compared for all: of each exact cluster (documents joined
by exact pairs) all but one should go; removing more, or any that is in no cluster, is wrong. rensa's quickest way flags
all members of clusters and is scored by that. Our own run is timed after a first call on 50 documents, which loads
compiled kernels; programs are timed with their start. Written to `bench/results/near.json`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.near_truth import Corpus, ExactPairs, exact_pairs, planted_corpus, shingles
from bench.runner import describe_machine, measure_process, write_result
from bench.tables import near_tables

__all__ = ["Found", "main", "score"]

_SHINGLE_WORDS: Final = 3
_PERMUTATIONS: Final = 128
_LEAST_PRECISION: Final = 0.98
_LEAST_RECALL: Final = 0.95
_OURS: Final = "thumbline"
_SCRIPTS: Final = Path(__file__).parent / "scripts"


@dataclass(frozen=True)
class Found:
    """What a contestant found.

    Args:
        removed: documents that it would remove.
        pairs: pairs (first < second) that it names; None where it names none.
        is_all: `removed` holds all members of clusters, not all but one: it says who has a copy, not who is one.
        seconds: how long it took; None takes the time of the call.
    """

    removed: set[int]
    pairs: set[tuple[int, int]] | None = None
    is_all: bool = False
    seconds: float | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write the result."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.near", description="near-duplicates against the exact answer"
    )
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--threshold", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    corpus = planted_corpus(options.documents, shingle_words=_SHINGLE_WORDS, seed=options.seed)
    truth = exact_pairs(corpus.words, least=options.threshold, shingle_words=_SHINGLE_WORDS)
    result: dict[str, Any] = {
        "documents": options.documents,
        "threshold": options.threshold,
        "seed": options.seed,
        "shingle_words": _SHINGLE_WORDS,
        "planted_pairs": len(corpus.planted),
        "true_pairs": len(truth.first),
        "table": [],
        "absent": {},
        "targets": [],
        **describe_machine(),
    }
    for name, find in _CONTESTANTS.items():
        print(f"{name} ...", file=sys.stderr)
        try:
            start = time.perf_counter()
            found = find(corpus, options.threshold)
            seconds = time.perf_counter() - start if found.seconds is None else found.seconds
        except (ImportError, subprocess.CalledProcessError) as error:
            if name == _OURS:
                raise
            result["absent"][name] = str(getattr(error, "output", None) or error).strip().splitlines()[-1][:200]
            continue
        result["table"].append({"name": name, "seconds": round(seconds, 3), **score(found, truth, options.documents)})
        result["targets"] = _targets(result["table"][0])
        write_result("near", result, is_whole=False)
    write_result("near", result)
    print(near_tables(result))


def score(found: Found, truth: ExactPairs, documents: int) -> dict[str, float | None]:
    """Precision and recall of the pairs, where there are any, and of the removed documents; each in [0, 1].

    Args:
        found: what a contestant found.
        truth: the exact pairs at its threshold.
        documents: N.
    """
    exact = set(zip(truth.first.tolist(), truth.second.tolist(), strict=True))
    cluster = _clusters(exact, documents)
    sizes, removed = np.bincount(cluster, minlength=documents), np.zeros(documents, dtype=np.int64)
    np.add.at(removed, cluster[sorted(found.removed)], 1)
    wanted = np.where(sizes > 1, sizes - (0 if found.is_all else 1), 0)
    right = int(np.minimum(removed, wanted).sum())
    figures: dict[str, float | None] = {
        "pair_precision": None,
        "pair_recall": None,
        "copy_precision": _share(right, len(found.removed)),
        "copy_recall": _share(right, int(wanted.sum())),
    }
    if found.pairs is not None:
        shared = len(exact & found.pairs)
        figures |= {"pair_precision": _share(shared, len(found.pairs)), "pair_recall": _share(shared, len(exact))}
    return figures


def _share(part: int, whole: int) -> float:
    return round(part / whole, 5) if whole else 1.0


def _clusters(pairs: Iterable[tuple[int, int]], documents: int) -> np.ndarray:
    """The smallest member of each document's cluster, by union of the pairs."""
    parent = list(range(documents))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for first, second in sorted(pairs):
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return np.array([root(one) for one in range(documents)], dtype=np.int64)


def _targets(ours: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "claim": f"{kind} of near-duplicate pairs is at least {least:g}",
            "value": ours[f"pair_{kind}"],
            "is_met": ours[f"pair_{kind}"] >= least,
        }
        for kind, least in (("precision", _LEAST_PRECISION), ("recall", _LEAST_RECALL))
    ]


def _ours(corpus: Corpus, threshold: float) -> Found:
    from feedback import near

    near.near_pairs(corpus.texts[:50], threshold=threshold, shingle_words=_SHINGLE_WORDS)
    start = time.perf_counter()
    pairs = near.near_pairs(corpus.texts, threshold=threshold, shingle_words=_SHINGLE_WORDS)
    seconds = time.perf_counter() - start
    named = set(zip(pairs["first"].to_list(), pairs["second"].to_list(), strict=True))
    clusters = _clusters(named, len(corpus.texts))
    return Found({one for one, smallest in enumerate(clusters.tolist()) if one != smallest}, named, seconds=seconds)


def _rensa_fast(corpus: Corpus, threshold: float) -> Found:
    """Rensa's quickest way: sampled positions ("rho"), flags from one pass."""
    from rensa import RMinHash, RMinHashLSH

    sets = [shingles(words, _SHINGLE_WORDS) for words in corpus.words]
    start = time.perf_counter()
    matrix = RMinHash.digest_matrix_from_token_sets_rho(sets, num_perm=_PERMUTATIONS, seed=42)
    index = RMinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS, num_bands=8)
    flags = index.query_duplicate_flags_matrix_one_shot(matrix)
    seconds = time.perf_counter() - start
    return Found({one for one, is_copy in enumerate(flags) if is_copy}, is_all=True, seconds=seconds)


def _rensa_deduplicator(corpus: Corpus, threshold: float) -> Found:
    from rensa import RMinHashDeduplicator

    sets = [shingles(words, _SHINGLE_WORDS) for words in corpus.words]
    start = time.perf_counter()
    deduplicator = RMinHashDeduplicator(threshold=threshold, num_perm=_PERMUTATIONS, use_lsh=True)
    keep = deduplicator.add_pairs((str(one), tokens) for one, tokens in enumerate(sets))
    seconds = time.perf_counter() - start
    return Found({one for one, is_kept in enumerate(keep) if not is_kept}, seconds=seconds)


def _datasketch(corpus: Corpus, threshold: float) -> Found:
    """Candidates of its LSH, not verified, as most programs that use it take them."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS)
    pairs: set[tuple[int, int]] = set()
    for one, words in enumerate(corpus.words):
        sketch = MinHash(num_perm=_PERMUTATIONS)
        sketch.update_batch([shingle.encode("utf-8") for shingle in shingles(words, _SHINGLE_WORDS)])
        pairs |= {(other, one) for other in index.query(sketch)}
        index.insert(one, sketch)
    return Found({second for _, second in pairs}, pairs)


def _convmerge(corpus: Corpus, threshold: float) -> Found:
    program = (
        "import sys; from convmerge.normalize.near_dedup import deduplicate_near_jsonl as go; "
        "go(sys.argv[1] + '/0.jsonl', sys.argv[2] + '/kept.jsonl', threshold=float(sys.argv[3]), "
        f"shingle={_SHINGLE_WORDS}, keys=['text'], workers=2)"
    )
    return _by_process(corpus, (sys.executable, "-c", program, "TEXTS", "OUT", str(threshold)), "kept.jsonl")


def _text_dedup(corpus: Corpus, threshold: float) -> Found:
    options = ("--ngram", str(_SHINGLE_WORDS), "--threshold", str(threshold), "--num_perm", str(_PERMUTATIONS))
    read = ("--path", "json", "--data_files", "TEXTS/0.jsonl", "--split", "train", "--cache_dir", "OUT/cache")
    rest = ("--column", "text", "--hash_func", "xxh3", "--num_proc", "2", "--output", "OUT/kept")
    return _by_process(corpus, (sys.executable, "-m", "text_dedup.minhash", *read, *options, *rest), "kept/*.arrow")


def _datatrove(corpus: Corpus, threshold: float) -> Found:
    """Its default of 14 bands of 8 hashes, which has no threshold: half of all pairs are met at about 0.72."""
    del threshold
    command = (sys.executable, str(_SCRIPTS / "trove.py"), "TEXTS", "OUT", str(_SHINGLE_WORDS))
    return _by_process(corpus, command, "kept/*.jsonl")


def _by_process(corpus: Corpus, command: Sequence[str], kept: str) -> Found:
    """Run a program on the spaced texts in TEXTS; what is missing in its output in OUT was removed."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        texts, out = folder / "texts", folder / "out"
        texts.mkdir()
        out.mkdir()
        with (texts / "0.jsonl").open("w", encoding="utf-8") as stream:
            for one, text in enumerate(corpus.spaced()):
                stream.write(json.dumps({"id": str(one), "text": text}, ensure_ascii=False) + "\n")
        run = [part.replace("TEXTS", str(texts)).replace("OUT", str(out)) for part in command]
        seconds = measure_process(run, cwd=out).seconds
        left = {int(name) for path in out.glob(kept) for name in _ids(path)}
        return Found(set(range(len(corpus.texts))) - left, seconds=seconds)
    finally:
        shutil.rmtree(folder)


def _ids(path: Path) -> list[str]:
    if path.suffix == ".arrow":
        import pyarrow as pa

        with pa.memory_map(str(path)) as source:
            names: list[str] = pa.ipc.open_stream(source).read_all()["id"].to_pylist()
            return names
    return [json.loads(line)["id"] for line in path.read_text("utf-8").splitlines()]


_CONTESTANTS: Final[dict[str, Callable[[Corpus, float], Found]]] = {
    _OURS: _ours,
    "rensa rho, 8 bands": _rensa_fast,
    "rensa RMinHashDeduplicator": _rensa_deduplicator,
    "datasketch MinHashLSH": _datasketch,
    "convmerge near": _convmerge,
    "text-dedup minhash": _text_dedup,
    "datatrove minhash": _datatrove,
}


if __name__ == "__main__":
    main()
