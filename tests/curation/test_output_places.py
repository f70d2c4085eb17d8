"""Places of outputs: where links and long names lead, and where nothing can be written."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from feedback.dataset.folders import built_folder, remove_unfinished
from feedback.dataset.outputs import claimed_output
from feedback.pipeline.compared import RedactTask, redacted_keys
from feedback.records.row_files import check_out, open_row_file
from feedback.transcode import convert_files
from schemas.errors import OutputExistsError, UsageError
from schemas.events import FEEDBACK_EVENT
from schemas.lock import locked_output
from schemas.pairs import PREFERENCE_PAIR


def write_lines(path: Path) -> None:
    """A file with one record."""
    with open_row_file(path, check_out(path, can_be_parquet=False), None) as file:
        file.write({"a": 1})


@pytest.mark.parametrize("name", ["loop", "loop/x", "plain/x", "plain/x/y", "n" * 256])
def test_place_where_nothing_can_be_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "plain").touch()
    out = tmp_path / name
    told = rf"{out}: nothing can be written here \(.+\)\. Name another output"
    with pytest.raises(UsageError, match=told), claimed_output(out, lambda known: True):
        pass
    with pytest.raises(UsageError, match=told), locked_output(out):
        pass
    with pytest.raises(UsageError, match="nothing can be written here"):
        write_lines(out.with_name(f"{out.name}.jsonl") if len(name) > 9 else out / "a.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop", "plain"]


@pytest.mark.parametrize("name", ["n" * 241, "n" * 245, "é" * 123, "n" * 255])
def test_output_with_a_long_name_is_made_and_replaced(tmp_path: Path, name: str) -> None:
    """What lies beside it while it is made has a longer name, which file systems do not take."""
    out = tmp_path / name
    for _ in range(2):
        with claimed_output(out, lambda known: False, overwrite=True) as claim:
            with built_folder(claim.place, overwrite=claim.overwrite) as work:
                (work / "manifest.json").write_text("{")
            assert len(list(tmp_path.iterdir())) == 2
        assert remove_unfinished(out) == []
        assert [path.name for path in tmp_path.iterdir()] == [name]
    lines = tmp_path / f"{name[:100]}{'n' * (249 - len(os.fsencode(name[:100])))}.jsonl"
    write_lines(lines)
    assert lines.read_text() == '{"a": 1}\n'


def test_swap_that_fails_tells_its_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "out.partial":
            raise OSError(5, "Input/output error", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match=r"Input/output error: '.*out\.partial'"), built_folder(tmp_path / "out"):
        pass


def test_link_to_a_file_that_is_not_there_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "out.jsonl", tmp_path / "there" / "votes.jsonl"
    link.symlink_to(target)
    write_lines(link)
    assert link.is_symlink()
    assert target.read_text() == '{"a": 1}\n'
    assert [path.name for path in target.parent.iterdir()] == ["votes.jsonl"]
    with pytest.raises(OutputExistsError, match="the output is there already"):
        write_lines(tmp_path / "nosuch" / ".." / "out.jsonl")


@pytest.mark.usefixtures("rater_key")
def test_what_belongs_beside_a_file_comes_to_lie_there(tmp_path: Path) -> None:
    votes = tmp_path / "votes.jsonl"
    votes.write_text('{"prompt": "what?", "completion": "this", "label": "up", "user": "u"}\n')
    convert_files(votes, "thumbs", "axolotl", tmp_path / "nosuch" / ".." / "out.jsonl")
    assert (tmp_path / "out.axolotl.yaml").is_file()


@pytest.mark.parametrize("is_pairs", [False, True])
def test_file_without_rows_has_no_texts_to_redact(tmp_path: Path, is_pairs: bool) -> None:
    schema = PREFERENCE_PAIR if is_pairs else FEEDBACK_EVENT
    with pa.ipc.new_file(tmp_path / "rows.arrow", schema) as file:
        file.write_table(schema.empty_table())
    made = redacted_keys(RedactTask(0, tmp_path / "rows.arrow", is_pairs, (("US",),), None, tmp_path))
    assert pa.ipc.open_file(made.keys).read_all().num_rows == 0
