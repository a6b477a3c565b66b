"""Certificates of their own for servers under test."""

import subprocess


def make_certificate(folder, name="localhost"):
    """Write a certificate for this machine and its key; return both files."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    names = ("-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    subprocess.run(
        [
            *("openssl", "req", "-x509", *curve, "-days", "1", *names),
            *("-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key
