/*-------------------------------------------------------------------------
 *
 * feed_links.c
 *	  The links of a standby's databases to the server that it follows.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A link tells what was used here, and reads what has changed there, in requests
 * and their answers.  It begins with a hello.  To a server that does not know this
 * one, all whole windows are told first, and nothing is read meanwhile: if the
 * other one is new, or has lost its memory, what it says would undo what is known
 * here.  Then rounds follow, each of which passes over the tables of both servers.
 *
 * Deltas that have been read are in flight until they are acknowledged; until then
 * they are sent again, under the same number, and count as untold: nobody may evict
 * their windows.  If the other server is another one by then, they are not sent again:
 * whether the last one had passed them on is not known, and whole windows, which it is
 * told first, have them.
 *
 * Only the feed worker writes a link.  The lock is for those who read how it is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/ascii.h"
#include "utils/timestamp.h"

#include "live/feed_apply.h"
#include "live/feed_links.h"
#include "live/feed_servers.h"
#include "live/feed_uses.h"

#define GIVE_UP_AFTER	(10 * USECS_PER_SEC)

static FeedLink *
find_link(FeedState *feed, Oid database)
{
	for (int i = 0; i < FEED_MAX_LINKS; i++)
	{
		if (feed->links[i].database == database)
			return &feed->links[i];
	}
	return NULL;
}

/* Is the server that this one follows told of another database? */
static bool
any_is_up(const FeedState *feed)
{
	for (int i = 0; i < FEED_MAX_LINKS; i++)
	{
		if (feed->links[i].state == FEED_LINK_UP)
			return true;
	}
	return false;
}

/*
 * Does a database make way for another one?  If it has no apikeys, or could never be
 * connected to; or not for a while, though the server is there.
 */
static bool
makes_way(const FeedState *feed, const FeedLink *link, TimestampTz now)
{
	if (link->state == FEED_LINK_NO_EXTENSION)
		return true;
	if (link->state != FEED_LINK_DOWN || link->refused_since == 0)
		return false;
	return link->succeeded_at == 0 || (now - link->refused_since >= GIVE_UP_AFTER && any_is_up(feed));
}

/* Returns a link that is free, or that of a database which makes way; or NULL. */
static FeedLink *
find_spare(FeedState *feed, TimestampTz now)
{
	FeedLink   *spare = find_link(feed, InvalidOid);

	for (int i = 0; i < FEED_MAX_LINKS && spare == NULL; i++)
	{
		if (makes_way(feed, &feed->links[i], now))
			spare = &feed->links[i];
	}
	return spare;
}

/* What is in flight is not to be told again. */
static void
end_flight(FeedLink *link)
{
	if (link->in_flight)
		feed_uses_acknowledge(link->database, link->items, link->nitems, link->collected_at);
	link->in_flight = false;
	link->nitems = 0;
}

/* Gives a link to a database, or InvalidOid, whose it was before. */
static void
give_to(FeedState *feed, FeedLink *link, Oid database)
{
	end_flight(link);
	LWLockAcquire(&feed->lock, LW_EXCLUSIVE);
	memset(link, 0, sizeof(FeedLink));
	link->database = database;
	LWLockRelease(&feed->lock);
}

/* Returns the link of a database, a new one if it has none; NULL: there is no space. */
FeedLink *
feed_links_get(Oid database, TimestampTz now)
{
	FeedState  *feed = feed_state_attach();
	FeedLink   *link = find_link(feed, database);

	Assert(OidIsValid(database));
	if (link != NULL)
		return link;
	link = find_spare(feed, now);
	if (link != NULL)
		give_to(feed, link, database);
	return link;
}

/* Removes the links of all databases but these. */
void
feed_links_keep(const Oid *databases, int n)
{
	FeedState  *feed = feed_state_attach();

	for (int i = 0; i < FEED_MAX_LINKS; i++)
	{
		FeedLink   *link = &feed->links[i];
		int			d = 0;

		while (d < n && databases[d] != link->database)
			d++;
		if (d == n && OidIsValid(link->database))
			give_to(feed, link, InvalidOid);
	}
}

