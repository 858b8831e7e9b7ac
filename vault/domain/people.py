"""A person as registered: validated, normalised, and laid out as fields to seal."""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from vault.domain.dates import EARLIEST_BIRTH, parse_birth_date
from vault.domain.documents import Document, match_form, parse_document
from vault.domain.errors import InvalidFieldError
from vault.domain.mrz import parse_td3
from vault.domain.text import clean, clean_name, fold_name

MAX_NAME_CHARS: Final = 200
MAX_NAMES: Final = 8
SCRIPTS: Final = frozenset(
    """
    Latn Hans Hant Hani Hang Kore Jpan Hira Kana Cyrl Grek Arab Hebr Deva Thai Armn Geor Ethi Khmr Laoo Mymr Beng Taml
    Telu Gujr Guru Knda Mlym Orya Sinh Tibt Mong Thaa Syrc Cher Cans Bopo Nkoo Tfng Vaii Yiii
    """.split()
)
"""ISO 15924 codes in use for names."""
_PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}")
"""ITU-T E.164: at most 15 digits."""
_EMAIL: Final = re.compile(r"[^\s@<>\"(),:;\\\[\]]{1,64}@([A-Za-z0-9-]{1,63}\.)+[A-Za-z0-9-]{2,63}")
_MRZ_LINES: Final = 2
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))

Field = tuple[bytes, tuple[bytes, ...]]
"""(shown as canonical JSON, match forms)"""


@dataclass(frozen=True, slots=True)
class Name:
    """A further name, in its script."""

    value: str
    script: str
    match: str

    def __repr__(self) -> str:
        return "Name(…)"


@dataclass(frozen=True, slots=True)
class Identity:
    """A person's statements after validation. Its repr shows nothing."""

    legal_name: str
    legal_name_match: str
    names: tuple[Name, ...]
    birth_date: date | None
    document: Document | None
    phone: str | None
    email: str | None

    def __repr__(self) -> str:
        return "Identity(…)"


def parse_identity(raw: Mapping[str, object], pointer: str, *, today: date, specimen: bool) -> Identity:
    """Return a person from the members of a registration.

    Args:
        raw: legal_name, names, birth_date, document (fields, or a passport's two MRZ lines), phone, email.
        pointer: where `raw` stands.
        today: the day of the request.
        specimen: whether documents of ICAO's specimen state are accepted.

    Raises:
        InvalidFieldError: which member breaks which rule.
    """
    (legal_name, match), birth_date, document = _core(raw, pointer, today=today, specimen=specimen)
    if document is not None:
        birth_date = _with_number(birth_date, document, pointer, today)
    return Identity(
        legal_name=legal_name, legal_name_match=match, names=_names(raw.get("names"), f"{pointer}/names"),
        birth_date=birth_date,
        document=document, phone=_phone(raw.get("phone"), f"{pointer}/phone"),
        email=_email(raw.get("email"), f"{pointer}/email"),
    )  # fmt: skip


def _with_number(birth_date: date | None, document: Document, pointer: str, today: date) -> date | None:
    if birth_date is not None:
        if not document.birth.agrees(birth_date):
            raise InvalidFieldError(f"{pointer}/birth_date", "does not agree with the document number")
        return birth_date
    stated = document.birth.in_full()
    if stated is not None and not EARLIEST_BIRTH <= stated <= today:
        raise InvalidFieldError(f"{pointer}/document/number", "states a birth date between 1870 and today")
    return stated


