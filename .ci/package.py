"""Installs, runs, upgrades and purges the package in a Debian root, against the test servers.

Called by .ci/package with the project's folder and the root, in which lie first.deb and newer.deb. Runs on the Python
of the test servers, which has botocore. Each step's promise is checked; the first that does not hold ends it.
"""

import gzip
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import botocore.session

PROJECT, ROOT = map(pathlib.Path, sys.argv[1:3])
STREAM, BUCKET = "clickstream", "package-archive"
STATE = ROOT / "var/lib/kinesis-keeper/clickstream"
CONFIG = ROOT / "etc/kinesis-keeper/clickstream.toml"
ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}
started = []


def say(text):
    print(f"-- {text}", flush=True)


def hold(what, so):
    if not so:
        raise SystemExit(f"does not hold: {what}")


def wait(what, so, limit=90):
    end = time.monotonic() + limit
    while True:
        value = so()
        if value:
            return value
        hold(f"{what} within {limit} s", time.monotonic() < end)
        time.sleep(0.2)


def inside(*command, check=True):
    """Runs a command in the root; gives what it wrote."""
    done = subprocess.run(
        ["chroot", ROOT, *command], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def serve():
    """Starts Kinesis and S3 on loopback, as tests/support/servers.rs does; each ends with its standard input."""
    servers, support = PROJECT / "target/test-servers", PROJECT / "tests/support"
    kinesis, s3 = free_port(), free_port()
    log = open(ROOT.parent / "servers.log", "wb")
    ports = {"KINESIS_MOCK_PLAIN_PORT": str(kinesis), "KINESIS_MOCK_TLS_PORT": str(free_port()), "LOG_LEVEL": "WARN"}
    started.append(
        subprocess.Popen(
            ["node", "-r", support / "npm/preload.js", "main.js"],
            cwd=servers / "kinesis-local/node_modules/kinesis-local",
            env=os.environ | ports,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
    )
    ports = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(s3), "SERVICES": "s3,sns,cloudwatch", "LOG_LEVEL": "WARNING"}
    started.append(
        subprocess.Popen(
            [sys.executable, support / "python/serve.py"],
            cwd=servers / "ministack",
            env=os.environ | ports,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
    )
    return f"http://127.0.0.1:{kinesis}", f"http://127.0.0.1:{s3}"


class Aws:
    """The stream, the bucket, and what was put."""

    def __init__(self):
        self.kinesis_at, self.s3_at = serve()
        session = botocore.session.Session()
        session.set_credentials("test", "test")
        config = botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
        make = lambda name, at: session.create_client(name, "us-east-1", endpoint_url=at, config=config)
        self.kinesis, self.s3 = make("kinesis", self.kinesis_at), make("s3", self.s3_at)
        self.put_so_far = 0
        wait("Kinesis", lambda: self.answers(self.kinesis.list_streams))
        wait("S3", lambda: self.answers(self.s3.list_buckets))
        self.kinesis.create_stream(StreamName=STREAM, ShardCount=2)
        self.s3.create_bucket(Bucket=BUCKET)
        status = lambda: self.kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]["StreamStatus"]
        wait("the stream", lambda: status() == "ACTIVE")

    @staticmethod
    def answers(call):
        try:
            return call() is not None
        except Exception:
            return False

    def put(self, records):
        first = self.put_so_far
        entries = [{"Data": f"record {n}".encode(), "PartitionKey": str(n)} for n in range(first, first + records)]
        for at in range(0, records, 100):
            reply = self.kinesis.put_records(StreamName=STREAM, Records=entries[at : at + 100])
            hold("all records are put", reply["FailedRecordCount"] == 0)
        self.put_so_far += records

    def archived(self):
        payloads = []
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{STREAM}/dt=")
        for page in pages:
            for entry in page.get("Contents", []):
                body = self.s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
                payloads += [json.loads(line)["data"] for line in gzip.decompress(body).splitlines()]
        return payloads

    def wait_archived(self):
        wait(f"{self.put_so_far} records in the archive", lambda: len(self.archived()) >= self.put_so_far)
        hold(
            "each record is in the archive exactly once",
            sorted(self.archived()) == sorted(f"record {n}" for n in range(self.put_so_far)),
        )


class Keeper:
    """The program as the unit runs it: its user, its environment, its notify socket."""

    def __init__(self, aws):
        path = ROOT / "run/notify"
        path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        path.chmod(0o777)
        self.heard = ""
        self.log_path = ROOT.parent / "keeper.log"
        unit = (ROOT / "lib/systemd/system/kinesis-keeper@.service").read_text()
        command = re.search(r"^ExecStart=(.*)$", unit, re.M)[1].replace("%i", "clickstream").split()
        env = ENV | {
            "HOME": "/var/lib/kinesis-keeper",
            "NOTIFY_SOCKET": "/run/notify",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL_KINESIS": aws.kinesis_at,
            "AWS_ENDPOINT_URL_S3": aws.s3_at,
        }
        user = ["chroot", "--userspec=kinesis-keeper:kinesis-keeper", str(ROOT)]
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen([*user, *command], env=env, stdout=self.log, stderr=self.log)
        started.append(self.process)
        wait("READY=1", lambda: self.said("READY=1"))

    def said(self, line):
        try:
            while True:
                self.heard += self.socket.recv(4096).decode()
        except BlockingIOError:
            pass
        hold("the keeper runs:\n" + self.log_path.read_text()[-3000:], self.process.poll() is None)
        return line in self.heard.splitlines()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        hold("it ends with 0 after SIGTERM", self.process.wait(90) == 0)
        self.socket.close()


def configure(port, log=""):
    CONFIG.write_text(
        f'[stream]\nname = "{STREAM}"\nrefresh = "1s"\n[batch]\nmax_age = "1s"\n[archive]\nbucket = "{BUCKET}"\n'
        f'[metrics]\nhttp = ":{port}"\n{log}'
    )


def installed(aws):
    say("install")
    for tool in ("rustc", "cargo", "node", "python3"):
        hold(f"the root has no {tool}", not inside("sh", "-c", f"command -v {tool} || true"))
    inside("apt-get", "update", "-q")
    inside("apt-get", "install", "-qy", "--no-install-recommends", "/first.deb")
    for tool in ("rustc", "cargo", "node", "python3"):
        hold(f"the package brings no {tool}", not inside("sh", "-c", f"command -v {tool} || true"))
    binary = ROOT / "usr/bin/kinesis-keeper"
    size = binary.stat().st_size
    say(f"the binary has {size / 1e6:.1f} MB")
    hold("the binary is smaller than 20 MB", size < 20e6)
    hold("no demo", "demo" not in inside("kinesis-keeper", "--help"))
    entry = inside("getent", "passwd", "kinesis-keeper")
    hold("the system user", "/var/lib/kinesis-keeper:/usr/sbin/nologin" in entry)
    modes = inside("stat", "-c", "%U:%G %a", "/etc/kinesis-keeper", "/var/lib/kinesis-keeper", "/var/log/kinesis-keeper")
    hold(
        f"who may read what: {modes}",
        modes.split("\n")[:3]
        == ["root:kinesis-keeper 750", "kinesis-keeper:kinesis-keeper 750", "kinesis-keeper:kinesis-keeper 750"],
    )
    docs = ROOT / "usr/share/doc/kinesis-keeper"
    for path in (
        "examples/kinesis-keeper.toml",
        "examples/aws/policy.json",
        "examples/aws/template.yaml",
        "examples/grafana/dashboard.json",
        "examples/prometheus/alerts.yml",
        "examples/supervisor/kinesis-keeper.conf",
        "examples/rsyslog/kinesis-keeper.conf",
    ):
        hold(f"{path} is in the package", (docs / path).exists() or (docs / f"{path}.gz").exists())
    for path in (
        "usr/share/man/man1/kinesis-keeper.1.gz",
        "usr/share/man/man5/kinesis-keeper.toml.5.gz",
        "usr/share/bash-completion/completions/kinesis-keeper",
        "usr/share/zsh/vendor-completions/_kinesis-keeper",
        "usr/share/fish/vendor_completions.d/kinesis-keeper.fish",
        "usr/lib/sysusers.d/kinesis-keeper.conf",
    ):
        hold(f"{path} is in the package", (ROOT / path).exists())


def unit_holds():
    say("the unit, by systemd-analyze")
    security = ["systemd-analyze", "security", "--offline=true", f"--root={ROOT}", "--no-pager"]
    told = subprocess.run([*security, "--threshold=20", "kinesis-keeper@clickstream.service"], capture_output=True, text=True)
    print(told.stdout.strip().splitlines()[-1])
    hold("exposure is at most 2.0", told.returncode == 0)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=false", f"--root={ROOT}", "kinesis-keeper@clickstream.service"],
        capture_output=True,
        text=True,
    )
    own = [line for line in (verified.stdout + verified.stderr).splitlines() if "kinesis-keeper" in line]
    hold(f"systemd-analyze verify is silent: {own}", not own)


