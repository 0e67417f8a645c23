/*-------------------------------------------------------------------------
 *
 * feed_round.c
 *	  One round of telling another server of a database's use, and of asking it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A failure is logged once an hour, and shown in apikeys.stats until a round has
 * ended well.  In a database of that server which has no apikeys, the connection is
 * not kept.  It is tried again after a minute, and one that could never be connected to
 * after a second; or where many databases share the links, after that times their
 * share, so that as many are tried in vain in that time, however many there are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "feed/feed_round.h"

#define LOG_INTERVAL	(3600 * USECS_PER_SEC)

void
feed_round_disconnect(FeedDatabase *database)
{
	if (database->connection != NULL)
		feed_connection_close(database->connection);
	database->connection = NULL;
}

/* For how long a database is left alone after a failure. */
static int64
pause_after(FeedOutcome outcome, const FeedLink *link, int share)
{
	if (outcome == FEED_WAITING)
		return 0;
	if (outcome == FEED_NOT_INSTALLED)
		return share * USECS_PER_MINUTE;
	return link->succeeded_at == 0 ? share * USECS_PER_SEC : USECS_PER_SEC;
}

/* Records that the other server could not be told. */
static void
record_failure(FeedDatabase *database, FeedLink *link, FeedOutcome outcome, const char *error, int share)
{
	TimestampTz now = GetCurrentTimestamp();

	if (error[0] == '\0')
		error = "no answer";
	if (outcome != FEED_WAITING)
		feed_round_disconnect(database);
	if (outcome == FEED_INTERRUPTED)
		return;
	feed_links_set_error(link, outcome == FEED_FAILED, error, now);
	feed_links_set_state(link, outcome == FEED_NOT_INSTALLED ? FEED_LINK_NO_EXTENSION : FEED_LINK_DOWN, now);
	database->next_try = now + pause_after(outcome, link, share);
	if (outcome != FEED_NOT_INSTALLED && now >= database->logged_at + LOG_INTERVAL)
	{
		database->logged_at = now;
		ereport(LOG,
				(errmsg("could not tell the use of API keys in database \"%s\" to the server that this one follows: %s",
						database->name, error)));
	}
}

/* Makes one request and processes its answer; done says whether the round has ended. */
static FeedOutcome
exchange(FeedDatabase *database, FeedLink *link, bool *done, StringInfo error)
{
	FeedRequest *request = palloc(sizeof(FeedRequest));
	FeedAnswer	answer;
	StringInfoData sent;
	StringInfoData received;
	FeedOutcome outcome;

	request->items = palloc(FEED_BATCH * sizeof(FeedItem));
	answer.items = palloc(FEED_BATCH * sizeof(FeedItem));
	initStringInfo(&sent);
	initStringInfo(&received);

	feed_links_prepare(link, request, GetCurrentTimestamp());
	feed_request_write(&sent, request);
	outcome = feed_connection_ask(database->connection, &sent, &received, error);
	if (outcome != FEED_OK)
		return outcome;
	if (!feed_answer_read(&received, &answer))
	{
		appendStringInfoString(error, "the answer is not one of this version");
		return FEED_FAILED;
	}
	*done = feed_links_process(link, request, &answer);
	return FEED_OK;
}

/* Connects if necessary, and exchanges until all is told and known. */
static FeedOutcome
run(FeedDatabase *database, FeedLink *link, const char *conninfo, StringInfo error)
{
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "apikeys feed", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(memory);
	FeedOutcome outcome;
	bool		done = false;

	if (database->connection == NULL)
		outcome = feed_connection_open(conninfo, database->name, &database->connection, error);
	else
		outcome = feed_connection_resume(database->connection, error);
	while (outcome == FEED_OK && !done)
	{
		outcome = exchange(database, link, &done, error);
		if (outcome == FEED_OK && !done && link->state != FEED_LINK_CATCHING_UP)
			feed_links_set_state(link, FEED_LINK_CATCHING_UP, GetCurrentTimestamp());
		MemoryContextReset(memory);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(memory);

	return outcome;
}

/*
 * Runs a round for a database, unless it is to be left alone for now, or there is no
 * space for it.
 */
void
feed_round_run(FeedDatabase *database, const char *conninfo, int share)
{
	TimestampTz now = GetCurrentTimestamp();
	FeedLink   *link;
	StringInfoData error;
	FeedOutcome outcome;

	if (now < database->next_try)
		return;
	link = feed_links_get(database->oid, now);
	if (link == NULL)
	{
		feed_round_disconnect(database);
		return;
	}

	initStringInfo(&error);
	outcome = run(database, link, conninfo, &error);
	if (outcome == FEED_OK)
		feed_links_set_state(link, FEED_LINK_UP, GetCurrentTimestamp());
	else
		record_failure(database, link, outcome, error.data, share);
	pfree(error.data);
}
