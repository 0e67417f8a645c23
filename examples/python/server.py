# SPDX-License-Identifier: PostgreSQL
#
# FastAPI and psycopg 3 with keys: a dependency verifies, and the routes know whose
# request it is.

import datetime
from typing import Any

import psycopg
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from psycopg.rows import dict_row
from psycopg.types.datetime import TimestamptzLoader
from psycopg_pool import ConnectionPool, PoolTimeout


# psycopg raises DataError for a time of infinity, which is a key that never ends.
# Python has no time for that; this is the last one it knows.
NEVER = datetime.datetime.max.replace(tzinfo=datetime.timezone.utc)


class InfinityLoader(TimestamptzLoader):
    def load(self, data: Any) -> datetime.datetime:
        return NEVER if data == b"infinity" else super().load(data)


psycopg.adapters.register_loader("timestamptz", InfinityLoader)

pool = ConnectionPool("", kwargs={"autocommit": True, "row_factory": dict_row}, min_size=1, max_size=10, open=False)


def query(statement: str, *values: Any) -> list[dict[str, Any]]:
    with pool.connection(timeout=5) as conn:
        return conn.execute(statement, values).fetchall()


class Refused(Exception):
    def __init__(self, status: int, answer: dict[str, Any], headers: dict[str, str]):
        self.status, self.answer, self.headers = status, answer, headers


def key_of(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "").strip()


def headers_of(answer: dict[str, Any]) -> dict[str, str]:
    named = {
        "RateLimit-Limit": answer["limit_max"],
        "RateLimit-Remaining": answer["limit_remaining"],
        "RateLimit-Reset": answer["limit_resets_in"],
        "Retry-After": answer["retry_after"],
    }
    return {name: str(value) for name, value in named.items() if value is not None}


def status_of(answer: dict[str, Any]) -> int:
    match answer["code"]:
        case "VALID":
            return 200
        case "FORBIDDEN" | "INSUFFICIENT_PERMISSIONS":
            return 403
        case "BUDGET_EXCEEDED" if answer["retry_after"] is None:
            return 402
        case "RATE_LIMITED" | "BUDGET_EXCEEDED":
            return 429
    return 401


def verified(request: Request, response: Response) -> dict[str, Any]:
    try:
        [answer] = query(
            """SELECT valid, code, reason, id, name, expires_at, retry_after,
                      ceil(limit_max) AS limit_max, ceil(limit_remaining) AS limit_remaining, limit_resets_in
                 FROM apikey_verify(%s::text, model => %s::text, endpoint => %s::text, client_ip => %s::text)""",
            key_of(request), request.query_params.get("model", ""), request.url.path,
            request.client.host if request.client else None)
    except (psycopg.DataError, UnicodeError) as error:  # 22021, a zero byte: no text of PostgreSQL's
        if isinstance(error, psycopg.DataError) and error.sqlstate not in (None, "22021"):
            raise
        answer = {"valid": False, "code": "NOT_FOUND", "reason": "API key not found", "retry_after": None,
                  "limit_max": None, "limit_remaining": None, "limit_resets_in": None}
    headers = headers_of(answer)
    if not answer["valid"]:
        status = status_of(answer)
        raise Refused(status, answer, headers | ({"WWW-Authenticate": "Bearer"} if status == 401 else {}))
    response.headers.update(headers)
    return answer


app = FastAPI(on_startup=[pool.open], on_shutdown=[pool.close])


@app.exception_handler(Refused)
def refused(_: Request, error: Refused) -> Response:
    return JSONResponse({"code": error.answer["code"], "reason": error.answer["reason"]},
                        error.status, error.headers)


@app.exception_handler(PoolTimeout)
@app.exception_handler(psycopg.Error)
def unavailable(_: Request, error: Exception) -> Response:
    print(error)
    return JSONResponse({"code": "UNAVAILABLE"}, 503)  # no answer is no yes


@app.get("/hello")
def hello(key: dict[str, Any] = Depends(verified)) -> Any:
    expires_at = key["expires_at"]
    return {"name": key["name"], "expires_at": "never" if expires_at == NEVER else expires_at}


# A numeric is a Decimal, and JSON has no such number: as text it keeps its digits.
@app.get("/usage")
def usage(key: dict[str, Any] = Depends(verified)) -> Any:
    [used] = query("SELECT total_requests, total_tokens, total_cost FROM apikey_usage(%s::uuid)", key["id"])
    return {name: str(value) for name, value in used.items()}


@app.post("/usage")
def record(tokens: str, cost: str, key: dict[str, Any] = Depends(verified)) -> Response:
    # A float of Python would be sent as float8, and the function not be found.
    query("SELECT apikey_record_usage(%s::uuid, tokens => %s::bigint, cost => %s::numeric)",
          key["id"], tokens, cost)
    return Response(status_code=204)


# An interval is a timedelta.
@app.get("/limits")
def limits(key: dict[str, Any] = Depends(verified)) -> Any:
    return [{"name": limit["name"], "max": str(limit["max"]), "remaining": str(limit["remaining"]),
             "resets_in": limit["resets_in"] and limit["resets_in"].total_seconds()}
            for limit in query("SELECT name, max, remaining, resets_in FROM apikey_limits(%s::uuid)", key["id"])]


if __name__ == "__main__":
    import os

    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
