"""Records of trainer formats and public data sets, one function a format."""

from __future__ import annotations

import json
from typing import Any, Final

from bench.reader_draws import Drawn, Draws

__all__ = ["SETS"]

_HARMS: Final = (
    *("Endangering National Security", "Insulting Behavior", "Discriminatory Behavior", "Endangering Public Health"),
    *("Copyright Issues", "Violence", "Drugs", "Privacy Violation", "Economic Crime", "Mental Manipulation"),
    *("Human Trafficking", "Physical Harm", "Sexual Content", "Cybercrime", "Disrupting Public Order"),
    *("Environmental Damage", "Psychological Harm", "White-Collar Crime", "Animal Abuse"),
)
_QUALITIES: Final = ("spam", "lang_mismatch", "pii", "not_appropriate", "hate_speech", "quality", "helpfulness")
_ASPECTS: Final = ("instruction_following", "honesty", "truthfulness", "helpfulness")


def _trl(draw: Draws) -> Drawn:
    """Unpaired preferences as text."""
    return Drawn([{"prompt": draw.prompt(), "completion": draw.answer(), "label": draw.is_up()}])


def _trl_pairs(draw: Draws) -> Drawn:
    """Preferences as messages, the prompt inside both answers."""
    return Drawn([_shared_pair(draw)])


def _openai(draw: Draws) -> Drawn:
    record = {
        "input": {"messages": _chat(draw), "tools": [], "parallel_tool_calls": True},
        "preferred_output": [_said("assistant", draw.answer())],
        "non_preferred_output": [_said("assistant", draw.answer())],
    }
    return Drawn([record])


def _llamafactory(draw: Draws) -> Drawn:
    """KTO records in the OpenAI shape."""
    return Drawn([{"messages": [*_chat(draw), _said("assistant", draw.answer())], "label": draw.is_up()}])


def _llamafactory_ranking(draw: Draws) -> Drawn:
    """Ranking records in the ShareGPT shape."""
    names = {"user": "human", "assistant": "gpt"}
    record = {
        "conversations": [{"from": names[one["role"]], "value": one["content"]} for one in _chat(draw)],
        "chosen": {"from": "gpt", "value": draw.answer()},
        "rejected": {"from": "gpt", "value": draw.answer()},
    }
    return Drawn([record])


def _axolotl(draw: Draws) -> Drawn:
    """Pairs for the loader chat_template.default."""
    answers = {side: _said("assistant", draw.answer()) for side in ("chosen", "rejected")}
    return Drawn([{"messages": _chat(draw), **answers}])


def _hh_rlhf(draw: Draws) -> Drawn:
    names = {"user": "Human", "assistant": "Assistant"}
    prompt = "".join(f"\n\n{names[one['role']]}: {one['content']}" for one in _chat(draw))
    return Drawn([{side: f"{prompt}\n\nAssistant: {draw.answer()}" for side in ("chosen", "rejected")}])


def _oasst_tree(draw: Draws) -> Drawn:
    """Trees of two or three ranked answers to each question, the first of which is gone on from."""
    root = _message(draw, None, "prompter", draw.prompt())
    question, rows = root, draw.pick((1, 1, 2, 3))
    for _ in range(rows):
        answers = [_message(draw, question, "assistant", draw.answer(), rank) for rank in range(draw.pick((2, 2, 3)))]
        question["replies"] += answers
        question = _message(draw, answers[0], "prompter", draw.prompt())
        answers[0]["replies"].append(question)
    record = {"message_tree_id": root["message_id"], "tree_state": "ready_for_export", "prompt": root}
    return Drawn([{**record, "origin": "web"}], rows)


def _message(
    draw: Draws, parent: dict[str, Any] | None, role: str, text: str, rank: int | None = None
) -> dict[str, Any]:
    ranked = {} if rank is None else {"rank": rank}
    return {
        "message_id": draw.uuid(),
        **({} if parent is None else {"parent_id": parent["message_id"]}),
        "user_id": draw.uuid(),
        "created_date": draw.time(end="+00:00"),
        "text": text,
        "role": role,
        "lang": "en",
        "review_count": 3,
        "review_result": True,
        "deleted": False,
        **ranked,
        "synthetic": False,
        "emojis": {"+1": draw.integer(0, 3), "_skip_reply": 1},
        "replies": [],
        "labels": {name: {"value": draw.share(), "count": 3} for name in _QUALITIES},
    }


