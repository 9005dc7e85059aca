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


def aged(token: str, keys: Path, seconds: int) -> str:
    """The same access token as if it had expired so many seconds ago, signed by the gateway's own key in `keys`."""
    header, claims = jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})
    expires = int(time.time()) - seconds
    claims.update({"iat": expires - 3600, "exp": expires})
    key = (keys / f"{header['kid']}.pem").read_bytes()
    return jwt.encode(claims, key, algorithm="ES256", headers={k: v for k, v in header.items() if k not in ("alg",)})