def upgraded(aws, keeper):
    """The upgrade's postinst asks systemd, in whose place this script stands, to restart what runs."""
    say("upgrade while it runs")
    asked = ROOT / "asked"
    # apt looks for programs in the system's folders only.
    shim = ROOT / "usr/bin/systemctl"
    shim.write_text('#!/bin/sh\necho "$@" >>/asked\n')
    shim.chmod(0o755)
    (ROOT / "run/systemd/system").mkdir(parents=True, exist_ok=True)
    defaults = ROOT / "etc/default/kinesis-keeper"
    defaults.write_text(defaults.read_text() + "AWS_REGION=eu-central-1\n")
    before = defaults.read_text(), CONFIG.read_text()
    first = inside("dpkg-query", "-W", "-f", "${Version}", "kinesis-keeper")
    aws.put(100)
    inside("apt-get", "install", "-qy", "-o", "Dpkg::Options::=--force-confold", "/newer.deb")
    hold("the higher version is installed", inside("dpkg-query", "-W", "-f", "${Version}", "kinesis-keeper") == first + "+1")
    hold("the operator's files are as they were", (defaults.read_text(), CONFIG.read_text()) == before)
    hold("it still runs", keeper.process.poll() is None)
    lines = asked.read_text().splitlines()
    hold(f"the restart is asked for: {lines}", "--no-block try-restart kinesis-keeper@*.service" in lines)
    hold(f"nothing is stopped for an upgrade: {lines}", not any(line.startswith("stop") for line in lines))
    keeper.stop()
    aws.put(100)
    keeper = Keeper(aws)
    aws.wait_archived()
    return keeper