def _core(
    raw: Mapping[str, object], pointer: str, *, today: date, specimen: bool
) -> tuple[tuple[str, str], date | None, Document | None]:
    """Return the name with its match form, the birth date and the document."""
    stated = raw.get("birth_date")
    birth_date = None if stated is None else parse_birth_date(stated, f"{pointer}/birth_date", today)
    name = raw.get("legal_name")
    legal_name = None if name is None else clean_name(name, f"{pointer}/legal_name", MAX_NAME_CHARS)
    given = raw.get("document")
    document: Document | None = None
    if isinstance(given, Mapping) and "mrz" in given:
        if given.get("type") != "passport":
            raise InvalidFieldError(f"{pointer}/document/type", "passport, where mrz is given")
        lines, where = given["mrz"], f"{pointer}/document/mrz"
        if not isinstance(lines, list) or len(lines) != _MRZ_LINES:
            raise InvalidFieldError(where, "two lines")
        mrz = parse_td3(lines[0], lines[1], where, today=today, specimen=specimen)
        if birth_date not in {None, mrz.birth_date}:
            raise InvalidFieldError(f"{pointer}/birth_date", "does not agree with the machine-readable zone")
        document, birth_date = mrz.document, mrz.birth_date
        legal_name = legal_name or (mrz.legal_name, fold_name(mrz.legal_name))
    elif isinstance(given, Mapping):
        document = parse_document(given, f"{pointer}/document", today=today, specimen=specimen)
    elif given is not None:
        raise InvalidFieldError(f"{pointer}/document", "an object")
    if legal_name is None:
        raise InvalidFieldError(f"{pointer}/legal_name", "required")
    return legal_name, birth_date, document


def _names(raw: object, pointer: str) -> tuple[Name, ...]:
    if raw is None:
        return ()
    if not isinstance(raw, list) or len(raw) > MAX_NAMES:
        raise InvalidFieldError(pointer, f"a list of at most {MAX_NAMES} names")
    names = []
    for at, entry in enumerate(raw):
        if not isinstance(entry, Mapping):
            raise InvalidFieldError(f"{pointer}/{at}", "an object with value and script")
        script = entry.get("script")
        if not isinstance(script, str) or script not in SCRIPTS:
            raise InvalidFieldError(f"{pointer}/{at}/script", "a script code of ISO 15924, such as Latn or Hans")
        value, match = clean_name(entry.get("value"), f"{pointer}/{at}/value", MAX_NAME_CHARS)
        names.append(Name(value, script, match))
    return tuple(names)


def _phone(raw: object, pointer: str) -> str | None:
    if raw is None:
        return None
    number = "".join(char for char in clean(raw, pointer, 40) if char not in " -().")
    if not _PHONE.fullmatch(number):
        raise InvalidFieldError(pointer, "a phone number in the form +46700000000 (E.164)")
    return number


def _email(raw: object, pointer: str) -> str | None:
    if raw is None:
        return None
    address = clean(raw, pointer, 254)
    if not _EMAIL.fullmatch(address) or any(unicodedata.category(char) == "Cf" for char in address):
        raise InvalidFieldError(pointer, "an e-mail address")
    local, _, domain = address.rpartition("@")
    return f"{local}@{domain.lower()}"


def fields(identity: Identity) -> dict[str, Field]:
    """Return the fields to seal: what is shown, as canonical JSON, and what tags are made of."""
    found: dict[str, Field] = {"legal_name": (_json(identity.legal_name), (identity.legal_name_match.encode(),))}
    if identity.names:
        shown = [{"script": name.script, "value": name.value} for name in identity.names]
        found["names"] = _json(shown), tuple(name.match.encode() for name in identity.names)
    if identity.birth_date is not None:
        found["birth_date"] = _json(identity.birth_date.isoformat()), (identity.birth_date.isoformat().encode(),)
    if identity.document is not None:
        found["document"] = _document(identity.document)
    for name, value in (("phone", identity.phone), ("email", identity.email)):
        if value is not None:
            found[name] = _json(value), ()
    return found


def _document(document: Document) -> Field:
    shown = {"type": document.type, "country": document.country, "number": document.number}
    if document.expires is not None:
        shown["expires"] = document.expires.isoformat()
    parts = (part.encode() for part in match_form(document))
    return _json(shown), (b"".join(len(part).to_bytes(4, "big") + part for part in parts),)


def _json(value: object) -> bytes:
    return _ENCODER.encode(value).encode()
