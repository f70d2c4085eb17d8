"""File to file: feedback of any format in another one, and what was lost on the way (`thumbline convert`)."""

from feedback.transcode.stage import convert_files

__all__ = ["convert_files"]
