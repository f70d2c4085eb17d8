"""Records of product logs, one function a format: the fields of real exports, also those that nobody reads.

Fields are those that the modules of `feedback.formats` and their tests name, and the sources named there.
"""

from __future__ import annotations

import json
from typing import Any, Final

from bench.reader_draws import Drawn, Draws

__all__ = ["PRODUCTS"]

_ROOT: Final = "00000000-0000-0000-0000-000000000000"
_TAGS: Final = ("accurate", "helpful", "clear", "too_long", "off_topic")
_SYSTEM: Final = "You are a helpful assistant. Answer briefly, and say so where you are not sure."


def _thumbs(draw: Draws) -> Drawn:
    is_up = draw.is_up()
    record: dict[str, Any] = {
        "id": draw.uuid(),
        "time": draw.time(),
        "user": draw.rater(),
        "model": draw.model(),
        "conversation": draw.uuid(),
        "prompt": draw.prompt(),
        "completion": draw.answer(),
        "label": "up" if is_up else "down",
    }
    if draw.chance(0.1):
        record["comment"] = draw.note()
    if not is_up and draw.chance(0.3):
        record["reasons"] = [draw.pick(_TAGS)]
    return Drawn([record])


def _mapped(draw: Draws) -> Drawn:
    """A request to a chat API with its answer and a vote, as apps log them."""
    texts = [_SYSTEM, *draw.turns(2 * draw.exchanges() - 1)]
    roles = ["system", *("user" if place % 2 == 0 else "assistant" for place in range(len(texts) - 1))]
    answer = {"role": "assistant", "content": draw.answer()}
    used = {"prompt_tokens": draw.integer(50, 900), "completion_tokens": draw.integer(50, 300)}
    record = {
        "id": draw.uuid(),
        "app": {"name": "helpdesk", "version": "2.14.0"},
        "user_id": draw.rater(),
        "request": {
            "model": draw.model(),
            "temperature": 0.7,
            "messages": [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)],
        },
        "response": {"choices": [{"index": 0, "message": answer, "finish_reason": "stop"}], "usage": used},
        "feedback": {
            "value": "thumbsUp" if draw.is_up() else "thumbsDown",
            "at": draw.time(40),
            "note": draw.note() if draw.chance(0.1) else None,
        },
    }
    return Drawn([record])


MAPPED_MAP: Final = """
[fields]
id = "id"
prompt = "request.messages"
completion = "response.choices[0].message.content"
label = "feedback.value"
user = "user_id"
time = "feedback.at"
model = "request.model"
comment = "feedback.note"
[labels]
thumbsUp = "up"
thumbsDown = "down"
"""


def _open_webui(draw: Draws) -> Drawn:
    """A rating with the whole chat in it, the chat twice: as a tree and as a flat list."""
    chat_id, model, now = draw.uuid(), draw.model(), int(draw.seconds())
    texts = draw.turns(2 * draw.exchanges())
    ids = [draw.uuid() for _ in texts]
    messages: list[dict[str, Any]] = []
    for place, text in enumerate(texts):
        message: dict[str, Any] = {
            "id": ids[place],
            "parentId": ids[place - 1] if place else None,
            "childrenIds": ids[place + 1 : place + 2],
            "role": "assistant" if place % 2 else "user",
            "content": text,
            "timestamp": now - 30 * (len(texts) - place),
        }
        answered = {"model": model, "modelName": model, "modelIdx": 0, "done": True, "lastSentence": text[-40:]}
        messages.append({**message, **(answered if place % 2 else {"models": [model]})})
    rated = len(texts) - 1 if draw.chance(0.8) else 1
    rating = 1 if draw.is_up() else -1
    messages[rated] |= {"annotation": {"rating": rating}, "feedbackId": draw.uuid()}
    history = {"messages": {one["id"]: one for one in messages}, "currentId": ids[-1]}
    chat = {
        "id": "",
        "title": draw.note(),
        "models": [model],
        "params": {"seed": 7},
        "history": history,
        "messages": messages,
    }
    user = draw.rater()
    snapshot = {"id": chat_id, "user_id": user, "title": chat["title"], "chat": chat, "updated_at": now, "archived": 0}
    record = {
        "id": messages[rated]["feedbackId"],
        "user_id": user,
        "version": 0,
        "type": "rating",
        "data": {
            "rating": rating,
            "model_id": model,
            "sibling_model_ids": None,
            "reason": draw.pick(_TAGS),
            "comment": draw.note() if draw.chance(0.1) else "",
            "tags": [draw.pick(_TAGS)],
            "details": {"rating": draw.integer(6, 10) if rating > 0 else draw.integer(1, 5)},
        },
        "meta": {
            "model_id": model,
            "message_id": ids[rated],
            "message_index": rated,
            "chat_id": chat_id,
            "base_models": {model: None},
        },
        "snapshot": {"chat": snapshot},
        "created_at": now,
        "updated_at": now + draw.integer(5, 90),
    }
    return Drawn([record])


