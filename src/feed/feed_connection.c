/*-------------------------------------------------------------------------
 *
 * feed_connection.c
 *	  A connection to another server, on which no call waits for long.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * libpq is used without blocking, and all waiting is for the latch as well, so
 * that a link that hangs keeps neither a shutdown nor a promotion waiting.  Only
 * looking up a host name blocks, as it does for the WAL receiver.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "libpq-fe.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "feed/feed_connection.h"

#define TIMEOUT_MS		5000	/* of connecting, and of a call */
#define STATEMENT_TIMEOUT	"-c statement_timeout=4s -c lock_timeout=1s"

/*
 * Waits until the socket is ready for reading or writing, at most until a time.
 * Interrupted means that the latch was set for another reason than the socket.
 */
static FeedOutcome
wait_for_socket(PGconn *conn, int events, TimestampTz until, StringInfo error)
{
	long		timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
	int			happened;

	if (timeout <= 0)
	{
		appendStringInfoString(error, "timeout");
		return FEED_FAILED;
	}
	happened = WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH | events,
								 PQsocket(conn), timeout, wait_event("ApikeysFeed"));
	if (happened & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return ShutdownRequestPending ? FEED_INTERRUPTED : FEED_OK;
}

static FeedOutcome
fail(PGconn *conn, StringInfo error)
{
	const char *message = PQerrorMessage(conn);
	size_t		length = strcspn(message, "\n");

	appendBinaryStringInfo(error, message, length);
	return FEED_FAILED;
}

/* -------------------------------------------------------------- connecting */

static FeedOutcome
finish_connecting(PGconn *conn, TimestampTz until, StringInfo error)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (status != PGRES_POLLING_OK)
	{
		FeedOutcome outcome;

		if (status == PGRES_POLLING_FAILED)
			return fail(conn, error);
		outcome = wait_for_socket(conn, status == PGRES_POLLING_READING ? WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE, until, error);
		if (outcome != FEED_OK)
			return outcome;
		status = PQconnectPoll(conn);
	}
	return PQsetnonblocking(conn, 1) == 0 ? FEED_OK : fail(conn, error);
}

/*
 * Connects to a database; the connection is the caller's to close.  What the
 * connection string says of the database and of options is overridden.
 */
FeedOutcome
feed_connection_open(const char *conninfo, const char *dbname, FeedConnection **connection, StringInfo error)
{
	const char *const keywords[] = {"dbname", "dbname", "application_name", "options", NULL};
	const char *const values[] = {conninfo, dbname, "apikeys feed", STATEMENT_TIMEOUT, NULL};
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), TIMEOUT_MS);
	FeedOutcome outcome;
	PGconn	   *conn;

	*connection = NULL;
	if (!AcquireExternalFD())
	{
		appendStringInfoString(error, "too many open files");
		return FEED_FAILED;
	}
	conn = PQconnectStartParams(keywords, values, 1);
	if (conn == NULL)
		appendStringInfoString(error, "out of memory");
	outcome = conn == NULL                       ? FEED_FAILED
			  : PQstatus(conn) == CONNECTION_BAD ? fail(conn, error)
												 : finish_connecting(conn, until, error);
	if (outcome == FEED_OK)
		*connection = conn;
	else
		feed_connection_close(conn);
	return outcome;
}

/* Closes a connection, which may be NULL as that of a failed attempt is. */
void
feed_connection_close(FeedConnection *connection)
{
	if (connection != NULL)
		PQfinish(connection);
	ReleaseExternalFD();
}

/* ------------------------------------------------------------------ asking */

/* Sends all that libpq has buffered. */
static FeedOutcome
flush(PGconn *conn, TimestampTz until, StringInfo error)
{
	int			left;

	while ((left = PQflush(conn)) > 0)
	{
		FeedOutcome outcome = wait_for_socket(conn, WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE, until, error);

		if (outcome != FEED_OK)
			return outcome;
		if (PQconsumeInput(conn) == 0)
			return fail(conn, error);
	}
	return left == 0 ? FEED_OK : fail(conn, error);
}

static FeedOutcome
receive(PGconn *conn, TimestampTz until, StringInfo error)
{
	while (PQisBusy(conn))
	{
		FeedOutcome outcome = wait_for_socket(conn, WL_SOCKET_READABLE, until, error);

		if (outcome != FEED_OK)
			return outcome;
		if (PQconsumeInput(conn) == 0)
			return fail(conn, error);
	}
	return FEED_OK;
}

/* Takes the answer out of a result, or the error. */
static FeedOutcome
read_result(PGconn *conn, const PGresult *result, StringInfo answer, StringInfo error)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
		PQnfields(result) == 1 && !PQgetisnull(result, 0, 0))
	{
		appendBinaryStringInfo(answer, PQgetvalue(result, 0, 0), PQgetlength(result, 0, 0));
		return FEED_OK;
	}
	if (sqlstate == NULL)
		return fail(conn, error);
	appendStringInfoString(error, PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
	/* undefined function, and a schema that does not exist */
	return strcmp(sqlstate, "42883") == 0 || strcmp(sqlstate, "3F000") == 0 ? FEED_NOT_INSTALLED : FEED_FAILED;
}

/* Waits for the result, and takes the answer out of it. */
static FeedOutcome
get_answer(PGconn *conn, TimestampTz until, StringInfo answer, StringInfo error)
{
	FeedOutcome outcome = FEED_FAILED;

	for (;;)
	{
		FeedOutcome received = receive(conn, until, error);
		PGresult   *result;

		if (received != FEED_OK)
			return received;
		result = PQgetResult(conn);
		if (result == NULL)
			return outcome;
		outcome = read_result(conn, result, answer, error);
		PQclear(result);
	}
}

/* Sends a request and appends the answer.  After a failure the connection is to be closed. */
FeedOutcome
feed_connection_ask(FeedConnection *connection, StringInfo request, StringInfo answer, StringInfo error)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), TIMEOUT_MS);
	const Oid	types[] = {BYTEAOID};
	const char *const values[] = {request->data};
	const int	lengths[] = {request->len};
	const int	formats[] = {1};
	FeedOutcome outcome;

	if (!PQsendQueryParams(connection, "SELECT apikeys.feed_exchange($1)", 1, types, values, lengths, formats, 1))
		return fail(connection, error);
	outcome = flush(connection, until, error);
	return outcome == FEED_OK ? get_answer(connection, until, answer, error) : outcome;
}
