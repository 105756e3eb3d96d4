"""Measures how long a delivery takes while strangers hold on to the webhook's port, and how much memory that costs.

    port.py LANDFALL FOLDER

Starts `landfall serve` in the folder, with a forge that is not there. Each kind of stranger gets a Landfall of its own.
"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

KEY = b"the signing key of the benchmark"
HELD = 2000
DELIVERIES = 200
MOST_MEMORY = 200
SLOWEST = 2.0


def head(length):
    return (
        f"POST /webhooks/requests HTTP/1.1\r\nhost: a\r\nwebhook-id: x\r\nwebhook-timestamp: {int(time.time())}\r\n"
        f"webhook-signature: v1,AAAA\r\n{length}\r\n\r\n"
    ).encode()


KINDS = {
    "nobody": None,
    "connections that say nothing": lambda: b"",
    "headers that never end": lambda: b"POST /webhooks/requests HTTP/1.1\r\nhost: a\r\nx: ",
    "bodies that never come": lambda: head("content-length: 1000"),
    "bodies without end": lambda: head("transfer-encoding: chunked") + b"1000\r\n" + b"x" * 0x1000 + b"\r\n",
    "20 MB of 25": lambda: head("content-length: 25000000") + b"x" * 20_000_000,
}


def serve(program, folder):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    secret = "whsec_" + base64.b64encode(KEY).decode()
    with open(f"{folder}/landfall.toml", "w", encoding="utf-8") as file:
        file.write(
            f'[http]\nlisten = "127.0.0.1:{port}"\n[log]\nfilter = "off"\n[[repositories]]\nid = "requests"\n'
            f'forge = "gitlab"\nurl = "http://127.0.0.1:9"\nproject = 15\ntoken = "t"\nsigning_tokens = ["{secret}"]\n'
        )
    process = subprocess.Popen([program, "serve"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return process, port
        except OSError:
            time.sleep(0.05)
    raise SystemExit("landfall does not listen")


def deliver(port, number):
    body = json.dumps(
        {"object_kind": "merge_request", "project": {"id": 15}, "object_attributes": {"iid": number % 9}}
    ).encode()
    at = str(int(time.time()))
    signed = b".".join([str(number).encode(), at.encode(), body])
    signature = "v1," + base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    headers = {"webhook-id": str(number), "webhook-timestamp": at, "webhook-signature": signature}
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/webhooks/requests", body, headers)
    status = connection.getresponse().status
    connection.close()
    return status, time.monotonic() - began


def peak(process):
    with open(f"/proc/{process.pid}/status", encoding="utf-8") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def strangers(port, says, stop):
    """Holds as many connections as it can, and opens another for each that is closed."""
    held = []
    while not stop.is_set():
        try:
            held.append(socket.create_connection(("127.0.0.1", port), timeout=1))
            held[-1].settimeout(0.5)
            held[-1].sendall(says())
        except OSError:
            pass
        if len(held) > HELD // 8:
            held.pop(0).close()
    for connection in held:
        connection.close()


def measure(program, folder, kind, says):
    process, port = serve(program, folder)
    try:
        stop = threading.Event()
        threads = [threading.Thread(target=strangers, args=(port, says, stop)) for _ in range(8 if says else 0)]
        for thread in threads:
            thread.start()
        if says:
            time.sleep(2)
        took, lost = [], 0
        for number in range(DELIVERIES):
            try:
                status, seconds = deliver(port, number)
                took.append(seconds)
                lost += status != 200
            except OSError:
                lost += 1
        stop.set()
        for thread in threads:
            thread.join()
        memory = peak(process)
    finally:
        process.terminate()
        process.wait()
    took.sort()
    middle, slowest = took[len(took) // 2], took[-1]
    print(
        f"{kind:30} {1000 * middle:8.1f} ms ({1000 * slowest:.1f} ms at most), {lost} of {DELIVERIES} lost, "
        f"{memory:.0f} MB",
        flush=True,
    )
    return lost == 0 and slowest < SLOWEST and memory < MOST_MEMORY


def main():
    program, folder = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    print("a delivery while strangers hold on to the port:")
    good = [measure(program, folder, kind, says) for kind, says in KINDS.items()]
    if not all(good):
        raise SystemExit(f"the budget is {SLOWEST:.0f} s, {MOST_MEMORY} MB and nothing lost")


if __name__ == "__main__":
    main()
