"""The limits R and W: routes that do nothing but one round trip to Redis."""

import os
from itertools import count
from typing import Any

import orjson
import redis
from flask import Flask, Response

TASK: dict[Any, Any] = {
    "id": "1",
    "title": "t" * 20,
    "status": "false",
    "priority": "2",
    "deadline": "",
    "information": "i" * 80,
    "user_id": "3",
    "group_id": "1",
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
    "version": "1767225600000000",
}
SIX_COMMANDS = """
redis.call('HSET', KEYS[1] .. ARGV[1], 'title', ARGV[2], 'version', ARGV[3])
redis.call('ZADD', KEYS[1] .. 'tasks', ARGV[1], ARGV[1])
redis.call('ZADD', KEYS[1] .. 'tasks:u', ARGV[1], ARGV[1])
redis.call('ZADD', KEYS[1] .. 'tasks:g', ARGV[1], ARGV[1])
redis.call('HINCRBY', KEYS[1] .. 'counts', ARGV[1], 1)
redis.call('ZADD', KEYS[1] .. 'dirty', ARGV[3], ARGV[1])
return ARGV[1]
"""
IDS = 1000

app = Flask(__name__)
store = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
sha = store.script_load(SIX_COMMANDS)
store.hset("limit:R", mapping=TASK)
store.close()
_serial = count()


@app.get("/r")
def read() -> Response:
    """R: one round trip, eleven fields, JSON."""
    return _json(store.hgetall("limit:R"))


@app.post("/w")
def write() -> Response:
    """W: one round trip, six commands, JSON."""
    task_id = next(_serial) % IDS
    return _json({"id": store.evalsha(sha, 1, "limit:W:", task_id, TASK["title"], 1)})


def _json(data: object) -> Response:
    return Response(orjson.dumps(data), content_type="application/json")