def _shp(draw: Draws) -> Drawn:
    scores, labels = (draw.integer(2, 40), draw.integer(50, 400)), draw.integer(0, 1)
    score_a, score_b = scores[::-1] if labels else scores
    at = int(draw.seconds())
    record = {
        "post_id": draw.hex(6),
        "domain": "askculinary_train",
        "upvote_ratio": 0.98,
        "history": draw.words(40, 160),
        "c_root_id_A": draw.hex(7),
        "c_root_id_B": draw.hex(7),
        "created_at_utc_A": at,
        "created_at_utc_B": at + 100,
        "score_A": score_a,
        "score_B": score_b,
        "human_ref_A": draw.answer(),
        "human_ref_B": draw.answer(),
        "labels": labels,
        "seconds_difference": 100.0,
        "score_ratio": round(scores[1] / scores[0], 6),
    }
    return Drawn([record])


def _ultrafeedback(draw: Draws) -> Drawn:
    """Binarized pairs as HuggingFaceH4 published them."""
    pair = _shared_pair(draw)
    record = {"prompt": pair["chosen"][0]["content"], "prompt_id": draw.hex(64), **pair, "messages": pair["chosen"]}
    worse = draw.integer(10, 70) / 10
    return Drawn([{**record, "score_chosen": worse + draw.integer(5, 25) / 10, "score_rejected": worse}])


def _ultrafeedback_raw(draw: Draws) -> Drawn:
    """All four answers with their ratings, as openbmb published them; the best stands against the worst."""
    completions = [
        {
            "annotations": {name: {"Rating": str(rating), "Rationale": draw.words(20, 60)} for name in _ASPECTS},
            "custom_system_prompt": "You are an honest assistant.",
            "model": draw.model(),
            "principle": "honesty",
            "response": draw.answer(),
            "critique": draw.words(40, 120),
            "fine-grained_score": float(rating),
            "overall_score": float(2 * rating),
        }
        for rating in (2, 3, 4, 5)
    ]
    record = {
        "source": "evol_instruct",
        "instruction": draw.prompt(),
        "models": [one["model"] for one in completions],
        "completions": completions,
        "correct_answers": ["None"],
        "incorrect_answers": ["None"],
    }
    return Drawn([record])


def _helpsteer2(draw: Draws) -> Drawn:
    attributes = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    marks = {"user": "User", "assistant": "Assistant"}
    first, *rest = _chat(draw)
    prompt = first["content"] + "".join(f"\n<extra_id_1>{marks[one['role']]}\n{one['content']}" for one in rest)
    record = {"prompt": prompt, "response": draw.answer(), **{name: draw.integer(0, 4) for name in attributes}}
    return Drawn([record])


def _helpsteer3(draw: Draws) -> Drawn:
    said = [
        {
            "score": draw.integer(-3, 3),
            "reasoning": draw.words(20, 60),
            "feedback1": draw.words(20, 60),
            "feedback2": draw.words(20, 60),
        }
        for _ in range(3)
    ]
    record = {
        "domain": "general",
        "language": "english",
        "context": _chat(draw),
        "response1": draw.answer(),
        "response2": draw.answer(),
        "overall_preference": draw.integer(-3, 3),
        "individual_preference": said,
    }
    return Drawn([record])


def _arena(draw: Draws) -> Drawn:
    """Battles as in the sets of 33k and 100k."""
    chat = _chat(draw)
    conversations = {f"conversation_{side}": [*chat, _said("assistant", draw.answer())] for side in "ab"}
    record = {
        "question_id": draw.hex(32),
        "model_a": "atlas-1",
        "model_b": "cedar-2.1",
        "winner": draw.pick(("model_a", "model_b", "tie", "tie (bothbad)")),
        "judge": draw.rater(),
        **conversations,
        "turn": (len(chat) + 1) // 2,
        "anony": True,
        "language": "English",
        "tstamp": round(draw.seconds(), 4),
        "openai_moderation": {"categories": {"hate": False, "violence": False}, "flagged": False},
        "toxic_chat_tag": {"t5-large": {"flagged": False, "probability": draw.share()}},
    }
    return Drawn([record])


def _arena_kaggle(draw: Draws) -> Drawn:
    """Battles of the Kaggle competition, with lists in strings."""
    prompts = [draw.prompt() for _ in range(draw.exchanges())]
    winner = draw.integer(0, 2)
    record = {
        "id": draw.integer(1, 10**9),
        "model_a": "atlas-1",
        "model_b": "cedar-2.1",
        "prompt": json.dumps(prompts),
        **{f"response_{side}": json.dumps([draw.answer() for _ in prompts]) for side in "ab"},
        **{name: int(place == winner) for place, name in enumerate(("winner_model_a", "winner_model_b", "winner_tie"))},
    }
    return Drawn([record])