def logged(aws):
    """A real rsyslogd gets facility, severity and identifier of each entry, and each as one line."""
    say("syslog, with a real rsyslogd")
    inside("apt-get", "install", "-qy", "--no-install-recommends", "rsyslog")
    example = "/usr/share/doc/kinesis-keeper/examples/rsyslog/kinesis-keeper.conf"
    conf = ROOT / "etc/rsyslog-test.conf"
    conf.write_text(
        'module(load="imuxsock")\n'
        'template(name="seen" type="string" string="%syslogfacility-text%.%syslogseverity-text% %programname%:%msg%\\n")\n'
        'action(type="omfile" file="/var/log/seen" template="seen")\n'
        f'include(file="{example}")\n'
    )
    inside("rsyslogd", "-N1", "-f", "/etc/rsyslog-test.conf")
    (ROOT / "dev/log").unlink(missing_ok=True)
    daemon = subprocess.Popen(["chroot", ROOT, "rsyslogd", "-n", "-i", "NONE", "-f", "/etc/rsyslog-test.conf"], env=ENV)
    started.append(daemon)
    wait("/dev/log", lambda: (ROOT / "dev/log").is_socket())
    configure(free_port(), '[log]\ntarget = "syslog"\nlevel = "debug"\n')
    keeper = Keeper(aws)
    aws.put(20)
    aws.wait_archived()
    good = CONFIG.read_text()
    CONFIG.write_text(good + "[archvie]\nbucket = 1\n[barch]\nmax_age = 7\n")
    keeper.process.send_signal(signal.SIGHUP)
    seen = ROOT / "var/log/seen"
    entries = lambda: seen.read_text().splitlines() if seen.exists() else []
    wait("the refusal", lambda: any("the new file is refused" in entry for entry in entries()))
    CONFIG.write_text(good)
    keeper.stop()
    wait("the end", lambda: any("kinesis-keeper has stopped" in entry for entry in entries()))
    severity = lambda text: {entry.split(" ")[0] for entry in entries() if text in entry}
    hold("info", severity("kinesis-keeper starts") == {"daemon.info"})
    hold("debug", severity("sealed a batch") == {"daemon.debug"})
    hold("err", severity("the new file is refused") == {"daemon.err"})
    refusals = [entry for entry in entries() if "the new file is refused" in entry]
    hold(f"a message with line feeds is one entry: {refusals}", len(refusals) == 1 and "\\n" in refusals[0])
    hold("its identifier", all(entry.split(" ")[1].startswith("kinesis-keeper:") for entry in entries() if "daemon." in entry))
    own = ROOT / "var/log/kinesis-keeper.log"
    hold("the example gives it a file of its own", "kinesis-keeper starts" in own.read_text())
    daemon.terminate()
    daemon.wait(30)


