"""A small reader of offline W&B runs: a header of 7 bytes, then LevelDB log blocks of 32,768 bytes."""

from __future__ import annotations

import json
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BLOCK, HEADER, MAGIC = 32_768, 7, 7
WHOLE, LAST_PART = 1, 4


@dataclass(frozen=True)
class OfflineRun:
    """What one offline run holds."""

    run: Any
    config: dict[str, Any]
    summary: dict[str, Any]
    history: list[dict[str, Any]]
    axes: dict[str, str]
    exit_code: int


def records_of(path: Path) -> list[Any]:
    """Read the protocol buffers of a ``run-*.wandb`` file, as far as it is written."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, records, position, parts = path.read_bytes(), [], MAGIC, b""
    while position + HEADER <= len(data):
        room = BLOCK - position % BLOCK
        if room < HEADER:
            position += room
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + HEADER])
        position += HEADER
        if kind == 0 or position + length > len(data):
            break
        parts += data[position : position + length]
        position += length
        if kind in (WHOLE, LAST_PART):
            record = Record()
            record.ParseFromString(parts)
            records.append(record)
            parts = b""
    return records


def read_finished(folder: Path, number: int, seconds: float = 60.0) -> list[OfflineRun]:
    """Read the runs below a folder once their writer, a process of its own, has put down the last records."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = [records_of(file) for file in sorted(folder.rglob("run-*.wandb"))]
        finished = [records for records in found if any(record.HasField("exit") for record in records)]
        if len(finished) == number:
            assert len(found) == number
            return [_run_of(records) for records in finished]
        time.sleep(0.1)
    raise TimeoutError(f"Found {len(found)} runs below {folder} and {len(finished)} finished ones, not {number}.")


def listen_for_calls(monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """Lead every call to the outside to a socket of the test; nobody calling there means no network access."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    for name in ("WANDB_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, address)
    return listener


def _run_of(records: list[Any]) -> OfflineRun:
    config, summary = {}, {}
    for record in records:
        for update in [*record.run.config.update, *record.config.update]:
            config["/".join(update.nested_key) or update.key] = json.loads(update.value_json)
        for item in record.summary.update:
            summary["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    history = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    axes = {
        record.metric.name or record.metric.glob_name: record.metric.step_metric
        for record in records
        if record.HasField("metric")
    }
    run = next(record.run for record in records if record.HasField("run"))
    return OfflineRun(
        run, config, summary, history, axes, next(r.exit.exit_code for r in records if r.HasField("exit"))
    )
