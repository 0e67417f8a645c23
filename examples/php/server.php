<?php
// SPDX-License-Identifier: PostgreSQL
//
// PHP and PDO with keys: php -S 127.0.0.1:8080 server.php

// PDO has a boolean for a boolean and an int of 64 bits for a bigint; numeric,
// timestamptz and interval are texts.
function query(string $statement, array $values): array
{
    static $connection;

    $connection ??= new PDO('pgsql:', options: [
        PDO::ATTR_PERSISTENT => true,
        PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
        PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC,
    ]);
    $prepared = $connection->prepare($statement);
    $prepared->execute($values);
    return $prepared->fetchAll();
}

function key_of_request(): string
{
    $authorization = $_SERVER['HTTP_AUTHORIZATION'] ?? '';
    if (preg_match('/^Bearer +(.*)$/i', $authorization, $matches)) {
        return trim($matches[1]);
    }
    return trim($_SERVER['HTTP_X_API_KEY'] ?? '');
}

function verify(string $key, string $model, string $endpoint, string $address): array
{
    $not_found = ['valid' => false, 'code' => 'NOT_FOUND', 'reason' => 'API key not found'];

    // PDO would cut a text at its first zero byte.
    if (str_contains($key . $model, "\0")) {
        return $not_found;
    }
    try {
        return query(
            "SELECT valid, code, reason, id, name, retry_after,
                    ceil(limit_max) AS limit_max, ceil(limit_remaining) AS limit_remaining, limit_resets_in,
                    CASE WHEN expires_at = 'infinity' THEN 'never'
                         ELSE to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') END AS expires_at
               FROM apikey_verify(?::text, model => ?::text, endpoint => ?::text, client_ip => ?::text)",
            [$key, $model, $endpoint, $address])[0];
    } catch (PDOException $error) {
        // Bytes that are no text of the database's encoding are no key.
        if ($error->getCode() === '22021') {
            return $not_found;
        }
        throw $error;
    }
}

function status_of(array $answer): int
{
    return match ($answer['code']) {
        'VALID' => 200,
        'FORBIDDEN', 'INSUFFICIENT_PERMISSIONS' => 403,
        'RATE_LIMITED' => 429,
        'BUDGET_EXCEEDED' => $answer['retry_after'] === null ? 402 : 429,
        default => 401,
    };
}

function respond(int $status, ?array $body): void
{
    http_response_code($status);
    if ($body !== null) {
        header('Content-Type: application/json');
        echo json_encode($body);
    }
}

function handle(): void
{
    $path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
    $answer = verify(key_of_request(), $_GET['model'] ?? '', $path, $_SERVER['REMOTE_ADDR']);
    $headers = ['RateLimit-Limit' => 'limit_max', 'RateLimit-Remaining' => 'limit_remaining',
        'RateLimit-Reset' => 'limit_resets_in', 'Retry-After' => 'retry_after'];

    foreach ($headers as $header => $column) {
        if (isset($answer[$column])) {
            header("$header: $answer[$column]");
        }
    }
    if (!$answer['valid']) {
        $status = status_of($answer);
        if ($status === 401) {
            header('WWW-Authenticate: Bearer');
        }
        respond($status, ['code' => $answer['code'], 'reason' => $answer['reason']]);
        return;
    }
    switch ("$_SERVER[REQUEST_METHOD] $path") {
        case 'GET /hello':
            respond(200, ['name' => $answer['name'], 'expires_at' => $answer['expires_at']]);
            break;
        case 'GET /usage':
            $used = query('SELECT total_requests, total_tokens, total_cost FROM apikey_usage(?::uuid)', [$answer['id']])[0];
            respond(200, array_map('strval', $used));
            break;
        case 'POST /usage':
            query('SELECT apikey_record_usage(?::uuid, tokens => ?::bigint, cost => ?::numeric)',
                [$answer['id'], $_GET['tokens'], $_GET['cost']]);
            respond(204, null);
            break;
        case 'GET /limits':
            // Of an interval, the database makes a number.
            respond(200, query('SELECT name, max, remaining, extract(epoch FROM resets_in)::float8 AS resets_in
                                  FROM apikey_limits(?::uuid)', [$answer['id']]));
            break;
        default:
            respond(404, ['code' => 'NO_SUCH_PAGE']);
    }
}

try {
    handle();
} catch (PDOException $error) {
    error_log($error->getMessage());
    respond(503, ['code' => 'UNAVAILABLE']);   // no answer is no yes
}
