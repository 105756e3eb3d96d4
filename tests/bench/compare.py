"""Writes a requests repository, lets two programs check it, and prints how long they took and what memory they held."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

TEAMS = 100

RULES = """apiVersion: landfall.dev/v1
kind: Rules
environments:
  dev: {provider: Simulator}
teams:
"""

ROLES = """roles:
  admin:
    users: [{id: 1, name: root}]
"""

PROJECT = """apiVersion: landfall.dev/v1
kind: Project
metadata:
  name: request-{number}
  team: team-{team}
spec:
  environment: dev
  deletionPolicy: Snapshot
  virtualMachines:
    - name: web
      size: Small
      image: Ubuntu2404
      diskSize: 30Gi
  databases:
    - name: orders
      engine: PostgreSQL
      version: "17.6"
      storage: 32Gi
      maxStorage: 100Gi
      availability: MultiZone
      backupRetentionDays: 14
  storage:
    - name: pictures
      tier: Hot
      redundancy: Zone
"""

CLUSTER = """apiVersion: landfall.dev/v1
kind: Cluster
metadata:
  name: request-{number}
  team: team-{team}
spec:
  environment: dev
  version: "1.33"
  nodePools:
    - name: workers
      size: Medium
      min: 2
      max: 5
  apiServer:
    access: Public
    allowedCidrs:
      - 203.0.113.0/24
  access:
    - subject: team:team-{team}
      role: Edit
"""


def write(home: Path, count: int) -> list[str]:
    """A repository of so many requests, one in ten a cluster; the paths of the requests."""
    shutil.rmtree(home, ignore_errors=True)
    paths = []
    for number in range(count):
        team = number % TEAMS
        path = home / "requests" / f"team-{team}" / f"request-{number}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((CLUSTER if number % 10 == 0 else PROJECT).format(number=number, team=team))
        paths.append(str(path))
    teams = "".join(f"  team-{team}: {{}}\n" for team in range(TEAMS))
    (home / "landfall.yaml").write_text(RULES + teams + ROLES)
    return paths


def measure(name: str, command: list[str], times: int) -> None:
    """Runs a command so many times; it must find nothing. Prints the middle wall time and the most memory."""
    walls, memory = [], 0
    for _ in range(times):
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        said = process.stdout.read().decode().strip()
        _, status, usage = os.wait4(process.pid, 0)
        walls.append(time.monotonic() - began)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"{name}: exit {process.returncode}: {said[:500]}")
        memory = max(memory, usage.ru_maxrss)
    spread = f"{min(walls):.2f} to {max(walls):.2f} s in {times} runs" if times > 1 else "1 run"
    print(f"{name:<18} {statistics.median(walls):8.2f} s ({spread})  {memory / 1024:7.1f} MiB  {said[-60:]}")


def main() -> None:
    count, landfall, peer, schema, home = sys.argv[1:]
    paths = write(Path(home), int(count))
    print(f"{count} request files, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    measure("landfall validate", [landfall, "validate", home], 5)
    measure("check-jsonschema", [peer, "--schemafile", schema, *paths], 1)


main()
