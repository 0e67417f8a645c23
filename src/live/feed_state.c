/*-------------------------------------------------------------------------
 *
 * feed_state.c
 *	  What servers know of each other's use, in shared memory.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A standby tells the server that it follows what was added to each window since
 * it last did so (UseDelta), and is told what the windows are then.  So servers
 * form a tree, as they do in replication: what is told upwards must be told
 * exactly once, and what comes back down is a state, which may come any number of
 * times.  The segment has
 *
 * - a mark for each entry of the table of tracked keys: the position at which it
 *   was seen to have changed (feed_changes.c);
 * - a delta for each of its windows, guarded by the lock of the window's partition;
 *   written on standbys alone (tracked_windows.c, feed_uses.c);
 * - the servers that have told this one, with the number of the last batch that was
 *   taken (feed_servers.c);
 * - the links to the server that this one follows, one a database (feed_links.c).
 *
 * All of it is gone after a crash or a restart.  Then the server has another node
 * number, and whoever told it before begins anew with whole windows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/random.h"
#include "live/feed_state.h"
#include "live/tracked_windows.h"
#include "settings/guc.h"

static Size feed_size(void);
static void feed_init_shared(void *address);

static ShmemSegment segment = {
	.name = "apikeys feed",
	.size = feed_size,
	.init = feed_init_shared,
};

/* For how many entries of the table there are marks, see tracked_keys.c. */
static int
count_marks(void)
{
	return guc_max_tracked_keys;
}

static Size
marks_offset(void)
{
	return CACHELINEALIGN(sizeof(FeedState));
}

static Size
deltas_offset(void)
{
	return CACHELINEALIGN(add_size(marks_offset(), mul_size(count_marks(), sizeof(FeedMark))));
}

static Size
feed_size(void)
{
	return add_size(deltas_offset(),
					mul_size(count_marks(), TRACKED_WINDOWS_PER_ENTRY * sizeof(UseDelta)));
}

/* Returns a random number that is not 0. */
static uint64
generate_node(void)
{
	uint64		node = 0;

	while (node == 0)
		random_fill(&node, sizeof(node));
	return node;
}

/* The memory has been zeroed. */
static void
feed_init_shared(void *address)
{
	FeedState  *feed = address;

	LWLockInitialize(&feed->lock, feed->header.tranche_id);
	feed->node = generate_node();
	feed->since = GetCurrentTimestamp();
	feed->nmarks = count_marks();
}

void
feed_state_init(void)
{
	shmem_add(&segment);
}

/* Returns the state, or NULL where the library is not preloaded. */
FeedState *
feed_state_attach(void)
{
	return shmem_preloaded() ? shmem_attach(&segment) : NULL;
}

/* The marks, by the numbers of the entries in the whole table; feed->lock. */
FeedMark *
feed_state_marks(FeedState *feed)
{
	return (FeedMark *) ((char *) feed + marks_offset());
}

/*
 * The deltas of the windows, by their numbers in the whole table; NULL if there are
 * none.  The locks of their partitions.
 */
UseDelta *
feed_state_deltas(void)
{
	FeedState  *feed = feed_state_attach();

	return feed != NULL ? (UseDelta *) ((char *) feed + deltas_offset()) : NULL;
}
