"""Encrypted connections: whom a client believes, and what it means when they fail."""

from __future__ import annotations

import os
import ssl
from typing import Union

from ovid_chat.errors import ChatError, Untrusted
from ovid_chat.model import Address

Tls = Union[ssl.SSLContext, str, "os.PathLike[str]", bool, None]
"""How connections are encrypted: by a context; by an authority's certificate, a file in PEM form; by the authorities
that this machine believes (True); or not at all."""


def context_of(tls: Tls) -> ssl.SSLContext | None:
    """The context for connections. Raises `ValueError` for a file that is of no use."""
    if tls is None or tls is False:
        return None
    if isinstance(tls, ssl.SSLContext):
        return tls
    if tls is True:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=os.fspath(tls))
    except ssl.SSLError:
        raise ValueError(f"{os.fspath(tls)} holds no certificate of an authority in PEM form") from None
    except OSError as error:
        raise ValueError(f"cannot read the authority {os.fspath(tls)}: {error.strerror}") from None


def refusal(server: Address, error: OSError) -> ChatError | None:
    """What is wrong with a server that did not come to an agreement, if another try would not help."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return None
    why = error.verify_message.rstrip(".")
    if error.verify_code in _OF_ANOTHER:
        why += "; was the right authority given (tls=, --ca)?"
    elif error.verify_code in _OF_ANOTHER_NAME:
        why += "; if it is the right server, give the name in its certificate (tls_name=, --tls-name)"
    return Untrusted(f"the certificate of {server} is not to be believed: {why}")


def trouble(error: OSError, encrypted: bool) -> str:
    """Why no connection came about, for people."""
    text = str(error) or type(error).__name__
    if encrypted and isinstance(error, (ssl.SSLError, ConnectionResetError, ConnectionAbortedError)):
        return f"{text}, while encryption was agreed on; does the server speak TLS?"
    return text


# What OpenSSL calls them: X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY and its like.
_OF_ANOTHER = (2, 7, 18, 19, 20, 21)
_OF_ANOTHER_NAME = (62, 64)
