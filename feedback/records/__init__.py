"""Raw files as records: found, decompressed, split and parsed as they stream, whatever their shape; bad ones named.

`sources` is the way in, formats and ingest see only its `RawRecord`s; `row_files` is the way out, for `transcode`.
"""

__all__: list[str] = []
