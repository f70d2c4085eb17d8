"""What the audit claims of one text: nothing in it, cut off, an error, control tokens, turns, marks of style."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from feedback.audit.texts.integrity_flags import CONTROL_TOKENS, are_roles_out_of_order, integrity_flags
from feedback.audit.texts.style_flags import STYLES, style_flags
from schemas.messages import MESSAGES
from tests.feedback_tables import turns

LONG = "word " * 50

BROKEN = [
    (
        "The server had an error while processing your request. Sorry about that! You can retry your "
        "request, or contact us through our help center at help.openai.com if the error persists. (Please "
        "include the request ID req_0a1b2c3d4e in your message.)"
    ),
    (
        "Rate limit reached for gpt-4o in organization org-abc123 on tokens per min (TPM): Limit 30000, Used "
        "29500, Requested 1200. Please try again in 1.4s. Visit "
        "https://platform.openai.com/account/rate-limits to learn more."
    ),
    "You exceeded your current quota, please check your plan and billing details.",
    "Error code: 429 - {'error': {'message': 'You exceeded your current quota', 'type': 'insufficient_quota'}}",
    (
        "This model's maximum context length is 4097 tokens. However, your messages resulted in 5120 tokens. "
        "Please reduce the length of the messages."
    ),
    "That model is currently overloaded with other requests. You can retry your request.",
    (
        "Incorrect API key provided: sk-abc***xyz. You can find your API key at "
        "https://platform.openai.com/account/api-keys."
    ),
    "openai.APIConnectionError: Connection error.",
    "There was an error generating a response",
    "Something went wrong. If this issue persists please contact us through our help center at help.openai.com.",
    "The message you submitted was too long, please reload the conversation and submit something shorter.",
    "Unusual activity has been detected from your device. Try again later.",
    "Too many requests in 1 hour. Try again later.",
    '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
    "Error code: 529 - {'type': 'error', 'error': {'type': 'overloaded_error', 'message': 'Overloaded'}}",
    "anthropic.BadRequestError: Error code: 400 - {'type': 'error'}",
    "prompt is too long: 212345 tokens > 199999 maximum",
    "502 Bad Gateway\nnginx/1.18.0 (Ubuntu)",
    "<html>\r\n<head><title>504 Gateway Time-out</title></head>\r\n<body>\r\n<center><h1>504 Gateway Time-out</h1>",
    "413 Request Entity Too Large\nnginx",
    "error code: 1020",
    "Error 1015 Ray ID: 7d1f0c2b3a4e5f60 - You are being rate limited",
    "<!DOCTYPE html><html lang='en-US'><head><title>Just a moment...</title>",
    "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
    "no healthy upstream",
    '{"message": "Endpoint request timed out"}',
    '{"message":"Forbidden"}',
    "HTTP/1.1 503 Service Unavailable",
    "[ERROR] upstream timed out",
    "Agent stopped due to iteration limit or time limit.",
    (
        "An output parsing error occurred. In order to pass this error back to the agent and have it try "
        "again, pass `handle_parsing_errors=True` to the AgentExecutor."
    ),
    "Could not parse LLM output: `I do not know`",
    "Error",
    "Connection errored out.",
    '{"detail":"Internal Server Error"}',
    '{"detail":[{"loc":["body","prompt"],"msg":"field required","type":"value_error.missing"}]}',
    '{"timestamp":"2024-05-01T10:00:00.000+00:00","status":500,"error":"Internal Server Error","path":"/chat"}',
    "Internal Server Error",
    (
        'Traceback (most recent call last):\n  File "/app/main.py", line 12, in <module>\n    reply = '
        "ask()\nKeyError: 'choices'"
    ),
    "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='api.example', port=443): Max retries exceeded",
    "HTTPSConnectionPool(host='api.example', port=443): Read timed out. (read timeout=60)",
    "JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
    "TypeError: 'NoneType' object is not subscriptable",
    "CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 15.78 GiB total capacity)",
    "java.net.SocketTimeoutException: Read timed out\n\tat java.net.SocketInputStream.socketRead0(Native Method)",
    'Exception in thread "main" java.lang.NullPointerException\n\tat com.example.Chat.main(Chat.java:7)',
    "Error: Request failed with status code 500",
    "TypeError: Failed to fetch",
    "Failed to fetch",
    "<Response [502]>",
    "[object Object]",
    "undefined",
    "null",
    "NaN",
    "Oops! Something went wrong.",
    "Oops, something went wrong 😔 Please try again!",
    "Sorry, something went wrong. Please try again later.",
    "We're sorry, but something went wrong.",
    "I'm sorry, an error occurred while processing your request.",
    "\u26a0\ufe0f An error occurred",
    "❌ Error: Network error",
    "An unexpected error has occurred. Please refresh the page and try again.",
    "NETWORK ERROR DUE TO HIGH TRAFFIC. PLEASE REGENERATE OR REFRESH THIS PAGE. (error_code: 50001)",
    "There was a problem with your request. Please try again in a few minutes.",
    "Unable to generate a response at this time.",
    "The service is temporarily unavailable, please come back later.",
    "Request timed out.",
    "Rate limit exceeded, try again later",
    "Oops! Something went wrong",
    "Hmm...something seems to have gone wrong.",
    "Hmm, something went wrong. Maybe try me again in a little bit.",
    "A network error occurred. Please check your connection and try again. If this issue persists please contact us.",
    "Error communicating with OpenAI: HTTPSConnectionPool",
    "The server is overloaded or not ready yet.",
    "Our servers are experiencing high load. Please try again later.",
    "Error in message stream",
    "Error in body stream",
    "Internal error encountered.",
    "The model is overloaded. Please try again later.",
    "503 UNAVAILABLE. {'error': {'code': 503, 'message': 'The model is overloaded.'}}",
    "Resource has been exhausted (e.g. check quota).",
    "Sorry, I encountered an error. Please try again.",
    "I'm sorry, I encountered an error processing your request.",
    "I apologize, but an error occurred while processing your request. Please try again.",
    "Sorry, there was an error processing your request",
    "Sorry, an error has occurred.",
    "We encountered an unexpected error. Please try again later.",
    "Unexpected error occurred",
    "Unknown error",
    "Server error",
    "Server Error (500)",
    "Request failed with status code 429",
    "Error: timeout of 30000ms exceeded",
    "SyntaxError: Unexpected token < in JSON at position 0",
    "ValueError: invalid literal for int() with base 10: ''",
    "RuntimeError: CUDA error: device-side assert triggered",
    "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB",
    "httpx.ReadTimeout",
    "\u26a0\ufe0f Something went wrong, please try again.",
    "Error: Something went wrong",
    "Application error: a client-side exception has occurred (see the browser console for more information).",
    "No response from server",
    "ERROR: Internal server error",
    "Error 500",
    "Error 524: A timeout occurred",
    "504 Gateway Timeout",
    "Gateway Timeout",
    "{'error': {'message': 'Rate limit reached'}}",
    "API rate limit exceeded",
    "Rate limit reached. Please wait.",
    "Your request timed out. Please try again.",
    "Generation failed. Please try again.",
    (
        "An internal error has occurred. Please retry or report in "
        "https://developers.generativeai.google/guide/troubleshooting"
    ),
]
"""Messages of OpenAI, Anthropic, Google, nginx, Cloudflare, Envoy, Amazon, LangChain, Gradio, FastAPI, Spring, Python,
Java, JavaScript and pages of chats."""

ABOUT_ERRORS = [
    "Error 404 means that the page you asked for does not exist. Check the address for typing errors.",
    "Error 404 pages can be styled in nginx with error_page.",
    "Error 500 on a new site is often a fault in .htaccess.",
    "Error codes 400 to 499 are the client's fault.",
    "Error code 0x80070005 is Windows for access denied.",
    "KeyError: this happens when you look up a key that is not in the dict. Use get() to have a default.",
    "KeyError: the key 'a' is not in the dict because you delete it in line 3.",
    "IndexError: your list has only three items; the last index is 2.",
    "TypeError: you are adding a string to a number, so convert one of them with str() or int().",
    "An error occurred because your list has only three items; index 3 is the fourth.",
    "An error occurred in line 3: a bracket is missing.",
    "An error occurred in my last answer. The capital of Australia is Canberra.",
    "There was an error in your code: the loop never ends.",
    "There was an error in my earlier calculation. The sum is 42.",
    "There was a problem with the first version: it read the file twice.",
    "There was an issue with my answer above; here is the right one.",
    "500 Internal Server Error is a generic answer of a server that met a condition it did not expect.",
    "502 Bad Gateway: this means that nginx could not reach the application behind it.",
    "503 Service Unavailable usually means that the server is overloaded or down for maintenance.",
    "429 Too Many Requests tells the client to slow down.",
    "Internal Server Error pages can be replaced with handler500 in Django.",
    "Bad Gateway errors come from a proxy that gets no good answer from the server behind it.",
    "Rate limit exceeded errors are handled with exponential backoff: wait, double the wait, and try again.",
    "Too many requests from one address can be stopped with limit_req in nginx.",
    "Something went wrong in 1929: banks had lent too much for shares.",
    "Something went wrong with the yeast, most likely. Was the water too hot?",
    "Sorry, something went wrong with my first count. There are three r in strawberry.",
    "Sorry, there was an error in my reply. The correct formula is a + b.",
    "Oops! I mixed up two kings. It was Henry VII.",
    "Network errors in fetch() are caught with catch(), HTTP errors are not.",
    "Network error? Restart the router first, then the computer.",
    "Connection errors are best retried a few times.",
    "Connection refused means that nothing listens on that port.",
    "Request timed out errors have three usual causes: a slow server, a firewall, a wrong address.",
    "Failed to fetch is what Chrome says when CORS blocks a request.",
    "Traceback (most recent call last): is the first line of every report of an exception in Python.",
    (
        "Traceback (most recent call last):\n  File \"a.py\", line 1\nNameError: name 'x' is not defined\n\nThis "
        "means that x was never set. Set it first."
    ),
    "java.lang.NullPointerException is thrown when a method is called on null.",
    "java.lang.OutOfMemoryError: this happens when the heap is full. Start Java with a larger -Xmx.",
    "requests.exceptions.ConnectionError means that the host was not reached.",
    "Segmentation fault is what the kernel says when a program reads memory that it does not own.",
    "CUDA out of memory can be avoided with smaller batches.",
    "undefined is the value of a variable that was declared and not set.",
    "None",
    "None of them.",
    '{"message": "Hello, world"}',
    '{"error": null, "result": [1, 2]}',
    '{"name": "Ann", "error": "none"}',
    "The server had an error budget of 0.1 % last month.",
    "Timeouts are set with requests.get(url, timeout=5).",
    "Error handling in Go is done with values: a function returns an error as its last result.",
    "Errors should never pass silently.",
    "[Error] types in Rust implement std::error::Error.",
    "Invalid API keys are answered with 401, so rotate yours and try again.",
    "Service unavailable? Then look at the status page first.",
    "HTTP 404 is sent for what is not there, HTTP 410 for what is gone for good.",
    "Error: you forgot the colon behind the if.",
    "Context length exceeded errors go away with a shorter history.",
    "Exception in thread names are set with Thread.setName.",
    "Quota exceeded mails are sent by the mail server when a mailbox is full.",
    "Model is overloaded in this text: it stands for a fashion model, a car's make and a theory.",
    "Overloaded functions share one name and differ in their arguments.",
    "ValueError: the text you pass to int() is not a number.",
    'An error occurred while parsing your JSON: the comma after "b" is missing.',
    "An error occurred while I was copying the table. In row 3 it must be 17.",
    "There was an error while compiling: line 4 lacks a semicolon. Add it and it works.",
    "I'm sorry, there was an error in what I said: Paris has 20 districts.",
    "Sorry, something went wrong there. Let me count again: 1, 2, 3.",
    "Network error handling in axios goes through error.request.",
    "The server had an error log of 2 GB, so rotate it daily.",
    "The model is down by 3 points after quantisation.",
    "The request failed because the token expired.",
    "The connection timed out, so the firewall drops packets: open port 5432.",
    "502 Bad Gateway, in short: nginx is up and the app behind it is not.",
    "Internal server error, status 500.",
    "Rate limit exceeded, that is what 429 says.",
    "TypeError: 'int' object is not iterable. That comes from the line `for i in 5`; write range(5).",
    "SyntaxError: a colon is missing behind the if.",
    "KeyError: 'name'\n\nThe dict has the key 'Name'. Keys are case sensitive.",
    "Failed to fetch: CORS. Set Access-Control-Allow-Origin on the server.",
    "Service unavailable (503) is sent during maintenance.",
    "Error.prototype.stack holds the trace.",
    "Error: an act that is wrong through ignorance.",
    "Error, noun: a mistake.",
    "NaN is not equal to itself.",
    "null and undefined differ in type.",
    "ConnectionError: start the server first, then the client.",
    "Too many requests? Cache the answers.",
    "You exceeded your current quota is what the API says when credits are used up.",
    '{"message": {"text": "Hi"}}',
    '{"status": "ok", "items": []}',
    '{"type": "object", "properties": {"error": {"type": "string"}}}',
    "Something went wrong, she thought, and closed the door behind her.",
    "Something went wrong. She could feel it. The house was too quiet.",
    "Oops, something went wrong, said the robot.",
    "Oh no! The prompt is too long for the model. Cut it in two.",
    "Invalid API key: check that the variable OPENAI_API_KEY is set in the shell that starts the app.",
    "java.util.ConcurrentModificationException: you remove from the list in the loop. Use an Iterator.",
]
"""Good answers that begin as such messages do."""


def flags(text: str) -> set[str]:
    frame = pl.DataFrame({"answer": [text]})
    row = frame.select(*integrity_flags(pl.col("answer")), *style_flags(pl.col("answer"))).row(0, named=True)
    return {name for name, value in row.items() if value and name != "is_mid_word"}


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\ufeff", "\u00a0\u3000", "\u2800", "\u3164"])
def test_white_space_and_invisible_signs_are_empty(text: str) -> None:
    assert "is_empty" in flags(text)


@pytest.mark.parametrize("text", ["0", ".", "🙂", "はい", "-"])
def test_short_answers_are_not_empty(text: str) -> None:
    assert "is_empty" not in flags(text)


@pytest.mark.parametrize(
    "text", ["So:\n```python\nx = 1", "a\n```\nb\n```\nc\n  ```js\nlet", f"{LONG}first,", f"{LONG}f(", f"{LONG}{{ "]
)
def test_open_code_and_open_ends_are_cut_off(text: str) -> None:
    assert "is_open" in flags(text)


@pytest.mark.parametrize(
    "text",
    [
        "```python\nx = 1\n```",
        "Type ``` and a name, such as ```python, then Enter.",
        "Dear Ann,",
        "f(",
        f"{LONG}end",
        "x",
    ],
)
def test_closed_code_and_short_ends_are_whole(text: str) -> None:
    assert "is_open" not in flags(text)


@pytest.mark.parametrize(
    "text",
    [
        "[object Object]",
        "undefined",
        "Traceback (most recent call last):\n  File",
        '{"error": {"message": "x"}}',
        "Error code: 429 - {'error': 1}",
        "503 Service Unavailable",
        "Internal Server Error",
        "An error occurred while generating a response.",
        "Rate limit exceeded, try again later",
        "This model's maximum context length is 4096 tokens.",
        "openai.RateLimitError: too many",
        "JSONDecodeError: Expecting value",
        "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title>",
        "<html>\r\n<head><title>Attention Required! | Cloudflare</title>",
    ],
)
def test_messages_of_broken_services_are_errors(text: str) -> None:
    assert "is_error" in flags(text)


@pytest.mark.parametrize(
    "text",
    [
        "A 404 error means that a page is not found.",
        "The traceback says: Traceback (most recent call last): ...",
        "Use `undefined` to say that nothing is there.",
        "Null hypotheses are rejected when p is small.",
        "500 people came.",
        "Error handling in Python is done with try.",
        "<!DOCTYPE html>\n<html><head><title>My holidays</title></head><body><h1>Beach</h1>",
        "An errand occurred to me.",
    ],
)
def test_answers_about_errors_are_none(text: str) -> None:
    assert "is_error" not in flags(text)


@pytest.mark.parametrize("text", BROKEN)
def test_every_known_message_of_a_service_is_an_error(text: str) -> None:
    assert "is_error" in flags(text)


@pytest.mark.parametrize("text", ABOUT_ERRORS)
def test_answers_that_begin_with_the_name_of_an_error_are_none(text: str) -> None:
    assert "is_error" not in flags(text)


def test_only_few_words_are_the_message_of_a_service() -> None:
    """What is printed by code may be long; words that begin like a message and go on are an answer."""
    assert "is_error" in flags("Something went wrong. " + "Please try again. " * 15)
    assert "is_error" not in flags("Something went wrong. " + "Please try again. " * 16)
    assert "is_error" in flags('Traceback (most recent call last):\n  File "x.py", line 1\n' * 20)


def test_hostile_answers_take_no_quadratic_time() -> None:
    """Each would take minutes where an expression goes back over what it has read."""
    runs = ("Something went wrong. please ", "Error: ", "! ", "A.", "an internal ", "\n\n", "Error 500\n", "a.B")
    texts = [begin + run * 100_000 for run in runs for begin in ("", '{"error": "', "Error: ")]
    frame = pl.DataFrame({"answer": texts})
    assert frame.select(integrity_flags(pl.col("answer"))[-1]).height == len(texts)


@pytest.mark.parametrize(
    ("text", "is_there"),
    [
        ("<|im_start|>user\nhi<|im_end|>", True),
        ("a <|endoftext|> b", True),
        ("<|eot_id|>", True),
        ("[INST] hi [/INST]", True),
        ("<s>[INST] x", True),
        ("<s> begins", True),
        ("ends</s>", True),
        ("<<SYS>>", True),
        ("<start_of_turn>model", True),
        ("<｜User｜>", True),
        ("a <s>line</s> through it", False),
        ("a | b <|> c", False),
        ("[INSTALL]", False),
        ("x <b> y </b>", False),
        ("if (a <| b |> c)", False),
    ],
)
def test_control_tokens_are_known_and_mark_up_is_none(text: str, is_there: bool) -> None:
    assert pl.Series([text]).str.contains(CONTROL_TOKENS)[0] is is_there


@pytest.mark.parametrize(
    ("roles", "is_wrong"),
    [
        ("u", False),
        ("su", False),
        ("suau", False),
        ("uatu", False),
        ("uaat", True),
        ("uu", True),
        ("us", True),
        ("usu", True),
        ("au", True),
        ("sau", True),
        ("tu", True),
        ("ssu", True),
    ],
)
def test_turns_that_templates_refuse_are_out_of_order(roles: str, is_wrong: bool) -> None:
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    said = [{"role": names[role], "content": "x"} for role in roles]
    prompts = pa.array([turns("user", "x"), said, turns("user", "x")], MESSAGES)
    assert are_roles_out_of_order(prompts).tolist() == [False, is_wrong, False]
    assert are_roles_out_of_order(prompts[1:]).tolist() == [is_wrong, False]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("What a great question! Let me see.", {"flattery"}),
        ("You're so smart.", {"flattery"}),
        ("You are absolutely right.", {"agreement"}),
        ("Absolutely! Here it is.", {"agreement"}),
        ("I apologize for that.", {"apology"}),
        ("I’m so sorry to hear it.", {"apology"}),
        ("I'm sorry, but I can't help with that.", {"apology", "refusal"}),
        ("As an AI language model, I have no taste.", {"refusal"}),
        ("Done 🎉", {"emoji"}),
        ("## Steps\ntext", {"headings", "markdown"}),
        ("- one\n- two", {"lists", "markdown"}),
        ("1. one\n2. two", {"lists", "markdown"}),
        ("Use `x`.", {"code", "markdown"}),
        ("It is **bold**.", {"markdown"}),
        ("| a | b |\n|---|---|\n| 1 | 2 |", {"markdown"}),
        ("The right angle is 90 degrees; the question is a good one to ask in 2026, no. 1 © 5 * 3 # x", set()),
        ("- a dash alone", set()),
        ("He is sorry. Turn right. They cannot help.", set()),
    ],
)
def test_marks_of_style_are_found_where_they_are(text: str, names: set[str]) -> None:
    assert flags(text) == names


def test_only_patterns_of_words_are_said_to_be_english() -> None:
    assert {style.name for style in STYLES if style.is_english} == {"flattery", "agreement", "apology", "refusal"}
