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
#define ANSWER_MS		1000	/* of the start of a session, for which other databases wait */
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

/*
 * Has the server all it needs to begin a session?  It does not say that it has let
 * somebody in before it can serve him.
 */
static bool
has_asked(const PGconn *conn)
{
	return PQstatus(conn) == CONNECTION_AWAITING_RESPONSE || PQstatus(conn) == CONNECTION_AUTH_OK;
}

/* Goes on connecting until that has come to its end, or to a time. */
static FeedOutcome
poll_connection(PGconn *conn, PostgresPollingStatusType status, TimestampTz until, StringInfo error)
{
	while (status != PGRES_POLLING_OK)
	{
		bool		had_asked = has_asked(conn);
		FeedOutcome outcome;

		if (status == PGRES_POLLING_FAILED)
			return fail(conn, error);
		outcome = wait_for_socket(conn, status == PGRES_POLLING_READING ? WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE, until, error);
		if (outcome != FEED_OK)
			return outcome;
		status = PQconnectPoll(conn);
		if (has_asked(conn) && !had_asked)
			until = Min(until, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ANSWER_MS));
	}
	return PQsetnonblocking(conn, 1) == 0 ? FEED_OK : fail(conn, error);
}

/*
 * The same; but who has asked for a session, and is kept waiting, comes back later to
 * see.  A command may need the database for itself, for as long as it takes, and each
 * attempt would be one more session there that waits for it.  That the server is gone,
 * keepalives tell.
 */
static FeedOutcome
go_on_connecting(PGconn *conn, PostgresPollingStatusType status, TimestampTz until, StringInfo error)
{
	FeedOutcome outcome = poll_connection(conn, status, until, error);

	if (outcome != FEED_FAILED || !has_asked(conn))
		return outcome;
	resetStringInfo(error);
	appendStringInfoString(error, "the server does not answer, or a command needs the database for itself");
	return FEED_WAITING;
}

/*
 * Connects to a database; the connection is the caller's to close.  What the
 * connection string says of the database and of options is overridden.
 */
FeedOutcome
feed_connection_open(const char *conninfo, const char *dbname, FeedConnection **connection, StringInfo error)
{
	const char *const keywords[] = {"keepalives_idle", "keepalives_interval", "dbname", "dbname", "application_name", "options", NULL};
	const char *const values[] = {"20", "5", conninfo, dbname, "apikeys feed", STATEMENT_TIMEOUT, NULL};
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
												 : go_on_connecting(conn, PGRES_POLLING_WRITING, until, error);
	if (outcome == FEED_OK || outcome == FEED_WAITING)
		*connection = conn;
	else
		feed_connection_close(conn);
	return outcome;
}

/* Is a connection ready by now?  Does not wait. */
FeedOutcome
feed_connection_resume(FeedConnection *connection, StringInfo error)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 1);

	if (PQstatus(connection) == CONNECTION_OK)
		return FEED_OK;
	return go_on_connecting(connection, PGRES_POLLING_READING, until, error);
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
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	if (PQresultStatus(result) == PGRES_TUPLES_OK && !PQgetisnull(result, 0, 0))
	{
		appendBinaryStringInfo(answer, PQgetvalue(result, 0, 0), PQgetlength(result, 0, 0));
		return FEED_OK;
	}
	if (sqlstate == NULL)
		return fail(conn, error);
	appendStringInfoString(error, message != NULL ? message : "an error without a message");
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
