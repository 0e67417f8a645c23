/*-------------------------------------------------------------------------
 *
 * feed_servers.c
 *	  The servers that tell this one of their use.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A server has a slot for each of its databases.  The slot knows the number of the
 * last batch of deltas that was taken: if the answer is lost, the batch comes again
 * and must not count twice.  When all slots are used, the server that was not heard
 * of for longest loses its own, unless that is lately; when it comes back, it is asked
 * to begin anew.
 *
 * A server that is told of its own use is in a ring: what it adds would come back and
 * be added again, without end.  Whoever asks says of which servers it has been told,
 * so this one sees itself there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/guc.h"

#include "live/counters.h"
#include "live/feed_servers.h"
#include "live/feed_sessions.h"
#include "settings/feed_settings.h"

#define KEEP_SLOT			(60 * USECS_PER_SEC)
#define KEEP_SLOT_ROUNDS	3

StaticAssertDecl(FEED_NCOUNTS == COUNT_BUDGET_EXCEEDED + 1, "a server tells each outcome");

/* For how long a silent server is told of, and keeps its slot, in microseconds. */
static TimestampTz
keep_slot(void)
{
	return Max(KEEP_SLOT, KEEP_SLOT_ROUNDS * guc_feed_interval * INT64CONST(1000));
}

static FeedServer *
find_server(FeedState *feed, Oid database, uint64 node)
{
	for (int i = 0; i < FEED_MAX_SERVERS; i++)
	{
		if (feed->servers[i].database == database && feed->servers[i].state.node == node)
			return &feed->servers[i];
	}
	return NULL;
}

/* Returns a slot for a server that has none, or NULL.  Exclusive lock. */
static FeedServer *
add_server(FeedState *feed, Oid database, uint64 node, TimestampTz now)
{
	FeedServer *reusable = NULL;

	for (int i = 0; i < FEED_MAX_SERVERS; i++)
	{
		FeedServer *server = &feed->servers[i];

		if (reusable == NULL || !OidIsValid(server->database) ||
			(OidIsValid(reusable->database) && server->heard_at < reusable->heard_at))
			reusable = server;
	}
	if (OidIsValid(reusable->database) && now - reusable->heard_at < keep_slot() && now >= reusable->heard_at)
		return NULL;

	feed_sessions_end(reusable);
	memset(reusable, 0, sizeof(FeedServer));
	reusable->database = database;
	reusable->state.node = node;
	reusable->heard_at = now;
	return reusable;
}

/* Is what a request tells, or part of it, what this server has told? */
bool
feed_servers_name_this(const FeedRequest *request)
{
	uint64		this_node = feed_state_attach()->node;

	for (int i = 0; i < request->nservers; i++)
	{
		if (request->servers[i].node == this_node)
			return true;
	}
	return request->node == this_node;
}

/* What is a request?  Notes who has made it.  Exclusive lock. */
static FeedRecognition
recognize(FeedState *feed, Oid database, const FeedRequest *request, TimestampTz now)
{
	FeedRecognition recognition = FEED_NEW;
	FeedServer *server = find_server(feed, database, request->node);

	if (server == NULL || !server->direct || request->epoch != feed->node || request->kind == FEED_HELLO)
		recognition = FEED_UNKNOWN_SERVER;
	else if (request->kind == FEED_DELTAS && request->batch <= server->batch)
		recognition = FEED_REPEATED;

	if (server == NULL)
		server = add_server(feed, database, request->node, now);
	if (server == NULL)
		return FEED_NO_SPACE;

	feed_sessions_register(server);
	server->direct = true;
	server->heard_at = now;
	if (recognition == FEED_UNKNOWN_SERVER)
		server->batch = 0;
	else if (request->kind == FEED_DELTAS)
		server->batch = request->batch;
	return recognition;
}

/*
 * Is a request one of a server that is known, and does it begin where this one has
 * stopped?  If it brings deltas, these have to be taken now: their number is noted.
 */
