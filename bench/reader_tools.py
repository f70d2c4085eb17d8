"""Records of observability and annotation tools, one function a format, with the map of the scores that each needs."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from bench.reader_draws import Drawn, Draws

__all__ = ["MAPS", "TOOLS"]

_SYSTEM: Final = "You are a helpful assistant. Answer briefly, and say so where you are not sure."


def _langfuse_trace(draw: Draws) -> tuple[dict[str, Any], dict[str, Any]]:
    """A trace with one observation, and a score of it."""
    trace_id, model, asked, answered = draw.uuid(), draw.model(), _chat(draw), _said("assistant", draw.answer())
    used = {"input": draw.integer(50, 900), "output": draw.integer(50, 300)}
    observation = {
        "id": draw.hex(16),
        "traceId": trace_id,
        "type": "GENERATION",
        "name": "llm",
        "startTime": draw.time(),
        "endTime": draw.time(3),
        "model": model,
        "modelParameters": {"temperature": 0.7},
        "input": asked,
        "output": answered,
        "usageDetails": used,
        "level": "DEFAULT",
        "statusMessage": None,
        "parentObservationId": None,
    }
    trace = {
        "id": trace_id,
        "timestamp": draw.time(),
        "name": "chat",
        "input": {"messages": asked},
        "output": answered,
        "sessionId": draw.uuid(),
        "userId": draw.rater(),
        "release": "2.14.0",
        "version": None,
        "metadata": {"app": "helpdesk"},
        "tags": ["web"],
        "public": False,
        "environment": "production",
        "observations": [observation],
        "latency": 3.1,
        "totalCost": draw.share(),
    }
    is_up = draw.is_up()
    score = {
        "id": draw.uuid(),
        "traceId": trace_id,
        "observationId": None,
        "name": "user-thumb",
        "source": "API",
        "dataType": "BOOLEAN",
        "value": int(is_up),
        "stringValue": str(is_up),
        "comment": draw.note() if draw.chance(0.1) else None,
        "authorUserId": None,
        "configId": None,
        "queueId": None,
        "timestamp": draw.time(40),
        "createdAt": draw.time(41),
        "updatedAt": draw.time(41),
        "environment": "production",
        "metadata": {"page": "chat"},
    }
    return trace, score


def _langfuse(draw: Draws) -> Drawn:
    """Traces with their scores, as one GET of a trace gives them."""
    trace, score = _langfuse_trace(draw)
    return Drawn([{**trace, "scores": [score]}])


def _langfuse_joined(draw: Draws) -> Drawn:
    """Scores, and the traces in a second file."""
    trace, score = _langfuse_trace(draw)
    return Drawn([score], others=[trace])


def _langsmith(draw: Draws) -> Drawn:
    """Feedback, and the runs in a second file, with messages as LangChain dumps them."""
    run_id, trace, model, answer = draw.uuid(), draw.uuid(), draw.model(), draw.answer()
    turns = [("SystemMessage", _SYSTEM)]
    turns += [
        ("AIMessage" if place % 2 else "HumanMessage", text)
        for place, text in enumerate(draw.turns(2 * draw.exchanges() - 1))
    ]
    generation = {"text": answer, "generation_info": {"finish_reason": "stop"}, "type": "ChatGeneration"}
    run = {
        "id": run_id,
        "name": "ChatOpenAI",
        "run_type": "llm",
        "start_time": draw.time(),
        "end_time": draw.time(3),
        "inputs": {"messages": [[_dumped(kind, text) for kind, text in turns]]},
        "outputs": {"generations": [[{**generation, "message": _dumped("AIMessage", answer)}]], "run": None},
        "error": None,
        "serialized": None,
        "trace_id": trace,
        "parent_run_id": None,
        "session_id": draw.uuid(),
        "tags": ["seq:step:1"],
        "extra": {"metadata": {"ls_model_name": model, "ls_provider": "openai"}, "runtime": {"library": "langsmith"}},
        "total_tokens": draw.integer(100, 1200),
    }
    feedback = {
        "id": draw.uuid(),
        "created_at": draw.time(40, end="+00:00"),
        "modified_at": draw.time(40, end="+00:00"),
        "key": "user_score",
        "score": float(draw.is_up()),
        "value": None,
        "comment": draw.note() if draw.chance(0.1) else None,
        "correction": None,
        "run_id": run_id,
        "trace_id": trace,
        "session_id": run["session_id"],
        "feedback_source": {"type": "api", "metadata": {"__run": {"run_id": run_id}}, "user_id": draw.uuid()},
        "feedback_group_id": None,
        "comparative_experiment_id": None,
        "extra": None,
    }
    return Drawn([feedback], others=[run])


def _dumped(kind: str, text: str) -> dict[str, Any]:
    kwargs = {"content": text, "additional_kwargs": {"refusal": None}, "response_metadata": {"logprobs": None}}
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", kind], "kwargs": kwargs}


def _mlflow(draw: Draws) -> Drawn:
    """Traces with their assessments, as `Trace.to_json` writes them."""
    trace_id, asked, user = f"tr-{draw.hex(32)}", _chat(draw), draw.rater()
    answered: dict[str, Any] = {
        "choices": [{"index": 0, "message": _said("assistant", draw.answer()), "finish_reason": "stop"}]
    }
    root = bytes.fromhex(draw.hex(16))
    span: dict[str, Any] = {
        "trace_id": base64.b64encode(bytes.fromhex(trace_id[3:])).decode(),
        "span_id": base64.b64encode(root).decode(),
        "parent_span_id": None,
        "name": "chat",
        "start_time_unix_nano": int(draw.seconds() * 1e9),
        "end_time_unix_nano": int(draw.seconds(3) * 1e9),
        "events": [],
        "status": {"code": "STATUS_CODE_OK", "message": ""},
        "attributes": {
            "mlflow.traceRequestId": json.dumps(trace_id),
            "mlflow.spanType": '"CHAT_MODEL"',
            "mlflow.spanInputs": json.dumps({"messages": asked, "temperature": 0.7}, ensure_ascii=False),
            "mlflow.spanOutputs": json.dumps(answered, ensure_ascii=False),
        },
    }
    assessment = {
        "assessment_id": f"a-{draw.hex(32)}",
        "assessment_name": "thumbs",
        "trace_id": trace_id,
        "source": {"source_type": "HUMAN", "source_id": user},
        "create_time": draw.time(40),
        "last_update_time": draw.time(40),
        "feedback": {"value": draw.is_up()},
        "rationale": draw.note() if draw.chance(0.1) else None,
        "valid": True,
    }
    info = {
        "trace_id": trace_id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "1"}},
        "request_time": draw.time(),
        "execution_duration": "3.1s",
        "state": "OK",
        "request_preview": asked[-1]["content"][:100],
        "response_preview": answered["choices"][0]["message"]["content"][:100],
        "trace_metadata": {"mlflow.trace.session": draw.uuid(), "mlflow.trace.user": user},
        "tags": {"mlflow.traceName": "chat"},
        "assessments": [assessment],
    }
    return Drawn([{"info": info, "data": {"spans": [span]}}])


def _phoenix(draw: Draws) -> Drawn:
    """Annotations, and the spans in a second file, with the flat attributes of OpenInference."""
    span_id, answer, now = draw.hex(16), draw.answer(), draw.time()
    attributes: dict[str, Any] = {
        "openinference.span.kind": "LLM",
        "llm.model_name": draw.model(),
        "session.id": draw.uuid(),
        "llm.invocation_parameters": '{"temperature": 0.7}',
        "llm.token_count.prompt": draw.integer(50, 900),
        "llm.token_count.completion": draw.integer(50, 300),
    }
    asked = _chat(draw)
    for side, messages in (("input", asked), ("output", [_said("assistant", answer)])):
        for place, message in enumerate(messages):
            for key in ("role", "content"):
                attributes[f"llm.{side}_messages.{place}.message.{key}"] = message[key]
    attributes |= {"input.value": asked[-1]["content"], "input.mime_type": "text/plain", "output.value": answer}
    span: dict[str, Any] = {
        "id": base64.b64encode(f"Span:{draw.integer(1, 10**7)}".encode()).decode(),
        "name": "ChatCompletion",
        "context": {"trace_id": draw.hex(32), "span_id": span_id},
        "span_kind": "LLM",
        "parent_id": None,
        "start_time": now,
        "end_time": draw.time(3),
        "status_code": "OK",
        "status_message": "",
        "attributes": attributes,
        "events": [],
    }
    is_up = draw.is_up()
    annotation = {
        "id": base64.b64encode(f"SpanAnnotation:{draw.integer(1, 10**7)}".encode()).decode(),
        "span_id": span_id,
        "name": "thumb",
        "annotator_kind": "HUMAN",
        "result": {
            "label": "thumbs-up" if is_up else "thumbs-down",
            "score": float(is_up),
            "explanation": draw.note() if draw.chance(0.1) else None,
        },
        "metadata": {"page": "chat"},
        "identifier": "ui",
        "created_at": draw.time(40, end="+00:00"),
        "updated_at": draw.time(40, end="+00:00"),
        "source": "API",
        "user_id": draw.rater(),
    }
    return Drawn([annotation], others=[span])


def _otel_genai(draw: Draws) -> Drawn:
    """Spans with the evaluation among their events, messages as JSON in strings."""
    response, model = f"chatcmpl-{draw.hex(24)}", draw.model()
    asked = [_parts(one["role"], one["content"]) for one in _chat(draw) if one["role"] != "system"]
    answered = [{**_parts("assistant", draw.answer()), "finish_reason": "stop"}]
    is_up = draw.is_up()
    evaluation = {
        "gen_ai.evaluation.name": "user_feedback",
        "gen_ai.evaluation.score.value": float(is_up),
        "gen_ai.evaluation.score.label": "good" if is_up else "bad",
        "gen_ai.response.id": response,
    }
    if draw.chance(0.1):
        evaluation["gen_ai.evaluation.explanation"] = draw.note()
    at = int(draw.seconds() * 1e6) * 1000
    span: dict[str, Any] = {
        "name": f"chat {model}",
        "traceId": draw.hex(32),
        "spanId": draw.hex(16),
        "parentSpanId": "",
        "kind": 3,
        "startTimeUnixNano": str(at),
        "endTimeUnixNano": str(at + 3 * 10**9),
        "attributes": {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": model,
            "gen_ai.response.model": model,
            "gen_ai.response.id": response,
            "gen_ai.conversation.id": draw.uuid(),
            "gen_ai.usage.input_tokens": draw.integer(50, 900),
            "gen_ai.usage.output_tokens": draw.integer(50, 300),
            "gen_ai.system_instructions": json.dumps([{"type": "text", "content": _SYSTEM}]),
            "gen_ai.input.messages": json.dumps(asked, ensure_ascii=False),
            "gen_ai.output.messages": json.dumps(answered, ensure_ascii=False),
        },
        "events": [
            {"timeUnixNano": str(at + 40 * 10**9), "name": "gen_ai.evaluation.result", "attributes": evaluation}
        ],
        "status": {"code": 1},
    }
    return Drawn([span])


def _label_studio(draw: Draws) -> Drawn:
    """Tasks with one pairwise choice and one rating, in the export JSON."""
    task = draw.integer(1, 10**7)
    results = [
        {
            "id": draw.hex(10),
            "type": "pairwise",
            "value": {"selected": draw.pick(("left", "right"))},
            "origin": "manual",
            "from_name": "better",
            "to_name": "answer_1,answer_2",
        },
        {
            "id": draw.hex(10),
            "type": "rating",
            "value": {"rating": draw.integer(1, 5)},
            "origin": "manual",
            "from_name": "stars",
            "to_name": "answer_1",
        },
    ]
    number = draw.integer(1, 4000)
    annotation = {
        "id": draw.integer(1, 10**7),
        "completed_by": {"id": number, "email": f"user{number}@example.com", "first_name": "", "last_name": ""},
        "result": results,
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": draw.time(),
        "updated_at": draw.time(60),
        "draft_created_at": draw.time(),
        "lead_time": round(60 * draw.share(), 3),
        "prediction": None,
        "result_count": 2,
        "unique_id": draw.uuid(),
        "task": task,
        "project": 3,
    }
    record = {
        "id": task,
        "annotations": [annotation],
        "file_upload": "pairs.json",
        "drafts": [],
        "predictions": [],
        "data": {"question": draw.prompt(), "answers": [draw.answer(), draw.answer()], "source": "helpdesk"},
        "meta": {"batch": 7},
        "created_at": draw.time(-3600),
        "updated_at": draw.time(60),
        "inner_id": task,
        "total_annotations": 1,
        "cancelled_annotations": 0,
        "total_predictions": 0,
        "comment_count": 0,
        "project": 3,
        "updated_by": number,
        "comment_authors": [],
    }
    return Drawn([record], 2)


def _argilla(draw: Draws) -> Drawn:
    """Records with the ratings of one to three users, as `to_json` writes them."""
    ratings = [{"value": draw.integer(1, 5), "user_id": draw.uuid()} for _ in range(draw.pick((1, 1, 2, 3)))]
    record = {
        "id": draw.uuid(),
        "status": "completed",
        "fields": {"instruction": draw.prompt(), "answer": draw.answer()},
        "metadata": {"model": draw.model()},
        "suggestions": {"quality": {"value": draw.integer(1, 5), "score": draw.share(), "agent": "judge-1"}},
        "responses": {"quality": ratings},
        "vectors": {"topics": [draw.share() for _ in range(8)]},
        "_server_id": draw.uuid(),
    }
    return Drawn([record], len(ratings))


def _chat(draw: Draws) -> list[dict[str, str]]:
    """A system message and the turns up to the last question."""
    texts = draw.turns(2 * draw.exchanges() - 1)
    turns = [_said("assistant" if place % 2 else "user", text) for place, text in enumerate(texts)]
    return [_said("system", _SYSTEM), *turns]


def _said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def _parts(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


TOOLS: Final = {
    "langfuse": _langfuse,
    "langfuse:joined": _langfuse_joined,
    "langsmith": _langsmith,
    "mlflow": _mlflow,
    "phoenix": _phoenix,
    "otel_genai": _otel_genai,
    "label_studio": _label_studio,
    "argilla": _argilla,
}
"""What draws the records of each tool, by the format and, where there are two, the shape."""

MAPS: Final = {
    "langfuse": '[scores.user-thumb]\nlabels = { true = "up", false = "down" }\nrater_kind = "end_user"\n',
    "langsmith": '[scores.user_score]\nlabels = { 1 = "up", 0 = "down" }\nrater_kind = "end_user"\n',
    "mlflow": '[scores.thumbs]\nlabels = { true = "up", false = "down" }\nrater_kind = "end_user"\n',
    "phoenix": '[scores.thumb]\nlabels = { thumbs-up = "up", thumbs-down = "down" }\nrater_kind = "end_user"\n',
    "otel_genai": '[scores.user_feedback]\nlabels = { good = "up", bad = "down" }\nrater_kind = "end_user"\n',
    "label_studio": '[scores.better]\noutcomes = { left = "a", right = "b" }\n'
    'texts = { response_a = "answers[0]", response_b = "answers[1]" }\n'
    "[scores.stars]\nup_from = 4\ndown_to = 2\n"
    '[texts]\nprompt = "question"\ncompletion = "answers[0]"\n',
    "argilla": '[scores.quality]\nup_from = 4\ndown_to = 2\n[texts]\nprompt = "instruction"\ncompletion = "answer"\n',
}
"""The map of each format that needs one."""