def _librechat(draw: Draws) -> Drawn:
    """The documents of a conversation, as `mongoexport` writes the collection `messages`; the last answer is judged."""
    messages = _librechat_messages(draw)
    documents = [
        {
            "_id": {"$oid": draw.hex(24)},
            **message,
            **{key: {"$date": message[key]} for key in ("createdAt", "updatedAt")},
            "_meiliIndex": True,
            "__v": 0,
        }
        for message in messages
    ]
    return Drawn(documents)


def _librechat_export(draw: Draws) -> Drawn:
    """A conversation as LibreChat's own export writes it."""
    messages = _librechat_messages(draw)
    record = {
        "conversationId": messages[0]["conversationId"],
        "endpoint": "openAI",
        "title": draw.note(),
        "exportAt": draw.time(3600),
        "branches": False,
        "recursive": False,
        "options": {"endpoint": "openAI", "model": messages[-1]["model"], "temperature": 1},
        "messages": messages,
    }
    return Drawn([record])


def _librechat_messages(draw: Draws) -> list[dict[str, Any]]:
    conversation, user, model = draw.uuid(), draw.hex(24), draw.model()
    parent, messages = _ROOT, list[dict[str, Any]]()
    for place, text in enumerate(draw.turns(2 * draw.exchanges())):
        is_user = place % 2 == 0
        message: dict[str, Any] = {
            "messageId": draw.uuid(),
            "conversationId": conversation,
            "parentMessageId": parent,
            "user": user,
            "endpoint": "openAI",
            "model": None if is_user else model,
            "sender": "User" if is_user else model,
            "isCreatedByUser": is_user,
            "text": text,
            "tokenCount": len(text) // 4,
            "unfinished": False,
            "error": False,
            "createdAt": draw.time(20 * place),
            "updatedAt": draw.time(20 * place + 9),
        }
        messages.append(message)
        parent = message["messageId"]
    is_up = draw.is_up()
    feedback: dict[str, Any] = {"rating": "thumbsUp" if is_up else "thumbsDown"}
    feedback["tag"] = draw.pick(("accurate_reliable", "creative_solution") if is_up else ("not_matched", "inaccurate"))
    messages[-1]["feedback"] = {**feedback, **({"text": draw.note()} if draw.chance(0.1) else {})}
    return messages


def _chainlit(draw: Draws) -> Drawn:
    """A thread with its steps, a run and perhaps a tool before each answer."""
    thread, user = draw.uuid(), draw.uuid()
    steps: list[dict[str, Any]] = []

    def add(kind: str, name: str, text: str, parent: str | None = None) -> dict[str, Any]:
        time = draw.time(8 * len(steps))
        step: dict[str, Any] = {"id": draw.uuid(), "threadId": thread, "parentId": parent, "name": name, "type": kind}
        step |= {"input": "", "output": text, "streaming": False, "isError": False, "waitForAnswer": False}
        step |= {"createdAt": time, "start": time, "end": time, "metadata": {"page": "chat"}, "tags": None}
        steps.append({**step, "language": None, "generation": None, "feedback": None})
        return steps[-1]

    rows = 0
    for _ in range(draw.exchanges()):
        asked = add("user_message", "user", draw.prompt())
        run = add("run", "on_message", "", asked["id"])
        if draw.chance(0.3):
            add("tool", "search", draw.words(20, 80), run["id"])
        answer = add("assistant_message", "assistant", draw.answer(), run["id"])
        if not rows or draw.chance(0.3):
            note = draw.note() if draw.chance(0.1) else None
            answer["feedback"] = {"id": draw.uuid(), "forId": answer["id"], "value": int(draw.is_up()), "comment": note}
            rows += 1
    record = {"id": thread, "createdAt": draw.time(), "name": draw.note(), "userId": user, "userIdentifier": user}
    return Drawn([{**record, "tags": None, "metadata": {"page": "chat"}, "steps": steps, "elements": []}], rows)


def _hf_chat_ui(draw: Draws) -> Drawn:
    """A conversation as `mongoexport` writes it, each message with its ancestors."""
    model, rows = draw.model(), 0
    messages: list[dict[str, Any]] = [
        {"id": draw.uuid(), "from": "system", "content": "", "ancestors": [], "children": []}
    ]
    for place, text in enumerate(draw.turns(2 * draw.exchanges())):
        before = messages[-1]
        message: dict[str, Any] = {
            "id": draw.uuid(),
            "from": "assistant" if place % 2 else "user",
            "content": text,
            "createdAt": {"$date": draw.time(20 * place)},
            "updatedAt": {"$date": draw.time(20 * place + 9)},
            "ancestors": [*before["ancestors"], before["id"]],
            "children": [],
        }
        before["children"].append(message["id"])
        if place == 1 or (place % 2 and draw.chance(0.3)):
            message["score"] = 1 if draw.is_up() else -1
            rows += 1
        messages.append(message)
    record = {
        "_id": {"$oid": draw.hex(24)},
        "title": draw.note(),
        "rootMessageId": messages[0]["id"],
        "messages": messages,
        "model": model,
        "preprompt": "",
        "createdAt": {"$date": draw.time()},
        "updatedAt": {"$date": draw.time(300)},
        "userId": {"$oid": draw.hex(24)},
        "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "embeddingModel": "gte-small",
    }
    return Drawn([record], rows)