FeedRecognition
feed_servers_recognize(Oid database, const FeedRequest *request, TimestampTz now)
{
	FeedState  *feed = feed_state_attach();
	FeedRecognition recognition = FEED_EXCLUDED;

	LWLockAcquire(&feed->lock, LW_EXCLUSIVE);
	if (feed_sessions_may_stay(feed, database))
		recognition = recognize(feed, database, request, now);
	LWLockRelease(&feed->lock);

	return recognition;
}

/* Is a server one from which this one hears directly? */
static bool
tells_itself(const FeedServer *server, TimestampTz now)
{
	return server != NULL && server->direct && now - server->heard_at < keep_slot();
}

/* Records what a request says of servers; those for which there is no space are left out. */
void
feed_servers_record(Oid database, const FeedRequest *request, TimestampTz now)
{
	FeedState  *feed = feed_state_attach();

	LWLockAcquire(&feed->lock, LW_EXCLUSIVE);
	for (int i = 0; i < request->nservers; i++)
	{
		const FeedServerState *state = &request->servers[i];
		FeedServer *server = find_server(feed, database, state->node);

		if (state->node == feed->node || (state->node != request->node && tells_itself(server, now)))
			continue;
		if (server == NULL)
			server = add_server(feed, database, state->node, now);
		if (server == NULL)
			continue;
		server->state = *state;
		server->heard_at = now;
		server->direct = state->node == request->node;
	}
	LWLockRelease(&feed->lock);
}

/*
 * Forgets a server that this one follows from now on: it may have followed this one
 * before.  If it still does, it will be heard of again.
 */
void
feed_servers_forget(Oid database, uint64 node)
{
	FeedState  *feed = feed_state_attach();
	FeedServer *server;

	LWLockAcquire(&feed->lock, LW_EXCLUSIVE);
	server = find_server(feed, database, node);
	if (server != NULL)
	{
		feed_sessions_end(server);
		memset(server, 0, sizeof(FeedServer));
	}
	LWLockRelease(&feed->lock);
}

/* Sets what this server has counted. */
static void
set_own_state(FeedState *feed, FeedServerState *state)
{
	uint64		totals[COUNT_NCOUNTERS] = {0};

	memset(state, 0, sizeof(FeedServerState));
	state->node = feed->node;
	state->since = feed->since;
	strlcpy(state->name, cluster_name, FEED_NAME_BYTES);
	if (counters_read(totals, &state->since))
		memcpy(state->counts, totals, sizeof(state->counts));
}

/* Collects what is to be told of servers: this one first.  Returns their number. */
int
feed_servers_collect(Oid database, FeedServerState *states, TimestampTz now)
{
	FeedState  *feed = feed_state_attach();
	int			n = 1;

	set_own_state(feed, &states[0]);
	LWLockAcquire(&feed->lock, LW_SHARED);
	for (int i = 0; i < FEED_MAX_SERVERS && n < FEED_SERVERS; i++)
	{
		if (feed->servers[i].database == database && now - feed->servers[i].heard_at < keep_slot())
			states[n++] = feed->servers[i].state;
	}
	LWLockRelease(&feed->lock);

	return n;
}

/* Copies the servers of a database into an array for FEED_MAX_SERVERS; returns how many. */
int
feed_servers_read(Oid database, FeedServer *servers)
{
	FeedState  *feed = feed_state_attach();
	int			n = 0;

	LWLockAcquire(&feed->lock, LW_SHARED);
	for (int i = 0; i < FEED_MAX_SERVERS; i++)
	{
		if (feed->servers[i].database == database)
			servers[n++] = feed->servers[i];
	}
	LWLockRelease(&feed->lock);

	return n;
}

/* Forgets the servers of a database that was dropped. */
void
feed_servers_remove_database(Oid database)
{
	FeedState  *feed = feed_state_attach();

	if (feed == NULL)
		return;
	LWLockAcquire(&feed->lock, LW_EXCLUSIVE);
	for (int i = 0; i < FEED_MAX_SERVERS; i++)
	{
		if (feed->servers[i].database == database)
			memset(&feed->servers[i], 0, sizeof(FeedServer));
	}
	LWLockRelease(&feed->lock);
}
