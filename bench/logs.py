"""Seeded feedback logs of any size, with the faults of real ones, for measurements.

    python -m bench.logs PATH --rows N

One line is one thumb in the format `thumbs`. Answers have 40 to 220 words, so 300,000 lines are about 340 MB. The same
traits, rows and seed give the same bytes (of one numpy version). Memory does not grow with the rows: repetitions are
drawn from a pool of earlier answers, of which a random one makes place for each new one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from bench.words import Vocabulary, accented_words, chinese_words, latin_words

__all__ = ["LogTraits", "main", "write_log"]

_WORDS: Final = 20_000
_BLOCK: Final = 4096  # lines drawn at a time
_POOL: Final = 20_000  # answers that may be repeated
_START: Final = np.datetime64("2026-01-05T08:00:00")
_MODELS: Final = ("atlas-1", "atlas-1", "atlas-2", "atlas-2", "atlas-2", "birch-mini", "cedar-2.1", "cedar-2.1")
_LATIN_FORMS: Final = ("{}",) * 50 + ("{},",) * 5 + ("{}.",) * 3 + ("!{}",) * 3 + (r"\"{}\"", r"{}.\n\n", r"{}:\n- ")
_EMOJI_FORMS: Final = ("{}",) * 27 + ("{} 🙂", "{}, 👍🏽", r"{} \ud83d\ude80", "{}. 🎉", "{}…")
_CHINESE_FORMS: Final = ("{}",) * 13 + ("{}，", "{}，", "{}。")
_EDITS_PER_WORD: Final = 0.025  # an edit costs 3 of n - 2 shingles: (n - 2 - 3k) / (n - 2 + 3k) stays above 0.85


@dataclass(frozen=True)
class LogTraits:
    """What a log is like; every share in [0, 1].

    Args:
        up_share: thumbs-up among first votes.
        exact_share: lines that vote on an earlier answer again, word for word.
        near_share: lines with an earlier answer of which a few words changed: Jaccard of word 3-shingles about 0.85 up.
        prompt_share: lines with an earlier prompt and a new answer.
        contradiction_share: of the exact and near repetitions, those with the other label; half of them by the same
            rater, who changed their mind.
        raters: different raters, without the heavy one and the brigade.
        heavy_share: lines by one heavy rater.
        brigade_raters: raters who all vote one model down on one day; 0 makes no brigade.
        brigade_share: lines by the brigade, if there is one.
        foreign_share: lines that are not ASCII: Chinese, emoji (raw and as JSON escapes) and accents, a third each.
        fault_share: lines whose label nobody can read.
        weeks: the time that the log spans.
    """

    up_share: float = 0.85
    exact_share: float = 0.10
    near_share: float = 0.08
    prompt_share: float = 0.05
    contradiction_share: float = 0.08
    raters: int = 4000
    heavy_share: float = 0.01
    brigade_raters: int = 0
    brigade_share: float = 0.02
    foreign_share: float = 0.03
    fault_share: float = 0.0005
    weeks: float = 8.0


@dataclass
class _Answer:
    """What was said, and how the first rater took it."""

    prompt: str
    tokens: list[str]
    joiner: str
    is_up: bool
    rater: str
    model: str


def write_log(path: Path, *, rows: int, traits: LogTraits | None = None, seed: int = 0) -> None:
    """Write a log of `rows` lines to `path`.

    Args:
        path: file to write, JSONL.
        rows: lines in all.
        traits: what the log is like; None takes the default traits.
        seed: of the random source.
    """
    log = _Log(traits or LogTraits(), rows, seed)
    with path.open("w", encoding="utf-8", buffering=1 << 22) as stream:
        for start in range(0, rows, _BLOCK):
            stream.writelines(log.lines(start, min(_BLOCK, rows - start)))


class _Log:
    """The state of a log that is being written: the random source, the vocabularies, the pool."""

    def __init__(self, traits: LogTraits, rows: int, seed: int) -> None:
        self.traits = traits
        self.source = np.random.Generator(np.random.PCG64(seed))
        words = latin_words(self.source, _WORDS)
        vocabularies = (
            Vocabulary(words, _LATIN_FORMS),
            Vocabulary(chinese_words(self.source, _WORDS // 2), _CHINESE_FORMS, joiner=""),
            Vocabulary(words, _EMOJI_FORMS),
            Vocabulary(accented_words(words), _LATIN_FORMS),
        )
        self.voices = [(one.tokens(), one.drawer(), one.joiner) for one in vocabularies]
        self.seconds_per_row = traits.weeks * 7 * 86400 / max(rows, 1)
        self.pool: list[_Answer] = []

    def lines(self, start: int, count: int) -> Iterator[str]:
        """Lines `start` to `start + count`."""
        traits, source = self.traits, self.source
        kinds = self._kinds(count)
        texts = self._texts(count)
        times = self._times(start, count)
        raters = self._raters(count)
        models = [_MODELS[place] for place in source.integers(0, len(_MODELS), count).tolist()]
        is_up = (source.random(count) < traits.up_share).tolist()
        turns = source.random((count, 4)).tolist()
        is_fault = (source.random(count) < traits.fault_share).tolist()
        has_brigade = traits.brigade_raters > 0
        for place in range(count):
            turn = turns[place]
            new = _Answer(*texts[place], is_up[place], raters[place], models[place])
            answer = self._answer(kinds[place], new, turn)
            time = times[place]
            if has_brigade and turn[3] < traits.brigade_share:
                answer.is_up, answer.model, time = False, _MODELS[0], self._brigade_time(turn[2])
                answer.rater = f"brigade-{int(turn[1] * traits.brigade_raters):04d}"
            label = "meh" if is_fault[place] else "up" if answer.is_up else "down"
            yield (
                f'{{"id": "t-{start + place:08d}", "time": "{time}Z", "user": "{answer.rater}", '
                f'"model": "{answer.model}", "prompt": "{answer.prompt}", '
                f'"completion": "{_text(answer.tokens, answer.joiner)}", "label": "{label}"}}\n'
            )

    def _kinds(self, count: int) -> list[int]:
        """Of each line: 0 exact repetition, 1 near repetition, 2 an earlier prompt, 3 new."""
        traits = self.traits
        ends = np.cumsum([traits.exact_share, traits.near_share, traits.prompt_share])
        kinds: list[int] = np.searchsorted(ends, self.source.random(count), side="right").tolist()
        return kinds

    def _texts(self, count: int) -> list[tuple[str, list[str], str]]:
        """Prompt, tokens of the answer and joiner of as many new lines as may be needed."""
        source = self.source
        prompts = source.integers(5, 61, count)
        lengths = prompts + source.integers(40, 221, count)
        foreign = source.random(count) < self.traits.foreign_share
        voices = np.where(foreign, source.integers(1, len(self.voices), count), 0)
        texts: list[tuple[str, list[str], str]] = [("", [], "")] * count
        for number, (tokens, drawer, joiner) in enumerate(self.voices):
            places = np.flatnonzero(voices == number)
            ends = np.cumsum(lengths[places])
            words = tokens[drawer.draw(source, int(ends[-1]) if len(ends) else 0)].tolist()
            starts = (ends - lengths[places]).tolist()
            cuts = zip(places.tolist(), starts, prompts[places].tolist(), ends.tolist(), strict=True)
            for place, start, prompt, end in cuts:
                texts[place] = (_text(words[start : start + prompt], joiner), words[start + prompt : end], joiner)
        return texts

    def _times(self, start: int, count: int) -> list[str]:
        """Rising times with gaps of random length, to the second."""
        steps = (np.arange(start, start + count) + self.source.random(count)) * self.seconds_per_row
        times: list[str] = np.datetime_as_string(_START + steps.astype("timedelta64[s]")).tolist()
        return times

    def _brigade_time(self, share: float) -> str:
        middle = self.traits.weeks * 7 // 2 * 86400
        return str(_START + np.timedelta64(int(middle + share * 14_400), "s"))

    def _raters(self, count: int) -> list[str]:
        """Raters are unequal: the square of an even draw gives a tenth of them a third of the votes."""
        heavy = self.source.random(count) < self.traits.heavy_share
        numbers = (self.source.random(count) ** 2 * self.traits.raters).astype(np.int64) + 1
        return [f"user-{number:06d}" for number in np.where(heavy, 0, numbers).tolist()]

    def _answer(self, kind: int, new: _Answer, turn: Sequence[float]) -> _Answer:
        """What the line is about: `new`, or what its kind makes of an answer in the pool."""
        pool = self.pool
        if kind == 3 or not pool:
            if len(pool) < _POOL:
                pool.append(new)
            else:
                pool[int(turn[0] * _POOL)] = new
            return _Answer(new.prompt, new.tokens, new.joiner, new.is_up, new.rater, new.model)
        old = pool[int(turn[0] * len(pool))]
        if kind == 2:
            return _Answer(old.prompt, new.tokens, new.joiner, new.is_up, new.rater, new.model)
        tokens = _edited(old.tokens, new.tokens, turn[1]) if kind == 1 else old.tokens
        is_contradiction = turn[2] < self.traits.contradiction_share
        is_change_of_mind = is_contradiction and turn[2] < self.traits.contradiction_share / 2
        return _Answer(
            prompt=old.prompt,
            tokens=tokens,
            joiner=old.joiner,
            is_up=old.is_up != is_contradiction,
            rater=old.rater if is_change_of_mind else new.rater,
            model=old.model,
        )


def _edited(tokens: list[str], others: list[str], share: float) -> list[str]:
    """The tokens with one or a few of them replaced by others, as far apart as `share` says."""
    most = max(1, int(_EDITS_PER_WORD * (len(tokens) - 2)))
    edits = 1 + int(share * most)
    edited = list(tokens)
    for number in range(edits):
        place = int((share + number / edits) % 1.0 * len(tokens))
        edited[place] = next(token for token in others[number:] if token != edited[place])
    return edited


def _text(tokens: list[str], joiner: str) -> str:
    return joiner.join(tokens).replace("\\n ", "\\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a log with the default traits."""
    parser = argparse.ArgumentParser(prog="python -m bench.logs", description="a feedback log, seeded")
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    write_log(options.path, rows=options.rows, seed=options.seed)


if __name__ == "__main__":
    main()
