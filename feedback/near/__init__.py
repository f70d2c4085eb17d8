"""Near-duplicates: prompts, and prompts with their completions, that share most of their words in the same order.

    texts ─► sketch_texts ─► write_sketches ─► files of a block ─┐
                                                   ... of others ─┴─► find_clusters ─► prompt_key -> group_id
                                                                                       answer     -> cluster_id

Rows that meet in a band of MinHash values are candidates, their true Jaccard similarity is computed from all their
shingles, and clusters are the connected components of the pairs that reach the threshold. Nobody looks at labels here.
"""

from feedback.near.find import NearClusters, find_clusters
from feedback.near.pairs import near_clusters, near_pairs
from feedback.near.preload import preload
from feedback.near.sketch_files import SketchFile, sketch_files, write_sketches
from feedback.near.sketches import Sketches, band_shape, sketch_texts, text_keys

__all__ = [
    "NearClusters",
    "SketchFile",
    "Sketches",
    "band_shape",
    "find_clusters",
    "near_clusters",
    "near_pairs",
    "preload",
    "sketch_files",
    "sketch_texts",
    "text_keys",
    "write_sketches",
]
