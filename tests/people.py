"""Specimen people: ICAO's specimen holder, and invented ones with valid numbers."""

from typing import Any

MRZ = ["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"]
ANNA: dict[str, Any] = {
    "legal_name": "ANNA MARIA ERIKSSON",
    "birth_date": "1974-08-12",
    "document": {"type": "passport", "country": "UTO", "number": "L898902C3", "expires": "2031-04-15"},
}
ANNA_BY_MRZ: dict[str, Any] = {"document": {"type": "passport", "mrz": MRZ}}
WEI: dict[str, Any] = {
    "legal_name": "张伟",
    "names": [{"value": "ZHANG WEI", "script": "Latn"}],
    "birth_date": "1949-12-31",
    "document": {"type": "national_id", "country": "CHN", "number": "11010519491231002X"},
}
WEI_BY_PASSPORT: dict[str, Any] = {
    "legal_name": "Zhang Wei",
    "birth_date": "1949-12-31",
    "document": {"type": "passport", "country": "CHN", "number": "E12345678"},
}


def person(number: int) -> dict[str, Any]:
    """Return one of many specimen people, each with a name and a passport of its own."""
    letters = "".join(chr(65 + number // 26**power % 26) for power in range(5))
    return {
        "legal_name": f"SPECIMEN {letters}",
        "birth_date": f"19{number % 90 + 10}-0{number % 9 + 1}-1{number % 9}",
        "document": {"type": "passport", "country": "UTO", "number": f"S{number:08d}"},
    }
