"""The files that a configuration names, looked at by `check_files`."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.settings import check_files, parse_settings
from tests.settings.support import ENVIRON, with_session
from tests.support.users import ALICE

ROUTE = "routes:\n  - name: a\n    upstream: "


def check(folder: Path, text: str) -> list[str]:
    """Return the problems of a configuration in a folder, each with the folder's name taken out."""
    settings = parse_settings(with_session(text).encode(), folder / "gateway.yaml", ENVIRON)
    return [str(problem).replace(f"{folder}/", "") for problem in check_files(settings)]


def write_pair(folder: Path, name: str, passphrase: bytes = b"") -> None:
    """Write a certificate and its key, as NAME.pem and NAME-key.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    pem = serialization.Encoding.PEM
    (folder / f"{name}.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption)
    (folder / f"{name}-key.pem").write_bytes(private)


def test_a_configuration_without_files_is_well(tmp_path: Path) -> None:
    assert check(tmp_path, "listen: 127.0.0.1:0") == []
    assert list(tmp_path.iterdir()) == []


def test_a_missing_users_file_is_told_where_it_is_named(tmp_path: Path) -> None:
    assert check(tmp_path, "login:\n  local: {users: people.yaml}") == [
        "gateway.yaml:2:18: login.local.users: people.yaml: cannot be read: No such file or directory"
    ]


def test_the_users_file_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "users.yaml").write_text("users:\n  a: {password: hunter2}\n  b: {pasword: x}\n")
    found = check(tmp_path, "login: {local: {users: users.yaml}}")
    assert [line.split(": ")[:2] for line in found] == [
        ["users.yaml:2:17", "users.a.password"],
        ["users.yaml:3:6", "users.b.password"],
        ["users.yaml:3:7", "users.b.pasword"],
    ]
    entry = "".join(f"    {key}: {value!r}\n" for key, value in ALICE.entry().items() if key != "disabled")
    (tmp_path / "users.yaml").write_text(f"users:\n  alice:\n{entry}")
    assert check(tmp_path, "login: {local: {users: users.yaml}}") == []


def test_a_certificate_and_its_key_are_well(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    text = "public_url: https://a.lan\ntls: {certificate: a.pem, key: a-key.pem}\n"
    upstream = f"{ROUTE}{{url: https://b, ca: a.pem, cert: a.pem, key: a-key.pem}}"
    assert check(tmp_path, text + upstream) == []


def test_certificate_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    assert check(
        tmp_path, "tls:\n  certificate: a.pem\n  key: .\n" + ROUTE + "[http://a, {url: https://b, ca: c.pem}]"
    ) == [
        "gateway.yaml:2:16: tls.certificate: a.pem cannot be read: No such file or directory",
        f"gateway.yaml:3:8: tls.key: {tmp_path} cannot be read: Is a directory",
        "gateway.yaml:6:47: routes[0].upstream[1].ca: c.pem cannot be read: No such file or directory",
    ]


@pytest.mark.parametrize("case", ["mismatch", "text", "encrypted", "swapped"])
def test_certificate_files_that_do_not_fit_are_told(tmp_path: Path, case: str) -> None:
    write_pair(tmp_path, "a", passphrase=b"secret" if case == "encrypted" else b"")
    write_pair(tmp_path, "b")
    (tmp_path / "text.pem").write_text("hello")
    certificate, key = {
        "mismatch": ("a.pem", "b-key.pem"),
        "text": ("text.pem", "a-key.pem"),
        "encrypted": ("a.pem", "a-key.pem"),
        "swapped": ("a-key.pem", "a.pem"),
    }[case]
    expected = "is not the key of" if case == "mismatch" else "are not a certificate and its key"
    (found,) = check(tmp_path, f"tls: {{certificate: {certificate}, key: {key}}}")
    assert found.startswith("gateway.yaml:1:6: tls: ")
    assert expected in found
    (found,) = check(tmp_path, f"{ROUTE}{{url: https://b, cert: {certificate}, key: {key}}}")
    assert found.startswith(
        f"gateway.yaml:3:{len('    upstream: {url: https://b, cert: ') + 1}: routes[0].upstream.cert: "
    )
    assert expected in found


def test_authorities_that_are_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("hello")
    (found,) = check(tmp_path, f"{ROUTE}{{url: https://b, ca: ca.pem}}")
    assert found == "gateway.yaml:3:36: routes[0].upstream.ca: ca.pem holds no usable certificate (PEM)"


def test_a_state_folder_that_is_missing_is_not_made_yet(tmp_path: Path) -> None:
    assert check(tmp_path, "state_dir: a/b/c") == []
    assert not (tmp_path / "a").exists()


def test_a_state_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    assert check(tmp_path, "state_dir: a/b") == ["gateway.yaml:1:12: state_dir: a/b cannot be made: a is not a folder"]


@pytest.mark.parametrize("target", ["none/access.log", "folder.d"])
def test_a_log_file_that_cannot_be_written_is_told(tmp_path: Path, target: str) -> None:
    (tmp_path / "folder.d").mkdir()
    assert check(tmp_path, f"log: {{access: {target}, audit: ./audit.log}}") == [
        f"gateway.yaml:1:15: log.access: {target} cannot be written"
    ]
    assert not (tmp_path / "audit.log").exists()


def test_sockets_whose_path_is_too_long_or_has_no_folder_are_told(tmp_path: Path) -> None:
    room = 107 - len(os.fsencode(f"{tmp_path}/"))
    fits, long = "a" * room, "b" * (room + 1)
    text = f"listen: ['unix:{fits}', 'unix:{long}', 'unix:none/a']\n"
    text += f"{ROUTE}['unix:{long[1:]}', 'unix:c{long[1:]}', 'unix:none/b']"
    limit = "is longer than the 107 bytes that a socket's path may have"
    assert check(tmp_path, text) == [
        f"gateway.yaml:1:9: listen: {long} {limit}",
        "gateway.yaml:1:9: listen: none/a cannot be made: its folder does not exist",
        f"gateway.yaml:4:15: routes[0].upstream: c{long[1:]} {limit}",
    ]
