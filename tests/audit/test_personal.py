"""Personal data in texts: each kind by hand with what only looks like it, and redaction that leaves nothing to find."""

from __future__ import annotations

import base64
import json

import polars as pl
import pytest

from feedback.personal import KINDS, find_personal, presidio_names, redact_texts
from feedback.personal.find import FINDS
from schemas.errors import UnknownChoiceError


def found(text: str, **options: object) -> list[tuple[str, str]]:
    """Kind and words of every find."""
    finds = find_personal(pl.Series([text]), **options)  # type: ignore[arg-type]
    return [(kind, text[start:end]) for _, kind, start, end in finds.iter_rows()]


def jwt(header: object) -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, {"a": 1}))
    return ".".join((*parts, "c2ln"))


PRIVATE_KEY = (
    "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA0Z3VS5JJcds3xfn\n" * 3 + "-----END RSA PRIVATE KEY-----"
)
TOKEN = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"

PLANTED = [
    ("email", "ann.lee@site.example"),
    ("email", "o'neil+news@mail.co.uk"),
    ("email", "jürgen@münchen.example"),
    ("email", "Ann_99%x@SUB-domain.ORG"),
    ("phone", "+49 30 901820"),
    ("phone", "+442079460958"),
    ("phone", "+1 (212) 736-5000"),
    ("phone", "(212) 736-5000"),
    ("phone", "555-867-5309"),
    ("phone", "+33 1 42 68 53 00"),
    ("phone", "01 42 68 53 00"),
    ("phone", "0151 23456789"),
    ("phone", "020 7946 0958"),
    ("phone", "+91 98765 43210"),
    ("phone", "+86 138 0013 8000"),
    ("phone", "+81 3-1234-5678"),
    ("phone", "+55 11 91234-5678"),
    ("phone", "+7 495 739-70-00"),
    ("phone", "+٩٧١ ٥٠ ١٢٣ ٤٥٦٧"),
    ("card", "4111 1111 1111 1111"),
    ("card", "4111-1111-1111-1111"),
    ("card", "5555555555554444"),
    ("card", "3782 822463 10005"),
    ("card", "6011000990139424"),
    ("card", "3530 1113 3330 0000"),
    ("card", "30569309025904"),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("iban", "DE89370400440532013000"),
    ("iban", "GB82 WEST 1234 5698 7654 32"),
    ("iban", "FR14 2004 1010 0505 0001 3M02 606"),
    ("iban", "NL91ABNA0417164300"),
    ("iban", "ES91 2100 0418 4502 0005 1332"),
    ("iban", "no93 8601 1117 947"),
    ("iban", "MT84 MALT 0110 0001 2345 MTLC AST0 01S"),
    ("ip", "203.0.113.9"),
    ("ip", "192.168.1.77"),
    ("ip", "10.0.0.5"),
    ("ip", "2001:db8:85a3::8a2e:370:7334"),
    ("ip", "fe80:0:0:0:204:61ff:fe9d:f156"),
    ("ip", "::ffff:198.51.100.7"),
    ("key", "sk-proj-" + TOKEN),
    ("key", "sk-ant-api03-" + TOKEN),
    ("key", "ghp_" + TOKEN),
    ("key", "github_pat_11ABCDEFG0" + TOKEN),
    ("key", "AKIAIOSFODNN7EXAMPLE"),
    ("key", "xoxb-123456789012-abcdefABCDEF123456"),
    ("key", "AIza" + "SyD4e5F6g7H8i9J0k1L2m3N4o5P6q7R8xyz"),
    ("key", "hf_" + TOKEN),
    ("key", "glpat-x1y2z3X4Y5Z6abcdefgh"),
    ("key", "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"),
    ("key", PRIVATE_KEY),
    ("key", jwt({"alg": "HS256"})),
]

DIALLED = [
    "0049 30 901820",
    "0049 (0)30 901820",
    "0049-30-901820",
    "0033 1 42 68 53 00",
    "0044 20 7946 0958",
    "00 39 06 6982 1234",
    "00 (49) 30 901820",
    "(0049) 30 901820",
    "(00)49 30 901820",
    "0091 9876543210",
    "001 415 555 2671",
    "011 49 30 901820",
    "01144 20 7946 0958",
    "٠٠٩٧١ ٥٠ ١٢٣ ٤٥٦٧",
    "1 (415) 555-2671",
    "1-415-555-2671",
    "1 415 555 2671",
    "1(415)555-2671",
    "+1 415 555 2671",
    "(415) 5552671",
    "415 555 2671",
    "415.555.2671",
]

