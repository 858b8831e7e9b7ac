"""Writes the vectors of notes, checkpoints and tile paths: one file each, with one fault or none.

    source, claim, refused by (none, note, checkpoint or path), an empty line, then the bytes

Run it as a program; the tests check that what lies on disk is what it writes. Public ones name where they are from.
"""

# ruff: noqa: E501 - a vector is one line, however long
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "vectors"
GO_KEY: Final = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
"""The public key of the Go checksum database (go.dev/ref/mod#checksum-database)."""
NEUMANN_KEY: Final = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
"""Of the documentation of golang.org/x/mod/sumdb/note."""
_OWN: Final = "own"
_TEXT: Final = "vault.example/log/1\n5\n/hSlQm+9cMD6c/UjQq/tDaC9I8SDhmLM9riKMHDq2Xs=\n"
_LINE: Final = "— vault.example/log/1 hkWykKxJ08Qy8LE8Li2EtgnN0rKG6j4z5S3aXjfFErnv3w72D3QgYit11ljysFKSXq/Nhq4N/FVtLuhZV2A5ilVKcgs=\n"
_GOOD: Final = f"{_TEXT}\n{_LINE}"
_OTHER: Final = "— other.example/log AAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
_ROOT: Final = "/hSlQm+9cMD6c/UjQq/tDaC9I8SDhmLM9riKMHDq2Xs="
_GO: Final = (
    "go.sum database tree\n3935567\nSapHtgdNCeF00Cx8kqztePV24kgzNg++Xovae42HAMw=\n\n— sum.golang.org "
    "Az3grsm7Wm4CVNR1RHq9BFnu9jzcRlU2uw7lr0gfUWgO6+rqPNjT+fUTl9gH0NRTgdwW9nItuQSMbhSaLCsk8YeYSAs=\n"
)
_NEUMANN: Final = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
_SERA: Final = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3Zek"
    "RwNtIc=\n"
)
_SOFA: Final = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcT"
    "OAYQ8=\n— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0"
    "xUe+mbIUBkBIfZ+qnA==\n"
)


def _note(old: str, new: str) -> bytes:
    """Return the golden checkpoint with something of its signature line in another's place."""
    return f"{_TEXT}\n{_LINE.replace(old, new)}".encode()


def _checkpoint(origin: str = "vault.example/log/1", size: str = "5", root: str = _ROOT, more: str = "") -> bytes:
    return f"{origin}\n{size}\n{root}\n{more}\n{_LINE}".encode()