def _streamlit_feedback(draw: Draws) -> Drawn:
    record = {
        "id": draw.uuid(),
        "timestamp": draw.time(),
        "session_id": draw.uuid(),
        "user_id": draw.rater(),
        "model": draw.model(),
        "prompt": draw.prompt(),
        "response": draw.answer(),
        "feedback": {
            "type": "thumbs",
            "score": "👍" if draw.is_up() else "👎",
            "text": draw.note() if draw.chance(0.1) else None,
        },
    }
    return Drawn([record])


def _fastchat_arena(draw: Draws) -> Drawn:
    """A vote on one model, or in a third of the lines one between two."""
    texts = draw.turns(2 * draw.exchanges())
    start, end = draw.seconds(), draw.seconds(45)
    head: dict[str, Any] = {"tstamp": round(end, 4)}
    address = f"10.{draw.integer(0, 255)}.{draw.integer(0, 255)}.{draw.integer(0, 255)}"
    if draw.chance(2 / 3):
        model = draw.model()
        kind = "upvote" if draw.is_up() else "downvote"
        return Drawn([{**head, "type": kind, "model": model, "state": _state(draw, model, texts), "ip": address}])
    models = draw.pick((("atlas-1", "birch-mini"), ("atlas-2", "cedar-2.1"), ("cedar-2.1", "atlas-1")))
    states = [_state(draw, model, [*texts[:-1], draw.answer()]) for model in models]
    kind = draw.pick(("leftvote", "rightvote", "tievote", "bothbad_vote"))
    return Drawn([{**head, "type": kind, "models": ["", ""], "states": states, "ip": address, "start": start}])


def _state(draw: Draws, model: str, texts: list[str]) -> dict[str, Any]:
    return {
        "template_name": "vicuna_v1.1",
        "system_message": _SYSTEM,
        "roles": ["USER", "ASSISTANT"],
        "messages": [["ASSISTANT" if place % 2 else "USER", text] for place, text in enumerate(texts)],
        "offset": 0,
        "conv_id": draw.hex(32),
        "model_name": model,
        "has_csam_image": False,
    }


def _chatgpt_export(draw: Draws) -> Drawn:
    """Feedback, and beside it the conversation as a tree of nodes."""
    conversation, now, model = draw.uuid(), draw.seconds(), draw.model()
    root = draw.uuid()
    nodes: list[dict[str, Any]] = [{"id": root, "message": None, "parent": None, "children": []}]
    for place, text in enumerate(["", *draw.turns(2 * draw.exchanges())]):
        role = "system" if not place else "user" if place % 2 else "assistant"
        message = {
            "id": draw.uuid(),
            "author": {
                "role": role,
                "name": None,
                "metadata": {"real_author": "tool:web"} if draw.chance(0.05) else {},
            },
            "create_time": now + 20 * place,
            "update_time": None,
            "content": {"content_type": "text", "parts": [text]},
            "status": "finished_successfully",
            "end_turn": True,
            "weight": 1.0,
            "metadata": {
                "model_slug": model,
                "timestamp_": "absolute",
                "is_visually_hidden_from_conversation": not place,
            },
            "recipient": "all",
            "channel": None,
        }
        nodes[-1]["children"].append(message["id"])
        nodes.append({"id": message["id"], "message": message, "parent": nodes[-1]["id"], "children": []})
    other = {
        "title": draw.note(),
        "create_time": now,
        "update_time": now + 300,
        "mapping": {node["id"]: node for node in nodes},
        "moderation_results": [],
        "current_node": nodes[-1]["id"],
        "conversation_id": conversation,
        "default_model_slug": model,
        "is_archived": False,
        "id": conversation,
    }
    is_up = draw.is_up()
    content = {"tags": [] if is_up else ["not-helpful"], **({"text": draw.note()} if draw.chance(0.1) else {})}
    record = {
        "message_id": nodes[-1]["id"],
        "conversation_id": conversation,
        "user_id": f"user-{draw.hex(24)}",
        "rating": "thumbsUp" if is_up else "thumbsDown",
        "content": json.dumps(content, ensure_ascii=False),
        "create_time": draw.time(300, end="+00:00"),
        "workspace_id": None,
        "evaluation_name": None,
        "evaluation_treatment": None,
    }
    return Drawn([record], others=[other])


PRODUCTS: Final = {
    "thumbs": _thumbs,
    "mapped": _mapped,
    "open_webui": _open_webui,
    "librechat": _librechat,
    "librechat:export": _librechat_export,
    "chainlit": _chainlit,
    "hf_chat_ui": _hf_chat_ui,
    "streamlit_feedback": _streamlit_feedback,
    "fastchat_arena": _fastchat_arena,
    "chatgpt_export": _chatgpt_export,
}
"""What draws the records of each log, by the format and, where there are two, the shape."""