def warned(aws):
    say("syslog, a warning")
    seen = ROOT / "var/log/seen"
    before = len(seen.read_text().splitlines())
    daemon = subprocess.Popen(["chroot", ROOT, "rsyslogd", "-n", "-i", "NONE", "-f", "/etc/rsyslog-test.conf"], env=ENV)
    started.append(daemon)
    wait("/dev/log", lambda: (ROOT / "dev/log").is_socket())
    configure(free_port(), '[log]\ntarget = "syslog"\nlevel = "warn"\n')
    keeper = Keeper(aws)
    aws.kinesis.delete_stream(StreamName=STREAM)
    new = lambda: seen.read_text().splitlines()[before:]
    wait("the warning", lambda: any(entry.startswith("daemon.warning kinesis-keeper:") for entry in new()))
    keeper.stop()
    hold("no entry below the level", not any(entry.split(" ")[0] in ("daemon.info", "daemon.debug") for entry in new()))
    daemon.terminate()
    daemon.wait(30)


def purged():
    say("remove and purge")
    hold("local copies are there", any((STATE / "archive").rglob("*.gz")))
    copies = sorted(path.name for path in STATE.rglob("*.gz"))
    (ROOT / "asked").unlink()
    inside("apt-get", "remove", "-qy", "kinesis-keeper")
    hold("instances are stopped", "stop kinesis-keeper@*.service" in (ROOT / "asked").read_text().splitlines())
    hold("a removal keeps everything", CONFIG.exists() and (ROOT / "etc/default/kinesis-keeper").exists())
    told = inside("apt-get", "purge", "-qy", "kinesis-keeper")
    hold("the purge names what it keeps", "/var/lib/kinesis-keeper/clickstream holds records" in told)
    hold("no record is deleted", sorted(path.name for path in STATE.rglob("*.gz")) == copies)
    hold("the operator's file is kept", CONFIG.exists())
    hold("conffiles are gone", not (ROOT / "etc/default/kinesis-keeper").exists())
    hold("logs are gone", not (ROOT / "var/log/kinesis-keeper").exists())
    inside("apt-get", "install", "-qy", "--no-install-recommends", "/newer.deb")
    shutil.rmtree(STATE / "archive")
    spool = STATE / "spool/shardId-000000000000"
    spool.mkdir(parents=True, exist_ok=True)
    (spool / "1.ndjson.gz").write_bytes(b"sealed")
    CONFIG.unlink()
    inside("apt-get", "purge", "-qy", "kinesis-keeper")
    hold("a spool is kept", (spool / "1.ndjson.gz").read_bytes() == b"sealed")
    inside("apt-get", "install", "-qy", "--no-install-recommends", "/newer.deb")
    shutil.rmtree(spool)
    hold("positions are there", (STATE / "identity.json").exists())
    inside("apt-get", "purge", "-qy", "kinesis-keeper")
    for left in ("var/lib/kinesis-keeper", "etc/kinesis-keeper", "var/log/kinesis-keeper", "usr/bin/kinesis-keeper"):
        hold(f"{left} is gone", not (ROOT / left).exists())


def main():
    (ROOT / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (ROOT / "usr/sbin/policy-rc.d").chmod(0o755)
    shutil.copy("/etc/resolv.conf", ROOT / "etc/resolv.conf")
    aws = Aws()
    installed(aws)
    unit_holds()
    say("run")
    port = free_port()
    configure(port)
    aws.put(300)
    keeper = Keeper(aws)
    aws.wait_archived()
    if shutil.which("chromium"):
        say("the status page, in Chromium")
        subprocess.run([PROJECT / ".ci/page", f"http://127.0.0.1:{port}", ROOT.parent / "page"], check=True)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
        hold("it is healthy", answer.status == 200)
    keeper = upgraded(aws, keeper)
    keeper.stop()
    logged(aws)
    warned(aws)
    purged()


try:
    main()
finally:
    for process in started:
        if process.poll() is None:
            if process.stdin:
                process.stdin.close()
            else:
                process.kill()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
