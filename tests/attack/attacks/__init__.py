"""The attacks, by what they abuse. Importing this package registers all of them."""
from . import application, connections, http1, http2, http2_floods, smuggling, tls  # noqa: F401