ALIKE = [
    "logo@2x.png, lodash@4.17.21, @app.route('/x'), @ann, a @ b, ann@localhost, x@.com, git@github.com:ann/repo.git",
    "a..b@site.example and a@-site.example",
    "order 4111111111111112 and 4111 1111 1111 1112 fail Luhn's check",
    "ISBN 978-3-16-148410-0, 9783161484100, EAN 4006381333931",
    "0000 0000 0000 0000, 4444 44444444 4444 in groups that no card has",
    "0.4111111111111111 and 4111111111111111.5 are numbers, a4111111111111111 an id",
    "time 1767606699123456, 1767606699, 1767606699123",
    "DE89 3704 0044 0532 0130 01 has another remainder, XX89 3704 0044 0532 0130 00 no country",
    "550e8400-e29b-41d4-a716-446655440000, 12345678-1234-4234-8234-123456789012",
    "d41d8cd98f00b204e9800998ecf8427e, e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "2026-01-05 10:30:00, 2026-01-05T10:30:00Z, 05.01.2026, 1/5/2026, 2026/01/05 08, 20260105",
    "version 10.2.3.4, v120.0.6099.71, Chrome/120.0.6099.71, numpy==1.26.14.2, section 2.13.41.5, 1.2.3.4, 2.0.11.1",
    "127.0.0.1, 0.0.0.0, 255.255.255.0, 224.0.0.1, 10.0.0.0/8, 192.168.0.0, 300.1.2.3, 1.2.3.4.5, 203.0.113.0/24",
    "12:30:45, 00:1A:2B:3C:4D:5E, std::vector, a::b, dead::beef, ::1, ::, fe80::1",
    "3.14159265358979, 1,234,567.89, 100 000 000, 10 20 30 40 50, 1 2 3 4 5 6 7 8, 2127365000, order 123-456-789",
    "sk-how-to-choose-a-good-password, sk-2024-annual-report-and-summary, AKIA, hf_hub_download, ghp_short",
    "eyJhbGciOiJIUzI1NiJ9 alone, " + jwt({"no": "algorithm"}),
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n-----END PUBLIC KEY-----",
    "for (i = 0; i < 1000000; i++) { x[i] = 0xDEADBEEF; } // 80 columns, 1.5e-10, #ff8800, $1,000,000.00",
    "SSN-like 123-45-6789, postcode 90210-1234, score 3-2-1, ratio 16:9, 1999-2004, pages 1234-5678",
    "The image has width 1920 2073600 px, 1475 2175625, 1440 2560000, 415 5552671, 120.1 1415 2002225",
    "order 00493090182, 00442079460958, 004930901820, id 0000493090182, 12004930901820, order 0049 30901820",
    "0000 0049 3090 1820, 0044 0045 0046 0047, 0020 1234 5678, 001 2127365000, 001 415 5552671, 007 4957397000",
    "00-12-31 10:30, 00.01.2026 12 30 45, 12:00 49 30 901820, 00-49-30-90-18-20, 00 49 30 90 18 20, 00:49:30:90:18:20",
    "0x0049 30 901820, ff 00 49 30 90 18 2f, 0.0049 30 901820, 0049 30 901820abc, 12-0049-30-901820, 1 000 49 30 90 18",
    "",
    "[EMAIL] [PHONE] [CARD] [IBAN] [IP] [KEY] [NAME]",
]


@pytest.mark.parametrize(("kind", "value"), PLANTED)
def test_every_kind_is_found_whole_and_alone(kind: str, value: str) -> None:
    assert found(value) == [(kind, value)]
    assert found(f"Write to ({value}), please.\nThanks") == [(kind, value)]


@pytest.mark.parametrize("value", DIALLED)
def test_telephones_are_found_behind_00_and_in_american_groups(value: str) -> None:
    assert found(value) == [("phone", value)]
    assert found(f"Write to ({value}), please.\nThanks") == [("phone", value)]
    assert redact_texts(pl.Series([f"At {value}."])).to_list() == ["At [PHONE]."]


@pytest.mark.parametrize("before", ["> ", ">", "> > ", "ok\n> ", "host -> ", "<td>", '<a href="x">', "<", "a\n>"])
def test_a_quoted_line_and_a_tag_hide_no_address(before: str) -> None:
    """`>` says that a version is meant only where the name of what has the version stands before it."""
    assert found(f"{before}203.0.113.9") != []


@pytest.mark.parametrize("before", ["numpy>", "numpy > ", "(numpy<", "needs numpy>=", "~", "^", ">= ", "torch ~= "])
def test_a_version_that_is_asked_for_is_no_address(before: str) -> None:
    assert found(f"{before}203.0.113.9") == []


@pytest.mark.parametrize("before", ["v", "V", "the next version", "numpy==", "numpy>", "numpy <"])
def test_a_line_that_ends_as_before_a_version_hides_no_address(before: str) -> None:
    assert found(f"{before}\n203.0.113.9") == [("ip", "203.0.113.9")]
    assert found(f"{before}203.0.113.9" if before != "the next version" else f"{before} 203.0.113.9") == []


