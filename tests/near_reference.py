"""The specification of words, keys and shingles of `feedback.near`: one code point at a time, in Python integers."""

from __future__ import annotations

import unicodedata

from feedback.near.code_points import BREAK, MARK, SEPARATOR, SINGLE, SPACE, WORD, kind_of

MASK = 2**64 - 1
MIX, STEP, FINISH, PLACE = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93
KEY_START, WORD_START, AFTER_SPACE = 0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0


def mix(value: int, more: int) -> int:
    value = (value ^ more) * MIX & MASK
    return value ^ (value >> 32)


def finish(value: int) -> int:
    value = (value ^ (value >> 30)) * STEP & MASK
    value = (value ^ (value >> 27)) * FINISH & MASK
    return value ^ (value >> 31)


def word_hash(word: str) -> int:
    """Eight bytes of UTF-8 at a time; ASCII with the bit 0x20 set, which makes letters lower case."""
    data = bytes(byte | 0x20 if byte < 0x80 else byte for byte in word.encode())
    value = WORD_START
    for start in range(0, len(data), 8):
        value = mix(value, int.from_bytes(data[start : start + 8], "little"))
    return value


def elements(text: str) -> list[tuple[int, str]]:
    """Words, single tokens, separators, spaces and breaks in order, each with its kind."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    found: list[tuple[int, str]] = []
    in_word = False
    for character in text:
        kind = kind_of(character)
        if kind == WORD or (kind == MARK and in_word):
            if in_word:
                found[-1] = (WORD, found[-1][1] + character)
            else:
                found.append((WORD, character))
            in_word = True
            continue
        in_word = False
        found.append((SEPARATOR if kind == MARK else kind, character))
    return found


def token_hashes(text: str) -> list[int]:
    hashes = []
    for kind, part in elements(text):
        if kind == WORD:
            hashes.append(word_hash(part))
        elif kind == SINGLE:
            hashes.append(mix(WORD_START, int.from_bytes(part.encode(), "little")))
    return hashes


def key(text: str) -> int:
    value, begun, space = KEY_START, False, 0
    for kind, part in elements(text):
        if kind == SPACE:
            space = AFTER_SPACE if begun else 0
            continue
        sign = (ord(part[0]) + 0x100) * PLACE & MASK
        if kind == WORD:
            element = word_hash(part) ^ space
        elif kind == SINGLE:
            element = mix(WORD_START, int.from_bytes(part.encode(), "little")) ^ space
        else:
            element = sign if kind == BREAK else sign ^ space
        value = (value ^ element) * STEP & MASK
        value ^= value >> 29
        begun, space = kind != BREAK, 0
    return finish(value)


def shingles(text: str, words: int) -> list[int]:
    """Hashes of the shingles, 64 bits each."""
    tokens = token_hashes(text)
    if len(tokens) >= words:
        runs = [tokens[start : start + words] for start in range(len(tokens) - words + 1)]
        joined = [run[0] for run in runs]
    else:
        runs, joined = [[0, *tokens]], [len(tokens) if tokens else key(text)]
    for number, run in enumerate(runs):
        for token in run[1:]:
            joined[number] = (joined[number] * PLACE + token) & MASK
    return [finish(value) for value in joined]


def shingle_set(text: str, words: int = 3) -> set[int]:
    """What Jaccard similarity is computed from."""
    return set(shingles(text, words))
