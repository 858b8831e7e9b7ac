"""A real nginx with `deploy/nginx.conf`: other addresses, files of a test's own, and not a line else."""

import datetime as dt
import ipaddress
import os
import re
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.ports import free_port

NAME: Final = "vault.example"
_DEPLOYED: Final = Path(__file__).parents[1] / "deploy/nginx.conf"
_START_SECONDS: Final = 20.0
_AROUND: Final = """
daemon off; pid {folder}/pid; error_log {folder}/error.log;
worker_processes 1; events {{}}
http {{
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxied; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/idvault.conf;
}}
"""


class Proxy:
    """A proxy that runs."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"https://127.0.0.1:{port}"
        self.certificate = folder / "fullchain.pem"
        self.lines = folder / "idvault.log"
        """Where it logs requests."""

    def trusting(self) -> ssl.SSLContext:
        """Return a context for clients that trust this proxy's certificate and no other."""
        return ssl.create_default_context(cafile=str(self.certificate))


@contextmanager
def proxied(folder: Path, directory: str, identity: str) -> Iterator[Proxy]:
    """Run nginx before the two roles of a vault; `directory` and `identity` are their addresses, HOST:PORT."""
    folder.mkdir()
    port = free_port()
    _certify(folder)
    text = _DEPLOYED.read_text()
    for deployed, ours in (
        ("127.0.0.1:8401", directory), ("127.0.0.1:8402", identity), ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/vault.example/", f"{folder}/"), ("/var/log/nginx/", f"{folder}/"),
    ):  # fmt: skip
        assert deployed in text
        text = re.sub(rf"^([^#\n]*){re.escape(deployed)}", rf"\g<1>{ours}", text, flags=re.MULTILINE)
    (folder / "idvault.conf").write_text(text)
    (folder / "nginx.conf").write_text(_AROUND.format(folder=folder))
    user = ["-g", "user root;"] if os.geteuid() == 0 else []
    nginx = subprocess.Popen(["nginx", "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf", *user])
    try:
        proxy = Proxy(folder, port)
        _await(proxy, nginx, folder)
        yield proxy
    finally:
        nginx.send_signal(signal.SIGQUIT)
        nginx.wait(20)


def _await(proxy: Proxy, nginx: "subprocess.Popen[bytes]", folder: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while nginx.poll() is None and time.monotonic() < end:
        try:
            httpx.get(f"{proxy.url}/metrics", verify=proxy.trusting())
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError((folder / "error.log").read_text()[-1000:])


def _certify(folder: Path) -> None:
    """Write a certificate that signs itself, for the name of the example and the loopback address."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.fromtimestamp(time.time(), dt.UTC)
    names = [x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "fullchain.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    written = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "key.pem").write_bytes(written)