@pytest.mark.parametrize("text", ALIKE)
def test_what_only_looks_alike_is_left(text: str) -> None:
    assert found(text) == []


def test_ten_digits_alone_are_a_telephone_only_behind_a_word_that_says_so() -> None:
    assert found("phone: 2127365000") == [("phone", "2127365000")]
    assert found("order: 2127365000") == []
    assert found("tel 004930901820, order 004930901820") == [("phone", "004930901820")]
    assert found("phone: 1415 5552671") == [("phone", "1415 5552671")]


def test_a_counter_and_its_square_are_no_telephone() -> None:
    """1800 3240000 and 1860 3459600 are: numbers of India that cost nothing to call are written so."""
    texts = pl.Series([f"answer variant {i} {i * i}" for i in range(2000)])
    assert find_personal(texts)["row"].to_list() == [1800, 1860]


def test_011_stands_for_a_plus_only_where_americans_write_and_the_number_is_longer_than_those_of_delhi() -> None:
    assert found("011 49 30 901820", phone_regions=("DE",)) == []
    assert found("011 4930 9018", phone_regions=("US",)) == []
    assert found("0049 30 901820", phone_regions=()) == [("phone", "0049 30 901820")]


def test_national_numbers_are_those_of_the_named_regions() -> None:
    assert found("(11) 91234-5678") == []
    assert found("(11) 91234-5678", phone_regions=("BR",)) == [("phone", "(11) 91234-5678")]
    assert found("01 42 68 53 00", phone_regions=()) == []
    assert found("+33 1 42 68 53 00", phone_regions=()) == [("phone", "+33 1 42 68 53 00")]
    with pytest.raises(UnknownChoiceError, match="unknown region of telephone numbers: got 'XX'"):
        find_personal(pl.Series(["x"]), phone_regions=("XX",))


@pytest.mark.parametrize(
    ("text", "finds"),
    [
        ("(212) 736-5000 (646) 555-1234", ["(212) 736-5000", "(646) 555-1234"]),
        ("212-736-5000 / 646-555-1234", ["212-736-5000", "646-555-1234"]),
        ("030 901820 / 030 901821", ["030 901820", "030 901821"]),
        ("2. (212) 736-5000", ["(212) 736-5000"]),
        ("2. 030 901820", ["030 901820"]),
        ("2026-01-05 212-736-5000", ["212-736-5000"]),
        ("2026-01-05 030 901820", ["030 901820"]),
        ("1-800-555-0199", ["1-800-555-0199"]),
        ("+49 30 901820, +49 30 901821", ["+49 30 901820", "+49 30 901821"]),
        ("0049 30 901820 0049 30 901821", ["0049 30 901820", "0049 30 901821"]),
        ("030 901820 / 0049 30 901821", ["030 901820", "0049 30 901821"]),
        ("+49 30 901820 / 0049 30 901821", ["+49 30 901820", "0049 30 901821"]),
        ("2. 00 49 30 901820", ["00 49 30 901820"]),
        ("2026-01-05 0049 30 901820", ["0049 30 901820"]),
        ("Call 0049 30 901820 x12", ["0049 30 901820 x12"]),
        ("tel:0049 171/1234567.", ["0049 171/1234567"]),
    ],
)
def test_numbers_stand_beside_each_other_and_behind_dates_and_places_of_a_list(text: str, finds: list[str]) -> None:
    assert found(text) == [("phone", find) for find in finds]


@pytest.mark.parametrize(
    "text",
    ["4111 1111 1111 1111 12/27", "4111 1111 1111 1111 123", "no. 7 4111 1111 1111 1111", "12-27 4111-1111-1111-1111"],
)
def test_a_card_is_found_beside_its_date_and_its_code(text: str) -> None:
    ((kind, value),) = found(text)
    assert kind == "card"
    assert value.replace("-", " ") == "4111 1111 1111 1111"


def test_small_numbers_are_an_address_where_the_words_say_so() -> None:
    assert found("my IP is 1.2.3.4") == [("ip", "1.2.3.4")]
    assert found("http://1.2.3.4:80/x") == [("ip", "1.2.3.4")]


def test_several_finds_come_in_the_order_of_the_text_and_never_overlap() -> None:
    text = "a@b.example, +49 30 901820; 203.0.113.9 4111111111111111@shop.example"
    assert found(text) == [
        ("email", "a@b.example"),
        ("phone", "+49 30 901820"),
        ("ip", "203.0.113.9"),
        ("email", "4111111111111111@shop.example"),
    ]


