"""A broker with every kind of door that managed Kafka has: TLS, client certificates, logins, and rights."""

from __future__ import annotations

import base64
import json
import time

from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

from tests.integration.certificates import Authority
from tests.integration.maven_broker import MavenBroker, free_ports

PASSWORDS = {"alice": "alice-s3cret", "bob": "bob-s3cret"}

# The plain listener belongs to the tests, which may do everything.
PROPERTIES = """
listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxied_port},CONTROLLER://127.0.0.1:{controller_port},\
LOGIN://127.0.0.1:{login},TLS://127.0.0.1:{tls},MUTUAL://127.0.0.1:{mutual},TLSLOGIN://127.0.0.1:{tls_login},\
EXPIRED://127.0.0.1:{expired},ELSEWHERE://127.0.0.1:{elsewhere},SCRAMONLY://127.0.0.1:{scram_only}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxy_port},\
LOGIN://127.0.0.1:{login},TLS://127.0.0.1:{tls},MUTUAL://127.0.0.1:{mutual},TLSLOGIN://127.0.0.1:{tls_login},\
EXPIRED://127.0.0.1:{expired},ELSEWHERE://127.0.0.1:{elsewhere},SCRAMONLY://127.0.0.1:{scram_only}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT,\
TLS:SSL,MUTUAL:SSL,TLSLOGIN:SASL_SSL,EXPIRED:SSL,ELSEWHERE:SSL,SCRAMONLY:SASL_PLAINTEXT
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:alice;User:CN=alice
early.start.listeners=CONTROLLER
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
listener.name.mutual.ssl.client.auth=required
listener.name.expired.ssl.keystore.location={expired_keystore}
listener.name.elsewhere.ssl.keystore.location={elsewhere_keystore}
ssl.allow.dn.changes=true
listener.name.scramonly.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.scramonly.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
"""

LOGINS = """
listener.name.{name}.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER
listener.name.{name}.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.{name}.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.{name}.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};
listener.name.{name}.oauthbearer.sasl.jaas.config=\
org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
"""


class SecuredBroker(MavenBroker):
    """`alice` may do everything, `bob` what `allow` gives him; `authority.ca` signed all that is in order."""

    def _more_properties(self, controller_port: int) -> str:
        names = ("login", "tls", "mutual", "tls_login", "expired", "elsewhere", "scram_only")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.authority = Authority(self.folder / "certificates")
        stores = {
            "keystore": self.authority.keystore("broker"),
            "expired_keystore": self.authority.keystore("expired", days=-1),
            "elsewhere_keystore": self.authority.keystore("elsewhere", names="DNS:elsewhere.example"),
        }
        users = " ".join(f'user_{name}="{password}"' for name, password in PASSWORDS.items())
        places = {**vars(self), **self.ports, **stores, "ca": self.authority.ca, "controller_port": controller_port}
        logins = [LOGINS.format(name=name, users=users) for name in ("login", "tlslogin")]
        return PROPERTIES.format(**places) + "".join(logins)

    def _format_arguments(self) -> list[str]:
        return [
            argument
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for name, password in PASSWORDS.items()
            for argument in ("--add-scram", f"{mechanism}=[name={name},password={password}]")
        ]

    def at(self, door: str) -> str:
        """The address of a listener: login, tls, mutual, tls_login, expired, elsewhere or scram_only."""
        return f"127.0.0.1:{self.ports[door]}"

    def allow(self, kind: ResourceType, name: str, *operations: ACLOperation, user: str = "User:bob") -> None:
        """Give `bob` rights on one resource."""
        with KafkaAdminClient(bootstrap_servers=self.bootstrap) as admin:
            admin.create_acls(
                [
                    ACL(
                        principal=user,
                        host="*",
                        operation=operation,
                        permission_type=ACLPermissionType.ALLOW,
                        resource_pattern=ResourcePattern(kind, name),
                    )
                    for operation in operations
                ]
            )


def token(user: str, *, valid_s: float = 3600.0) -> str:
    """A bearer token without signature, which a broker takes that was told of no issuer."""
    parts = [{"alg": "none"}, {"sub": user, "iat": time.time() - 1, "exp": time.time() + valid_s}]
    return ".".join([base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]) + "."