def _mt_bench(draw: Draws) -> Drawn:
    """Votes of people on one of two turns."""
    prompts = [draw.prompt(), draw.prompt()]
    conversations = {
        f"conversation_{side}": [
            _said(role, text) for prompt in prompts for role, text in (("user", prompt), ("assistant", draw.answer()))
        ]
        for side in "ab"
    }
    record = {
        "question_id": draw.integer(81, 160),
        "model_a": "atlas-1",
        "model_b": "cedar-2.1",
        "winner": draw.pick(("model_a", "model_b", "tie")),
        "judge": f"expert_{draw.integer(0, 60)}",
        **conversations,
        "turn": draw.integer(1, 2),
    }
    return Drawn([record])


def _pku_safe_rlhf(draw: Draws) -> Drawn:
    is_safe = draw.pick(((True, True), (True, False), (False, True), (False, False)))
    safer = draw.integer(0, 1) if is_safe[0] == is_safe[1] else is_safe.index(True)
    record: dict[str, Any] = {"prompt": draw.prompt()}
    record |= {f"response_{side}": draw.answer() for side in (0, 1)}
    record |= {"prompt_source": "Alpaca-7B", "response_0_source": "Alpaca-7B", "response_1_source": "Alpaca3-8B"}
    for side, safe in enumerate(is_safe):
        harm = None if safe else draw.pick(_HARMS)
        record |= {
            f"is_response_{side}_safe": safe,
            f"response_{side}_harm_category": {name: name == harm for name in _HARMS},
            f"response_{side}_severity_level": 0 if safe else draw.integer(1, 3),
            f"response_{side}_sha256": draw.hex(64),
        }
    return Drawn([{**record, "better_response_id": draw.integer(0, 1), "safer_response_id": safer}])


def _webgpt(draw: Draws) -> Drawn:
    score = draw.integer(-10, 10) / 10
    record: dict[str, Any] = {"question": {"dataset": "eli5", "id": draw.hex(6), "full_text": draw.prompt()}}
    for side, signed in enumerate((score, -score)):
        quotes = range(draw.integer(1, 3))
        record |= {
            f"quotes_{side}": {"title": [draw.note() for _ in quotes], "extract": [draw.words(30, 80) for _ in quotes]},
            f"answer_{side}": draw.answer(),
            f"tokens_{side}": {
                "prefix": [draw.integer(0, 50_000) for _ in range(150)],
                "completion": [draw.integer(0, 50_000) for _ in range(100)],
            },
            f"score_{side}": signed,
        }
    return Drawn([record])


def _summarize(draw: Draws) -> Drawn:
    info = {"id": f"t3_{draw.hex(6)}", "post": draw.words(120, 220), "title": draw.note(), "subreddit": "relationships"}
    summaries = [{"text": f" {draw.words(20, 45)}", "policy": policy, "note": None} for policy in ("sup4", "ref")]
    record = {
        "info": {**info, "site": None, "article": None},
        "split": "train",
        "summaries": summaries,
        "choice": draw.integer(0, 1),
        "worker": draw.hex(30),
        "batch": "batch3",
        "extra": {"confidence": draw.integer(1, 9)},
    }
    return Drawn([record])


def _chat(draw: Draws) -> list[dict[str, str]]:
    """Turns up to the last question."""
    texts = draw.turns(2 * draw.exchanges() - 1)
    return [_said("assistant" if place % 2 else "user", text) for place, text in enumerate(texts)]


def _shared_pair(draw: Draws) -> dict[str, list[dict[str, str]]]:
    chat = _chat(draw)
    return {side: [*chat, _said("assistant", draw.answer())] for side in ("chosen", "rejected")}


def _said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


SETS: Final = {
    "trl": _trl,
    "trl:pairs": _trl_pairs,
    "openai": _openai,
    "llamafactory": _llamafactory,
    "llamafactory:ranking": _llamafactory_ranking,
    "axolotl": _axolotl,
    "hh_rlhf": _hh_rlhf,
    "oasst_tree": _oasst_tree,
    "shp": _shp,
    "ultrafeedback": _ultrafeedback,
    "ultrafeedback:raw": _ultrafeedback_raw,
    "helpsteer2": _helpsteer2,
    "helpsteer3": _helpsteer3,
    "arena": _arena,
    "arena:kaggle": _arena_kaggle,
    "mt_bench": _mt_bench,
    "pku_safe_rlhf": _pku_safe_rlhf,
    "pku_safe_rlhf_better": _pku_safe_rlhf,
    "pku_safe_rlhf_safer": _pku_safe_rlhf,
    "webgpt": _webgpt,
    "summarize": _summarize,
}
"""What draws the records of each set, by the format and, where there are two, the shape."""
