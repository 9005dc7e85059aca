"""An issuer of its own, as probes and partners have: its tokens need no account."""
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Issuer:
    def __init__(self, folder: Path, name: str = "https://issuer.test"):
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.keys = folder / "issuer"
        self.keys.mkdir(parents=True)
        (self.keys / "k1.pem").write_bytes(self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))

    def settings(self) -> dict:
        return {"issuer": self.name, "audience": "chat", "keys": str(self.keys)}

    def token(self, user: str = "00000000-0000-4000-8000-000000000001", **claims) -> str:
        now = int(time.time())
        body = {"iss": self.name, "aud": "chat", "sub": user, "iat": now, "exp": now + 3600, **claims}
        return jwt.encode(body, self.key, algorithm="ES256", headers={"kid": "k1"})
