/*
 * SPDX-License-Identifier: PostgreSQL
 *
 * libpq with keys, as a CGI program: the request is in the environment, the
 * response goes to standard output.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <libpq-fe.h>

static PGconn *conn;

/* No answer from the database is no yes. */
static void
unavailable(const char *message)
{
	fputs(message, stderr);
	printf("Status: 503\r\nContent-Type: application/json\r\n\r\n{\"code\": \"UNAVAILABLE\"}\n");
	PQfinish(conn);
	exit(0);
}

static const char *
environment(const char *name)
{
	const char *value = getenv(name);

	return value != NULL ? value : "";
}

/*
 * Returns the value of a parameter of the query, decoded, in memory of its own.
 * A zero byte would end it: a byte that is no text takes its place, and is refused.
 */
static char *
parameter(const char *name)
{
	const char *query = environment("QUERY_STRING");
	size_t		length = strlen(name);
	char	   *value = calloc(strlen(query) + 1, 1);

	for (const char *p = query; p != NULL && *p != '\0'; p = strchr(p, '&') ? strchr(p, '&') + 1 : NULL)
	{
		char	   *end = value;
		unsigned int byte;

		if (strncmp(p, name, length) != 0 || p[length] != '=')
			continue;
		for (p += length + 1; *p != '\0' && *p != '&'; p++)
		{
			if (*p == '%' && sscanf(p + 1, "%2x", &byte) == 1)
				*end++ = (char) (byte != 0 ? byte : 0xff), p += 2;
			else
				*end++ = *p == '+' ? ' ' : *p;
		}
		*end = '\0';
		break;
	}
	return value;
}

/* The key as the client sent it; a server has taken the blanks from its ends. */
static const char *
key_of_request(void)
{
	const char *authorization = environment("HTTP_AUTHORIZATION");

	if (strncasecmp(authorization, "Bearer ", 7) != 0)
		return environment("HTTP_X_API_KEY");
	for (authorization += 7; *authorization == ' '; authorization++)
		;
	return authorization;
}

/*
 * Values come as text, which has all digits of a numeric or bigint, and says
 * "infinity".  The key is a parameter: it is in no text of a statement.
 */
static PGresult *
query(const char *statement, int nvalues, const char *const *values)
{
	return PQexecParams(conn, statement, nvalues, NULL, values, NULL, NULL, 0);
}

/* The value of a column in a row; NULL for null. */
static const char *
column(const PGresult *res, int row, const char *name)
{
	int			number = PQfnumber(res, name);

	return number < 0 || PQgetisnull(res, row, number) ? NULL : PQgetvalue(res, row, number);
}

static void
print_string(const char *value)
{
	if (value == NULL)
	{
		printf("null");
		return;
	}
	putchar('"');
	for (; *value != '\0'; value++)
	{
		if (*value == '"' || *value == '\\')
			putchar('\\');
		putchar(*value);
	}
	putchar('"');
}

static int
status_of(const char *code, const char *retry_after)
{
	if (strcmp(code, "VALID") == 0)
		return 200;
	if (strcmp(code, "FORBIDDEN") == 0 || strcmp(code, "INSUFFICIENT_PERMISSIONS") == 0)
		return 403;
	if (strcmp(code, "RATE_LIMITED") == 0)
		return 429;
	if (strcmp(code, "BUDGET_EXCEEDED") == 0)
		return retry_after != NULL ? 429 : 402;
	return 401;
}

static void
print_header(const char *name, const char *value)
{
	if (value != NULL)
		printf("%s: %s\r\n", name, value);
}

/* Returns the row of the key, or ends the request. */
static PGresult *
verify(void)
{
	const char *values[] = {key_of_request(), parameter("model"), environment("PATH_INFO"), environment("REMOTE_ADDR")};
	PGresult   *res = query("SELECT valid, code, reason, id, name, retry_after,"
							"       ceil(limit_max) AS limit_max, ceil(limit_remaining) AS limit_remaining, limit_resets_in,"
							"       CASE WHEN expires_at = 'infinity' THEN 'never'"
							"            ELSE to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') END AS expires_at"
							"  FROM apikey_verify($1::text, model => $2::text, endpoint => $3::text, client_ip => $4::text)",
							4, values);
	const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *code = "NOT_FOUND";
	const char *reason = "API key not found";
	int			status;

	/* Bytes that are no text of the database's encoding are no key. */
	if (PQresultStatus(res) == PGRES_TUPLES_OK)
	{
		code = column(res, 0, "code");
		reason = column(res, 0, "reason");
	}
	else if (sqlstate == NULL || strcmp(sqlstate, "22021") != 0)
		unavailable(PQerrorMessage(conn));

	status = status_of(code, column(res, 0, "retry_after"));
	print_header("RateLimit-Limit", column(res, 0, "limit_max"));
	print_header("RateLimit-Remaining", column(res, 0, "limit_remaining"));
	print_header("RateLimit-Reset", column(res, 0, "limit_resets_in"));
	print_header("Retry-After", column(res, 0, "retry_after"));
	if (status == 200)
		return res;

	print_header("WWW-Authenticate", status == 401 ? "Bearer" : NULL);
	printf("Status: %d\r\nContent-Type: application/json\r\n\r\n{\"code\": \"%s\", \"reason\": ", status, code);
	print_string(reason);
	printf("}\n");
	PQfinish(conn);
	exit(0);
}

/* Prints rows as JSON objects with strings for values. */
static void
print_rows(const PGresult *res)
{
	for (int row = 0; row < PQntuples(res); row++)
	{
		for (int number = 0; number < PQnfields(res); number++)
		{
			fputs(number > 0 ? ", " : row > 0 ? ", {" : "{", stdout);
			print_string(PQfname(res, number));
			printf(": ");
			print_string(column(res, row, PQfname(res, number)));
		}
		printf("}");
	}
}

int
main(void)
{
	const char *path = environment("PATH_INFO");
	bool		post = strcmp(environment("REQUEST_METHOD"), "POST") == 0;
	PGresult   *key;
	PGresult   *res;
	const char *values[3];

	conn = PQconnectdb("");
	if (PQstatus(conn) != CONNECTION_OK)
		unavailable(PQerrorMessage(conn));
	key = verify();
	values[0] = column(key, 0, "id");
	values[1] = parameter("tokens");
	values[2] = parameter("cost");

	if (strcmp(path, "/usage") == 0 && post)
		res = query("SELECT apikey_record_usage($1::uuid, tokens => $2::bigint, cost => $3::numeric)", 3, values);
	else if (strcmp(path, "/usage") == 0)
		res = query("SELECT total_requests, total_tokens, total_cost FROM apikey_usage($1::uuid)", 1, values);
	else if (strcmp(path, "/limits") == 0)
		res = query("SELECT name, max, remaining, extract(epoch FROM resets_in) AS resets_in FROM apikey_limits($1::uuid)", 1, values);
	else
		res = key;
	if (PQresultStatus(res) != PGRES_TUPLES_OK)
		unavailable(PQerrorMessage(conn));

	if (post)
		printf("Status: 204\r\n\r\n");
	else
	{
		printf("Status: 200\r\nContent-Type: application/json\r\n\r\n");
		fputs(strcmp(path, "/limits") == 0 ? "[" : "", stdout);
		print_rows(res);
		fputs(strcmp(path, "/limits") == 0 ? "]\n" : "\n", stdout);
	}
	PQfinish(conn);
	return 0;
}