NOTES: Final[dict[str, tuple[str, str, str, bytes]]] = {
    "go-checksum-database": ("sum.golang.org", "a real checkpoint of the Go checksum database", "none", _GO.encode()),
    "go-note": ("golang.org/x/mod/sumdb/note", "the example of Go's own package", "no checkpoint", _NEUMANN.encode()),
    "c2sp-note": ("c2sp.org/signed-note", "an empty line within the text", "no checkpoint", _SERA.encode()),
    "c2sp-cosignature": ("c2sp.org/tlog-cosignature", "a checkpoint with a cosignature", "none", _SOFA.encode()),
    "good": (_OWN, "the golden checkpoint", "none", _GOOD.encode()),
    "unknown-extra": (_OWN, "a signature of an unknown key beside a good one", "none", f"{_GOOD}{_OTHER}".encode()),
    "extension": (_OWN, "a line beneath the root", "none", _checkpoint(more="more\n")),
    "size-zero": (_OWN, "an empty tree", "none", _checkpoint(size="0", root="47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")),
    "sixteen-signatures": (_OWN, "as many signatures as all must take", "none", f"{_GOOD}{_OTHER * 15}".encode()),
    "hundred-signatures": (_OWN, "as many as are taken", "none", f"{_GOOD}{_OTHER * 99}".encode()),
    "no-empty-line": (_OWN, "no empty line", "note", f"{_TEXT}{_LINE}".encode()),
    "no-text": (_OWN, "no text", "note", f"\n\n{_LINE}".encode()),
    "no-signature": (_OWN, "no signature", "note", f"{_TEXT}\n".encode()),
    "no-last-newline": (_OWN, "no newline at the end", "note", _GOOD[:-1].encode()),
    "empty-line-at-the-end": (_OWN, "an empty line at the end", "note", f"{_GOOD}\n".encode()),
    "carriage-returns": (_OWN, "lines that end as on Windows", "note", _GOOD.replace("\n", "\r\n").encode()),
    "control-character": (_OWN, "a tab", "note", _GOOD.replace("vault", "va\tult").encode()),
    "not-utf-8": (_OWN, "a byte that is not UTF-8", "note", _GOOD.replace("vault", "va\u00e9lt").encode("cp1252", "replace")),
    "hyphen-for-dash": (_OWN, "another dash", "note", _GOOD.replace("—", "-").encode()),
    "name-with-space": (_OWN, "a space in the name", "note", _note("/log", " log")),
    "name-with-wide-space": (_OWN, "a wide space in the name", "note", _note("/log", "\u3000log")),
    "name-with-plus": (_OWN, "a plus in the name", "note", _note("/log", "+log")),
    "no-name": (_OWN, "no name", "note", _note("vault.example/log/1", "")),
    "signature-of-key-id-alone": (_OWN, "a key id without a signature", "note", f"{_TEXT}\n— a hkWykA==\n".encode()),
    "101-signatures": (_OWN, "more signatures than are taken", "note", f"{_GOOD}{_OTHER * 100}".encode()),
    "base64-other-alphabet": (_OWN, "base64url", "note", _GOOD.replace("/FVtLuhZ", "_FVtLuhZ").encode()),
    "base64-no-padding": (_OWN, "no padding", "note", _GOOD.replace("Kcgs=", "Kcgs").encode()),
    "base64-bits-beyond": (_OWN, "bits beyond the end", "note", _GOOD.replace("Kcgs=", "Kcgt=").encode()),
    "bad-signature": (_OWN, "a known key's bad signature", "signature", _GOOD.replace("KxJ08", "KxJ09").encode()),
    "bad-beside-good": (_OWN, "one good, one bad of a known key", "signature", (_GOOD + _LINE.replace("KxJ08", "KxJ09")).encode()),
    "unknown-only": (_OWN, "signatures of unknown keys alone", "signature", f"{_TEXT}\n{_OTHER}".encode()),
    "size-leading-zeros": (_OWN, "zeros in front", "checkpoint", _checkpoint(size="007")),
    "size-negative": (_OWN, "a sign", "checkpoint", _checkpoint(size="-1")),
    "size-plus": (_OWN, "a plus sign", "checkpoint", _checkpoint(size="+5")),
    "size-too-great": (_OWN, "2^64", "checkpoint", _checkpoint(size="18446744073709551616")),
    "size-beyond-63-bits": (_OWN, "2^63", "checkpoint", _checkpoint(size="9223372036854775808")),
    "size-other-digits": (_OWN, "digits that are not ASCII", "checkpoint", _checkpoint(size="\u0665")),
    "size-empty": (_OWN, "no size", "checkpoint", _checkpoint(size="")),
    "root-of-31-bytes": (_OWN, "a root of 31 bytes", "checkpoint", _checkpoint(root="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==")),
    "root-of-33-bytes": (_OWN, "a root of 33 bytes", "checkpoint", _checkpoint(root="A" * 44)),
    "root-bits-beyond": (_OWN, "bits beyond the root", "checkpoint", _checkpoint(root=_ROOT.replace("2Xs=", "2Xt="))),
    "empty-tree-other-root": (_OWN, "no leaf and a root", "checkpoint", _checkpoint(size="0")),
    "empty-extension": (_OWN, "an empty line beneath the root", "checkpoint", _checkpoint(more="\nmore\n")),
    "no-origin": (_OWN, "no origin", "checkpoint", _checkpoint(origin="")),
    "two-lines": (_OWN, "no root", "checkpoint", f"vault.example/log/1\n5\n\n{_LINE}".encode()),
}  # fmt: skip


def written(name: str) -> bytes:
    """Return the file of a vector."""
    source, claim, refused, raw = NOTES[name]
    return f"source: {source}\nclaim: {claim}\nrefused by: {refused}\n\n".encode() + raw


if __name__ == "__main__":
    (FOLDER / "notes").mkdir(exist_ok=True)
    for one in NOTES:
        (FOLDER / "notes" / one).write_bytes(written(one))
