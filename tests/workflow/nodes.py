"""A private SLURM of two nodes on this machine, made of the one-node cluster that ``start.sh`` starts."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

NODES = ("n1", "n2")


@dataclass(frozen=True)
class Cluster:
    """Two nodes, each with a ``slurmd`` of its own; ``folder`` has their configuration, logs and sockets."""

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What commands need to find it."""
        path = f"{self.folder}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def ask(self, *command: str) -> str:
        """What a command of SLURM prints."""
        done = subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True, text=True)
        return done.stdout

    def begin(self, name: str, *command: str) -> None:
        """Start a daemon in the foreground of a session of its own."""
        with (self.folder / "log" / f"{name}.out").open("ab") as out:
            given = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out, "start_new_session": True}
            self.daemons[name] = subprocess.Popen(command, env={**os.environ, **self.environment}, **given)

    def begin_node(self, name: str) -> None:
        """Start the daemon of a node, and wait until jobs can go there."""
        self.begin(name, "slurmd", "-D", "-c", "-N", name, "-f", str(self.folder / "slurm.conf"))
        self.wait_until(name, lambda: self.state_of(name) in ("idle", "mixed", "allocated", "completing"))

    def end(self, name: str, kind: signal.Signals = signal.SIGTERM) -> None:
        """End a daemon."""
        daemon = self.daemons.pop(name)
        daemon.send_signal(kind)
        with suppress(subprocess.TimeoutExpired):
            daemon.wait(10)
        daemon.kill()
        daemon.wait()

    def lose(self, name: str) -> None:
        """Let a node die with all that runs on it, and tell the scheduler so."""
        self.end(name, signal.SIGKILL)
        self.ask("scontrol", "update", f"nodename={name}", "state=down", "reason=lost")
        for process in self.processes_on(name):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def processes_on(self, name: str) -> Iterator[int]:
        """The processes of jobs on a node."""
        wanted = {f"SLURMD_NODENAME={name}", f"SLURM_CONF={self.folder / 'slurm.conf'}"}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if wanted <= set((process / "environ").read_text(errors="replace").split("\0")):
                    yield int(process.name)

    def state_of(self, name: str) -> str:
        """The state of a node, as ``idle``."""
        return self.ask("sinfo", "--noheader", "--Node", f"--nodes={name}", "--format=%T").split("\n")[0].strip("*~#")

    def wait_until(self, name: str, holds: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait for a condition; an error as soon as the daemon of that name has ended."""
        until = time.monotonic() + seconds
        while not holds():
            if self.daemons[name].poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{name}: {(self.folder / 'log' / f'{name}.out').read_text()[-2000:]}")
            time.sleep(0.1)


@contextmanager
def two_nodes(start: Path, folder: Path) -> Iterator[Cluster]:
    """The cluster, from the start to the end of all its processes.

    ``start`` is the script that starts a cluster of one node in ``folder``, of 8 CPUs, 8 GB and 2 GPUs, as each of the
    two is to have; ``stop.sh`` beside it ends it.

    Raises
    ------
    RuntimeError  with the last words of what does not start.
    """
    cluster = Cluster(folder)
    try:
        done = subprocess.run(["bash", str(start), str(folder)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"SLURM does not start: {done.stderr.strip().splitlines()[-1]}")
        for daemon in ("slurmd", "slurmctld"):
            stop(int((folder / "run" / f"{daemon}.started").read_text()))
            (folder / "run" / f"{daemon}.started").unlink()
        configure(folder)
        cluster.begin("slurmctld", "slurmctld", "-D", "-c", "-f", str(folder / "slurm.conf"))
        cluster.wait_until("slurmctld", lambda: "UP" in cluster.ask("scontrol", "ping"))
        for name in NODES:
            cluster.begin_node(name)
        yield cluster
    finally:
        cluster.ask("scancel", "--quiet", "--user", str(os.getuid()))
        for name in [*NODES, "slurmctld"]:
            if name in cluster.daemons:
                cluster.end(name)
        for name in NODES:
            for process in cluster.processes_on(name):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        subprocess.run(["bash", str(start.with_name("stop.sh")), str(folder)], capture_output=True)


def stop(process: int) -> None:
    """End a process that is no child of this one."""
    os.kill(process, signal.SIGTERM)
    for _ in range(100):
        if not Path(f"/proc/{process}").exists():
            return
        time.sleep(0.1)
    os.kill(process, signal.SIGKILL)


def configure(folder: Path) -> None:
    """Make the configuration of one node that of two."""
    conf = folder / "slurm.conf"
    text = conf.read_text()
    (node,) = re.findall(r"^NodeName=(\S+) .*$", text, re.MULTILINE)
    lines = []
    for line in text.splitlines():
        if line.startswith("NodeName="):
            rest = line.split(" ", 1)[1]
            lines += [
                f"NodeName={n} NodeHostname={node} Port={p} {rest}" for n, p in zip(NODES, free_ports(), strict=True)
            ]
        elif line.startswith("PartitionName="):
            lines.append(line.replace(f"Nodes={node}", f"Nodes={','.join(NODES)}"))
        elif line.startswith(("SlurmdSpoolDir=", "SlurmdPidFile=", "SlurmdLogFile=")):
            lines.append(f"{line}.%n")
        else:
            lines.append(line)
    conf.write_text("\n".join(lines) + "\n")
    gres = folder / "gres.conf"
    gres.write_text(gres.read_text().replace(f"NodeName={node} ", f"NodeName={','.join(NODES)} "))
    for name in NODES:
        (folder / f"spool.{name}").mkdir()


def free_ports() -> list[int]:
    """One for each node."""
    sockets = [socket.socket() for _ in NODES]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
