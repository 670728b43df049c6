"""The files of a private SLURM: its configuration, and the shims in front of its commands."""

from __future__ import annotations

import getpass
import os
import random
import shlex
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

NODES = ("n1", "n2")
COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "srun", "sacctmgr", "sinfo")
PACKAGES = {
    "munged": "munge",
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
} | dict.fromkeys(COMMANDS, "slurm-wlm")
_ACCOUNTING_ONLY = {"slurmdbd", "mariadbd", "mariadb-install-db"}
_SYSTEM = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

# `cred_expire` is also how long SLURM waits before it starts a requeued job (120 s by default).
_SLURM = """\
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=20
CredType=cred/munge
SlurmctldPort={slurmctld}
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmdSpoolDir={folder}/spool/%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=1000
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5
KillWait=10
SlurmdTimeout=20
InactiveLimit=0
{accounting}{settings}{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=60 PriorityTier=5 PreemptMode=OFF State=UP
PartitionName=low Nodes=ALL MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE GraceTime=0 State=UP
PartitionName=lenient Nodes=ALL MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE GraceTime=40 State=UP
PartitionName=high Nodes=ALL MaxTime=60 PriorityTier=10 PreemptMode=OFF State=UP
"""
_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={slurmdbd}
AccountingStoragePass={folder}/munge.sock
AccountingStorageTRES=gres/gpu
"""
_DATABASE_DAEMON = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
DbdHost=localhost
DbdPort={slurmdbd}
SlurmUser={user}
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadb}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
"""
_DATABASE_USERS = """\
create database if not exists slurm;
create user if not exists 'slurm'@'127.0.0.1' identified by 'slurm';
create user if not exists 'slurm'@'localhost' identified by 'slurm';
grant all on slurm.* to 'slurm'@'127.0.0.1';
grant all on slurm.* to 'slurm'@'localhost';
"""
# Each call is noted in one line; a file fail_<command> holds what it says instead of answering, slow_<command> the seconds
# that it waits first (in slices, so that a killed one leaves no sleeper behind).
_SHIM = """\
#!/bin/sh
line=$(printf '%s ' {name} "$@" | tr '\\n' ' ')
printf '%s\\n' "${{line% }}" >> {folder}/calls.log
waited=0
while [ -e {folder}/control/slow_{name} ] && [ $waited -lt "$(cat {folder}/control/slow_{name})" ]; do
    sleep 1
    waited=$((waited + 1))
done
[ -e {folder}/control/fail_{name} ] && {{ cat {folder}/control/fail_{name} >&2; echo >&2; exit 1; }}
exec {program} "$@"
"""


def search_path() -> str:
    """PATH and the system's folders, without the shims of another cluster."""
    folders = dict.fromkeys((*os.environ.get("PATH", "").split(os.pathsep), *_SYSTEM))
    return os.pathsep.join(name for name in folders if not os.path.isdir(os.path.join(name, "../control")))


def missing(accounting: bool) -> str:
    """What has to be installed first, in words; "" if nothing."""
    wanted = [name for name in PACKAGES if accounting or name not in _ACCOUNTING_ONLY]
    absent = [name for name in wanted if shutil.which(name, path=search_path()) is None]
    packages = " ".join(dict.fromkeys(PACKAGES[name] for name in absent))
    return f"{', '.join(absent)} not found; Debian: apt-get install {packages}" if absent else ""


def free_ports(names: tuple[str, ...]) -> dict[str, int]:
    """A free port for each name, from below those that the system gives to outgoing connections."""
    found: dict[str, int] = {}
    for _ in range(1000):
        port = random.SystemRandom().randrange(12000, 32000)
        with socket.socket() as probe:
            if port not in found.values() and probe.connect_ex(("127.0.0.1", port)) != 0:
                found[names[len(found)]] = port
        if len(found) == len(names):
            return found
    raise RuntimeError(f"no {len(names)} free ports between 12000 and 32000")


def write_configuration(
    folder: Path, ports: Mapping[str, int], accounting: bool, settings: Mapping[str, str]
) -> None:
    """slurm.conf and what it needs; `settings` are further lines of slurm.conf."""
    values = {
        **ports,
        "folder": folder,
        "host": socket.gethostname().split(".")[0],
        "user": getpass.getuser(),
    }
    # More memory than the machine may have: it is only counted.
    same = f"NodeHostname={values['host']} NodeAddr=127.0.0.1 CPUs=4 RealMemory=64000 Gres=gpu:1"
    lines = [f"NodeName={name} Port={ports[name]} {same}" for name in NODES]
    values["nodes"] = "\n".join(lines)
    values["settings"] = "".join(f"{name}={value}\n" for name, value in settings.items())
    none = "AccountingStorageType=accounting_storage/none\n"
    values["accounting"] = _ACCOUNTING.format(**values) if accounting else none
    (folder / "slurm.conf").write_text(_SLURM.format(**values))
    (folder / "gres.conf").write_text(f"NodeName={','.join(NODES)} Name=gpu File=/dev/null\n")
    if accounting:
        path = folder / "slurmdbd.conf"  # slurmdbd looks for it beside slurm.conf, and insists on its mode
        path.touch(mode=0o600)
        path.write_text(_DATABASE_DAEMON.format(**values))
        (folder / "users.sql").write_text(_DATABASE_USERS)


def write_shims(folder: Path) -> None:
    """A script for each command that notes the call, fails or dawdles where it is told to, and else runs the real one."""
    for name in COMMANDS:
        program = shutil.which(name, path=search_path())
        assert program, name
        path = folder / "bin" / name
        path.write_text(
            _SHIM.format(name=name, program=shlex.quote(program), folder=shlex.quote(str(folder)))
        )
        path.chmod(0o755)