/* Reads how the link of a database is. */
void
feed_links_read(Oid database, FeedLinkStatus *status)
{
	FeedState  *feed = feed_state_attach();
	FeedLink   *link;

	memset(status, 0, sizeof(FeedLinkStatus));
	LWLockAcquire(&feed->lock, LW_SHARED);
	link = find_link(feed, database);
	if (link != NULL)
	{
		status->state = link->state;
		status->succeeded_at = link->succeeded_at;
		status->error_at = link->error_at;
		memcpy(status->error, link->error, FEED_ERROR_BYTES);
	}
	else
		status->state = find_spare(feed, GetCurrentTimestamp()) != NULL ? FEED_LINK_DOWN : FEED_LINK_LEFT_OUT;
	LWLockRelease(&feed->lock);
}

/* Sets how a link is; if it is up, all was told and is known now. */
void
feed_links_set_state(FeedLink *link, FeedLinkState state, TimestampTz now)
{
	FeedState  *feed = feed_state_attach();

	LWLockAcquire(&feed->lock, LW_EXCLUSIVE);
	link->state = state;
	if (state == FEED_LINK_UP)
	{
		link->succeeded_at = now;
		link->refused_since = 0;
	}
	LWLockRelease(&feed->lock);
}

/*
 * Notes that an attempt has failed, and why; or that it still goes on.  Deltas in flight
 * stay there; whole windows are told from the start.
 */
void
feed_links_set_error(FeedLink *link, bool refused, const char *error, TimestampTz now)
{
	FeedState  *feed = feed_state_attach();

	if (link->syncing)
		link->next_told = 0;
	LWLockAcquire(&feed->lock, LW_EXCLUSIVE);
	ascii_safe_strlcpy(link->error, error, FEED_ERROR_BYTES);
	link->error_at = now;
	if (refused && link->refused_since == 0)
		link->refused_since = now;
	LWLockRelease(&feed->lock);
}

/* ---------------------------------------------------------- the protocol */

/* Reads the next deltas, unless some are in flight. */
static void
read_deltas(FeedLink *link, TimestampTz now)
{
	if (link->in_flight)
		return;
	link->nitems = link->next_told == FEED_PASS_ENDED ? 0 : feed_uses_read_untold(link->database, &link->next_told, link->items, now);
	link->collected_at = GetCurrentTimestamp();
	link->batch++;
	link->in_flight = true;
}

/* Prepares the next request of a link, which has space for its items. */
void
feed_links_prepare(FeedLink *link, FeedRequest *request, TimestampTz now)
{
	request->node = feed_state_attach()->node;
	request->epoch = link->epoch;
	request->nservers = feed_servers_collect(link->database, request->servers, now);
	request->nitems = 0;
	request->collected_at = now;
	request->cursor = link->cursor;
	request->kind = link->epoch == 0 ? FEED_HELLO : link->syncing ? FEED_WHOLE
																  : FEED_DELTAS;
	if (request->kind == FEED_WHOLE)
		request->nitems = feed_uses_read_whole(link->database, &link->next_told, request->items, now);
	else if (request->kind == FEED_DELTAS)
	{
		read_deltas(link, now);
		request->collected_at = link->collected_at;
		request->nitems = link->nitems;
		memcpy(request->items, link->items, link->nitems * sizeof(FeedItem));
	}
	request->batch = link->batch;
}

/* Begins with a server that does not know this one. */
static void
begin_anew(FeedLink *link, uint64 epoch)
{
	if (link->epoch != epoch)
		feed_servers_forget(link->database, epoch);
	link->epoch = epoch;
	end_flight(link);
	link->syncing = true;
	link->next_told = 0;
	memset(&link->cursor, 0, sizeof(FeedCursor));
}

/* Processes the answer to deltas; returns whether the round has ended. */
static bool
process_changes(FeedLink *link, const FeedAnswer *answer)
{
	end_flight(link);
	(void) feed_apply(link->database, FEED_FROM_LEADER, answer->items, answer->nitems, link->collected_at);
	link->cursor = answer->cursor;
	if (link->cursor.next != FEED_PASS_ENDED || link->next_told != FEED_PASS_ENDED)
		return false;
	link->cursor = (FeedCursor){.since = answer->cursor.upto};
	link->next_told = 0;
	return true;
}

/* Processes an answer; returns whether all has been told and is known. */
bool
feed_links_process(FeedLink *link, const FeedRequest *request, const FeedAnswer *answer)
{
	if (!answer->accepted)
	{
		begin_anew(link, answer->epoch);
		return false;
	}
	if (request->kind == FEED_DELTAS)
		return process_changes(link, answer);

	if (link->next_told == FEED_PASS_ENDED)
	{
		link->syncing = false;
		link->next_told = 0;
	}
	return false;
}
