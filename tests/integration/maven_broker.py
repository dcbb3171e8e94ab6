"""Apache Kafka from Maven Central as a subprocess: one node in KRaft mode, no container engine needed."""

from __future__ import annotations

import atexit
import base64
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

from kafka import KafkaAdminClient

KAFKA_VERSION = "4.1.1"
POM = Path(__file__).with_name("broker-pom.xml")
COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
FETCH_TIMEOUT_S = 600  # 50 MB: 5 s on a good line
START_TIMEOUT_S = 60  # 3 s on an idle machine

JAVA = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]

# Outside the range that the system takes ports of outgoing connections from (32768 and up on Linux): a client that
# keeps trying a port in that range while the broker is down can end up connected to itself, and hold the port.
PORTS = range(20_000, 32_000)

# The defaults for replicas are three, which one node never gathers. Timed-out transactions are looked for every
# second instead of every ten, a rebalance waits for nobody, and a broker that was killed may register again as soon as
# its former life counts as dead, 2 s instead of 9.
SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxied_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxy_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.backoff.ms=300
num.network.threads=2
num.io.threads=2
log.segment.bytes=67108864
"""

LOG4J2_PROPERTIES = """\
rootLogger.level=warn
rootLogger.appenderRef.o.ref=O
appender.o.type=Console
appender.o.name=O
appender.o.layout.type=PatternLayout
appender.o.layout.pattern=%d %p %c %m%n
"""

# The shell becomes java. What it leaves behind holds the other end of a pipe to this process, however this process
# ends: then it kills java and removes the folder. (A parent-death signal would do for kill -9 too, but it follows the
# thread that started the child, and tests restart brokers from threads.)
GUARDED = 'exec 3<&0; ( read -r _ <&3; kill -9 $$; sleep 0.5; rm -rf "$0" ) & exec "$@" 3<&- </dev/null'


class NoBroker(Exception):
    """No broker can be had in this way; the message says why, and what to install."""


class MavenBroker:
    """A broker that tests may kill and start again: same ports, same data.

    Clients that bootstrap from `proxied_bootstrap` are told of no other address: they need a proxy there, which passes
    on to `proxied_port` (`Proxy.before`).
    """

    def __init__(self) -> None:
        """Starts it. Raises `NoBroker` if there is no java, or no jars and no way to get them."""
        self._jars = kafka_jars()
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="curatord-kafka-"))
        atexit.register(self.close)
        try:
            self.port, self.proxied_port, self.proxy_port, controller_port = free_ports(4)
            self.bootstrap = f"127.0.0.1:{self.port}"
            self.proxied_bootstrap = f"127.0.0.1:{self.proxy_port}"
            properties = SERVER_PROPERTIES.format(controller_port=controller_port, **vars(self))
            properties += self._more_properties(controller_port)
            (self.folder / "server.properties").write_text(properties)
            (self.folder / "log4j2.properties").write_text(LOG4J2_PROPERTIES)
            self._format()
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> str:
        """What the broker has printed, at level WARN."""
        path = self.folder / "broker.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Returns when it answers. Raises RuntimeError, with the end of its log, if it does not."""
        assert self._process is None, "the broker is running"
        command = self._java("kafka.Kafka", str(self.folder / "server.properties"))
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", GUARDED, str(self.folder), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests, which then close it
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log_tail = self.log[-3000:]
                self.stop()
                raise RuntimeError(f"the broker did not start:\n{log_tail}")
            time.sleep(0.1)

    def stop(self) -> None:
        """kill -9. Without effect if it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        process.stdin.close()

    def restart(self) -> None:
        """kill -9, and start again on the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """kill -9, and remove its folder. May be called twice."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)

    def _more_properties(self, controller_port: int) -> str:
        """Of a special kind of broker; a property that is given twice counts as it is given last."""
        return ""

    def _format_arguments(self) -> list[str]:
        """Of a special kind of broker."""
        return []

    def _answers(self) -> bool:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", self.port)) != 0:
                return False
        with KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=1000 * START_TIMEOUT_S) as admin:
            admin.describe_cluster()
        return True

    def _format(self) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        # With "=", because an id may begin with "-".
        arguments = ["format", f"--cluster-id={cluster_id}", "-c", str(self.folder / "server.properties")]
        arguments += self._format_arguments()
        command = self._java("kafka.tools.StorageTool", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the broker's storage could not be formatted:\n{done.stdout}{done.stderr}")

    def _java(self, main: str, *arguments: str) -> list[str]:
        folder = self.folder
        places = [
            f"-Djava.io.tmpdir={folder}",  # the compression libraries unpack themselves there
            f"-Dkafka.logs.dir={folder}",
            f"-Dlog4j2.configurationFile={folder}/log4j2.properties",
        ]
        return ["java", *JAVA, *places, "-cp", f"{self._jars}/*", main, *arguments]


def kafka_jars() -> Path:
    """The folder of jars, fetched by mvn the first time. Raises `NoBroker`."""
    if shutil.which("java") is None:
        raise NoBroker("a broker from Maven Central needs java 17 or newer: install a JRE")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "curatord"
    jars = cache / f"kafka-{KAFKA_VERSION}"
    if jars.is_dir():
        return jars
    if shutil.which("mvn") is None:
        raise NoBroker(f"a broker from Maven Central needs mvn, once, to fill {jars}: install maven")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kafka-", dir=cache, ignore_cleanup_errors=True) as unfinished:
        libs = Path(unfinished) / "libs"
        command = ["mvn", "-q", "-B", "-f", str(POM), f"-Dkafka.version={KAFKA_VERSION}", COPY_DEPENDENCIES]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={libs}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise NoBroker(f"mvn did not bring Kafka's jars within {FETCH_TIMEOUT_S} s") from error
        if done.returncode != 0 or not (libs / f"kafka_2.13-{KAFKA_VERSION}.jar").exists():
            raise NoBroker(f"mvn could not bring Kafka's jars:\n{(done.stdout + done.stderr)[-2000:]}")
        with contextlib.suppress(OSError):  # another run was faster: its jars are the same
            libs.rename(jars)
    return jars


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on now, drawn at random: runs beside this one draw others."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.SystemRandom().sample(PORTS, len(PORTS)):
            attempt = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                attempt.bind(("127.0.0.1", port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise RuntimeError(f"no {count} free ports in {PORTS.start}-{PORTS.stop}")