def test_places_are_characters_and_nulls_have_none() -> None:
    finds = find_personal(pl.Series([None, "😀é a@b.example", "nothing"]))
    assert finds.rows() == [(1, "email", 3, 14)]
    assert finds.schema == FINDS
    assert find_personal(pl.Series([], dtype=pl.String)).height == 0


def test_a_private_key_that_was_cut_off_is_found_to_its_last_line() -> None:
    text = PRIVATE_KEY.rsplit("\n", 1)[0]
    assert found(text + "\n\nWhat is wrong with it?") == [("key", text)]


def test_in_a_long_column_the_same_is_found_as_in_each_text_alone() -> None:
    """Of many texts most are passed by for the digits and signs that they lack."""
    lone = [f"{before}{value}" for _, value in PLANTED for before in ("", "see ", "1. one 2. two: ")]
    texts = pl.Series([*lone, None, "", "nothing", "7", "١٢٣", *(["no digit here"] * 1000)])
    alone = pl.concat(
        [find_personal(texts[row : row + 1]).with_columns(row=pl.lit(row, pl.UInt32)) for row in range(len(lone) + 5)]
    )
    assert len({kind for _, kind, _, _ in alone.iter_rows()}) == len(KINDS) - 1
    assert find_personal(texts).equals(alone)


def test_addresses_are_found_wherever_they_stand_in_a_long_column() -> None:
    """Signs are counted in pieces of 128 bytes, and two colons may lie on either side of an edge."""
    addresses = ("2001:db8::8a2e", "2001:db8:1:2:3:4:5:6")
    texts = [f"{'x' * size} {address}" for size in range(110, 140) for address in addresses]
    finds = find_personal(pl.Series([*texts, *(["12:30: no address"] * 1000)]))
    assert finds["row"].to_list() == list(range(len(texts)))
    assert finds["kind"].unique().to_list() == ["ip"]


def test_hostile_texts_take_no_quadratic_time() -> None:
    """Each would take minutes where a pattern goes back over what it has read."""
    long = 40_000
    runs = (
        "a",
        "a.",
        "@",
        "1 ",
        "a@b-",
        "DE12",
        ":",
        "'",
        "+1",
        "1.",
        "-----BEGIN PRIVATE KEY-----",
        "A ",
        "eyJ.",
        "0049 ",
        "(00",
        "212-736-5000 ",
    )
    begins = ("", "a@", "+", "-----BEGIN PRIVATE KEY-----", "+1 ")
    for text in (begin + run * (long // len(run)) for run in runs for begin in begins):
        find_personal(pl.Series([text]))


# --- names --------------------------------------------------------------------------------------------------------


class Analyzer:
    """Stands for Presidio: every "Ann" is a person, with a score; and it says so out of order."""

    def analyze(self, *, text: str, language: str, entities: list[str], score_threshold: float) -> list[object]:
        assert (language, entities, score_threshold) == ("en", ["PERSON"], 0.5)
        starts = [place for place in range(len(text)) if text.startswith("Ann", place)]
        return [type("Result", (), {"start": start, "end": start + 3})() for start in reversed(starts)]


def test_names_are_found_by_a_model_that_is_given_and_by_nothing_else() -> None:
    names = presidio_names(Analyzer())
    assert found("Ann met Ann at Ann@site.example", names=names) == [
        ("name", "Ann"),
        ("name", "Ann"),
        ("email", "Ann@site.example"),
    ]
    texts = pl.Series(["Ann is here", None, "nobody"])
    assert redact_texts(texts, names=names).to_list() == ["[NAME] is here", None, "nobody"]
    assert found("Ann is here") == []


def test_presidio_itself_is_asked_for_names_where_it_is_installed() -> None:
    """Over a spaCy pipeline that knows one name by rule, since a language model is not ours to download."""
    presidio = pytest.importorskip("presidio_analyzer", reason="the extra `pii` is not installed")
    spacy = pytest.importorskip("spacy")
    from presidio_analyzer.nlp_engine import SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer

    engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "by rule"}])
    engine.nlp = {"en": spacy.blank("en")}
    engine.nlp["en"].add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Ann Lee"}])
    registry = presidio.RecognizerRegistry(recognizers=[SpacyRecognizer()], supported_languages=["en"])
    analyzer = presidio.AnalyzerEngine(nlp_engine=engine, registry=registry, supported_languages=["en"])
    texts = pl.Series(["Ann Lee wrote to ann@site.example.", None, "Nobody."])
    redacted = redact_texts(texts, names=presidio_names(analyzer))
    assert redacted.to_list() == ["[NAME] wrote to [EMAIL].", None, "Nobody."]


def test_every_kind_has_a_name_in_words_and_a_test_that_plants_it() -> None:
    assert list(KINDS) == ["key", "email", "iban", "card", "ip", "phone", "name"]
    assert {kind for kind, _ in PLANTED} == set(KINDS) - {"name"}
