"""TLS in front of a server that has none: a relay that ends it, with certificates made for the occasion.

The servers of the local stack speak no TLS. What is to be tested is the client: whether it insists on a
certificate that a trusted root has signed for the host it asked for.
"""

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_SSL_REQUEST = bytes([0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x2F])  # how a PostgreSQL client asks for TLS


class Authority:
    """A root of trust, written to ``root``."""

    def __init__(self, folder, name="root"):
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = self._sign(self._name, self._key, x509.BasicConstraints(True, None), critical=True)
        self.root = folder / f"{name}.pem"
        self.root.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, host, *, expired=False):
        """A server's side of TLS, with a certificate for one host name or address."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            name = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            name = x509.DNSName(host)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        certificate = self._sign(subject, key, x509.SubjectAlternativeName([name]), expired=expired)
        chain = self._folder / f"{host}{'-expired' if expired else ''}.pem"
        chain.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context

    def _sign(self, subject, key, extension, *, critical=False, expired=False):
        now = datetime.datetime.now(datetime.UTC)
        until = now + datetime.timedelta(days=-1 if expired else 1)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=2))
            .not_valid_after(until)
            .add_extension(extension, critical=critical)
            .sign(self._key, hashes.SHA256())
        )


class Relay:
    """Passes what it hears on to a server; ``connections`` counts those that got through TLS.

    Args:
        port: the server's.
        context: the certificate to show; None passes everything on as it is.
        postgres: whether the client asks for TLS first, as PostgreSQL's do.
        mute: accept, and never answer.
    """

    def __init__(self, port, context=None, *, postgres=False, mute=False):
        self._upstream, self._context, self._postgres, self._mute = port, context, postgres, mute
        self._open = []
        self.connections = 0

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.close()
        self.drop()

    def drop(self):
        """Cut every connection, as a failover does."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                if not self._mute:
                    threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            if self._context:
                if self._postgres:
                    if client.recv(len(_SSL_REQUEST)) != _SSL_REQUEST:
                        client.close()
                        return
                    client.sendall(b"S")
                client = self._context.wrap_socket(client, server_side=True)
                self._open.append(client)
            stack.callback(client.close)
            server = stack.enter_context(socket.create_connection(("127.0.0.1", self._upstream)))
            self._open.append(server)
            self.connections += 1
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            back.join()


def _pump(source, target):
    with contextlib.suppress(OSError, ValueError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
