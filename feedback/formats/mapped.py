"""Format `mapped`: any JSONL, CSV or Parquet, by a TOML map that says where each field lies and what each label means.

    [fields]                                   # a path for each field: a.b, a[0], a[-1], a["key.with.dots"]
    prompt = "request.messages"                # text, or messages
    completion = "response.choices[0].message.content"
    label = "feedback.value"
    user = "user_id"
    time = "feedback.at"

    [labels]                                   # every value that the label may have; others go to quarantine
    thumbsUp = "up"
    thumbsDown = "down"
    null = "none"                              # absent or null

    [constants]                                # a field that is the same for all records
    model = "assistant-2"

    [roles]                                    # further names of roles
    human = "user"

Where the answer is the last message of a conversation, name `conversation_messages` instead of prompt and completion.
A path that goes on behind text reads the text as JSON. A label is compared as it stands in JSON: the key "1" is both
the number 1, also as 1.0, and the text "1". Instead of `[labels]`, `[thresholds]` may give `up_from = 4` and
`down_to = 2` for numbers; what lies between gives no label. Pairs need `kind = "pairs"` and the fields prompt, chosen
and rejected, or prompt, response_a, response_b and outcome with `[outcomes]`, which maps each value to a, b, tie,
both_bad or abstain.
`[join]` reaches into another file, `[each]` into the items of a list, `[tree]` up a tree of messages. `docs/mapped.md`
has an example of each; all keys are listed in `feedback.formats.mapping.map_config`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from feedback.formats.drafts import Draft, EventDraft, Format, Join, PairDraft
from feedback.formats.mapping.map_columns import plain_shapes
from feedback.formats.mapping.map_config import MapConfig, named_paths, read_map
from feedback.formats.mapping.map_labels import first_shown, label_of, outcome_of
from feedback.formats.mapping.map_scope import Scope, Scopes
from feedback.formats.mapping.map_turns import MapTurns
from feedback.formats.mapping.mapped_values import read_scaled_time
from feedback.formats.mapping.paths import Steps, find_value, parse_path
from feedback.formats.parts.cells import bool_cell, number_cell
from feedback.formats.parts.fields import (
    need,
    optional_id,
    optional_rater,
    optional_text,
    optional_tools,
    optional_words,
    reject,
)
from feedback.formats.parts.turns import split_last, without_prompt
from schemas.errors import ConfigError
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["MAPPED", "mapped_format"]

_TEXTS: Final = frozenset(
    {"prompt", "completion", "conversation_messages", "chosen", "rejected", "response_a", "response_b"}
)


def mapped_format(map_path: Path) -> Format:
    """The format that the TOML file `map_path` describes.

    Args:
        map_path: the map, see the module.

    Raises:
        InputNotFoundError: there is no such file.
        UnknownChoiceError: a key that no map has; the known ones are listed.
        ConfigError: a wrong value, a path that cannot be read, or a field that is needed and not mapped.
    """
    config = read_map(map_path)
    mapping = _Mapping(config, map_path)
    listed = ", ".join(f"{name} at {path}" for name, path in named_paths(config))
    return Format(
        name="mapped",
        kind=config.kind,
        summary=MAPPED.summary,
        label_rule=MAPPED.label_rule,
        fields=f"what the map {map_path.name} says: {listed}",
        keys=None,
        parse=mapping.pairs if config.kind == "pairs" else mapping.events,
        plain=plain_shapes(config, map_path),
        join=_join_of(config, map_path),
        user_keys=mapping.user_keys,
    )


class _Mapping:
    """A map, ready to read records."""

    def __init__(self, config: MapConfig, where: Path) -> None:
        self._config = config
        self._paths = [(name, parse_path(path, where)) for name, path in named_paths(config)]
        self._scopes = Scopes(config, where)
        self._turns = MapTurns(config, where)
        self._join = _join_of(config, where)
        self._has_own_id = _is_of_item(dict(self._paths).get("id"), self._scopes.item)

    @property
    def user_keys(self) -> frozenset[str]:
        """The key that holds who judged, if the map names one."""
        steps = next((steps for name, steps in self._paths if name == "user"), ())
        return frozenset([step for step in steps if isinstance(step, str)][-1:])

    def events(self, record: dict[str, Any]) -> Iterator[Draft]:
        """The events of one record: one, or one for each item of its list."""
        self._refuse_unjoined(record)
        for scope in self._scopes.of(record):
            yield self._event(scope)

    def pairs(self, record: dict[str, Any]) -> Iterator[Draft]:
        """The pairs of one record: one, or one for each item of its list."""
        self._refuse_unjoined(record)
        for scope in self._scopes.of(record):
            yield self._pair(scope)

    def _event(self, scope: Scope) -> EventDraft:
        found = self._find(scope)
        prompt, completion = self._prompt_and_completion(found)
        raw_value = found.get("label")
        options = self._config.options
        return EventDraft(
            prompt=prompt,
            completion=completion,
            signal=options.signal,
            raw_value=raw_value,
            label=label_of(self._config, raw_value),
            record_id=self._id(found, scope),
            rater=optional_rater(found, "user"),
            rater_kind=options.rater_kind,
            event_time=read_scaled_time(found, "time", options.time_unit),
            updated_time=read_scaled_time(found, "updated", options.time_unit),
            model_id=optional_id(found, "model"),
            conversation_id=optional_id(found, "conversation"),
            message_id=optional_id(found, "message"),
            strength=number_cell(found, "strength"),
            reason_codes=optional_words(found, "reasons"),
            comment=optional_text(found, "comment"),
            lang=optional_text(found, "lang"),
            consent=bool_cell(found, "consent"),
            tools=optional_tools(found, "tools"),
        )

    def _pair(self, scope: Scope) -> PairDraft:
        found = self._find(scope)
        prompt = self._with_system(found, self._turns.read(need(found, "prompt"), "prompt", "user"))
        sides = ("chosen", "rejected") if self._config.fields.chosen else ("response_a", "response_b")
        answers = [
            without_prompt(prompt, self._turns.read(need(found, side), side, "assistant"), side) for side in sides
        ]
        options = self._config.options
        return PairDraft(
            prompt=prompt,
            response_a=answers[0],
            response_b=answers[1],
            outcome="a" if sides[0] == "chosen" else outcome_of(self._config, found.get("outcome")),
            raw_value="chosen" if sides[0] == "chosen" else found.get("outcome"),
            record_id=self._id(found, scope),
            rater=optional_rater(found, "user"),
            rater_kind=options.rater_kind,
            event_time=read_scaled_time(found, "time", options.time_unit),
            margin=number_cell(found, "margin"),
            score_a=number_cell(found, "score_a"),
            score_b=number_cell(found, "score_b"),
            presented_first=first_shown(self._config, found.get("presented_first")),
            model_a=optional_id(found, "model_a"),
            model_b=optional_id(found, "model_b"),
            conversation_id=optional_id(found, "conversation"),
            tools=optional_tools(found, "tools"),
        )

    def _refuse_unjoined(self, record: dict[str, Any]) -> None:
        if self._join is not None and self._join.is_lacking(record):
            what, key = self._join.what, self._join.key
            detail = f"the {what} of {key!r} are not there; they lie in another file, which --join FILE names"
            reject(RejectReason.MISSING_FIELD, detail)

    def _find(self, scope: Scope) -> dict[str, Any]:
        return {**self._config.constants, **{name: find_value(scope.values, steps) for name, steps in self._paths}}

    def _id(self, found: dict[str, Any], scope: Scope) -> str | None:
        # An id of the whole record names each of its items by its place, whichever of them are read.
        name = optional_id(found, "id")
        return name if name is None or self._has_own_id else f"{name}{scope.place}"

    def _prompt_and_completion(self, found: dict[str, Any]) -> tuple[list[Message], list[Message]]:
        if self._config.fields.conversation_messages:
            field = "conversation_messages"
            prompt, completion = split_last(self._turns.read(need(found, field), field, "user"), field)
            return self._with_system(found, prompt), completion
        prompt = self._with_system(found, self._turns.read(need(found, "prompt"), "prompt", "user"))
        completion = self._turns.read(need(found, "completion"), "completion", "assistant")
        return prompt, without_prompt(prompt, completion, "completion")

    def _with_system(self, found: dict[str, Any], prompt: list[Message]) -> list[Message]:
        system = optional_text(found, "system")
        return prompt if system is None else [{"role": "system", "content": system}, *prompt]


def _join_of(config: MapConfig, map_path: Path) -> Join | None:
    join = config.join
    if join is None:
        return None
    parse_path(join.key, map_path)
    parse_path(join.other, map_path)
    return Join(
        what=join.what,
        key=join.key,
        other=join.other,
        into=join.into,
        holds=_held_by(join.into, config, map_path),
        is_many=join.many,
        is_itself=join.itself,
        file=None if join.file is None else str(map_path.parent / join.file),
    )


def _held_by(into: str, config: MapConfig, where: Path) -> tuple[str, ...]:
    """Keys of the joined record in which the map looks for texts; where it looks for none there, all that it reads."""
    named = dict(named_paths(config))
    read = [*named.values(), *(one.list for one in config.each), *([] if config.tree is None else [config.tree.nodes])]
    texts = [path for name, path in named.items() if name in _TEXTS] + read[len(named) :]
    for paths in (texts, read):
        steps = (parse_path(path, where) for path in paths)
        held = {one[1] for one in steps if one[0] == into and len(one) > 1}
        if held:
            return tuple(sorted(key for key in held if isinstance(key, str)))
    return ()


def _is_of_item(steps: Steps | None, item: str | None) -> bool:
    """Whether an id is that of an item of a list, not of the record around it."""
    return item is not None and steps is not None and steps[0] in (item, f"{item}_key")


def _parse_without_map(record: dict[str, Any]) -> NoReturn:
    del record
    raise ConfigError(
        "the format 'mapped' needs a map", expected="a TOML file", todo="Name it with --map or map = FILE"
    )


MAPPED: Final = Format(
    name="mapped",
    kind="both",
    summary="Any JSONL, CSV or Parquet, by a TOML map with the path of each field.",
    label_rule="as the map's [labels], [thresholds] or [outcomes] say; a value that they do not name is rejected.",
    fields="what the map says",
    keys=None,
    parse=_parse_without_map,
    with_map=mapped_format,
)
