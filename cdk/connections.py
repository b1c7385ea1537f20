"""Connections to the database and Redis of another CDK app, from its own constructs."""

from aws_cdk import Token
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager

from .sections import SHIPPED_ROOTS, Database, Redis


def database_by_secret(
    secret: secretsmanager.ISecret,
    *,
    host: str,
    name: str,
    port: float | str = 5432,
    ssl_root_cert: str = SHIPPED_ROOTS,
) -> Database:
    """Sign in with a secret in RDS's JSON form (``username``, ``password``).

    :param secret: the secret; its key is used too, if it is a customer's own.
    :param host: host name of the server, of RDS Proxy, or of a pooler with a session for each client.
    :param name: name of the database.
    :param port: TCP port.
    :param ssl_root_cert: the roots that the server is verified against: the shipped ones of RDS, or the path of a PEM
        file, with a slash. China and GovCloud have roots of their own.
    """
    return Database(
        host=host,
        name=name,
        port=_port(port),
        secret_arn=_arn(secret),
        secret_key_arn=secret.encryption_key.key_arn if secret.encryption_key else None,
        ssl_root_cert=ssl_root_cert,
    )


def database_by_iam(
    endpoint: rds.Endpoint, *, resource_id: str, name: str, user: str, ssl_root_cert: str = SHIPPED_ROOTS
) -> Database:
    """Sign in with IAM authentication, which must be enabled for the database.

    :param endpoint: endpoint of the instance, the cluster or the proxy.
    :param resource_id: ``instance_resource_id`` or ``cluster_resource_identifier``; for RDS Proxy the last
        part of its ARN.
    :param name: name of the database.
    :param user: the database user, a member of ``rds_iam``.
    :param ssl_root_cert: as for `database_by_secret`.
    """
    return Database(
        host=endpoint.hostname,
        name=name,
        port=_port(endpoint.port),
        user=user,
        iam_resource_id=resource_id,
        ssl_root_cert=ssl_root_cert,
    )


def redis_at(
    host: str,
    *,
    port: float | str = 6379,
    database: int = 0,
    secret: secretsmanager.ISecret | None = None,
    tls: bool = True,
    ssl_root_cert: str | None = None,
) -> Redis:
    """Connect to one Redis or Valkey.

    :param host: host name of the primary.
    :param port: TCP port.
    :param database: number of the database.
    :param secret: secret with the auth token, or with ``username`` and ``password``.
    :param tls: whether to connect by TLS.
    :param ssl_root_cert: path of a PEM file with the roots that the server is verified against, with a slash.
        Default: the public roots, which ElastiCache's certificates are of.
    """
    return Redis(
        url=f"{'rediss' if tls else 'redis'}://{host}:{_port(port)}/{database}",
        secret_arn=_arn(secret) if secret else None,
        secret_key_arn=secret.encryption_key.key_arn if secret and secret.encryption_key else None,
        ssl_root_cert=ssl_root_cert,
    )


def _port(port: float | str) -> int:
    """Return the port; one that is only known when the stack is deployed is text for pydantic and JSON."""
    return Token.as_string(port) if Token.is_unresolved(port) else port  # type: ignore[return-value]


def _arn(secret: secretsmanager.ISecret) -> str:
    """Return the complete ARN: a policy needs the six characters that Secrets Manager puts behind the name."""
    if secret.secret_full_arn is None:
        raise ValueError("the secret must be known by its complete ARN, not by its name")
    return secret.secret_full_arn
