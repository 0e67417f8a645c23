/*-------------------------------------------------------------------------
 *
 * feed_state.h
 *	  What servers know of each other's use, in shared memory.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_FEED_STATE_H
#define APIKEYS_LIVE_FEED_STATE_H

#include "storage/lwlock.h"
#include "utils/timestamp.h"

#include "base/shmem.h"
#include "model/feed_message.h"

#define FEED_MAX_SERVERS	64		/* that have told of themselves */
#define FEED_MAX_LINKS		16		/* databases that a standby tells of */
#define FEED_MAX_COMMANDS	16		/* that need a database for themselves, at once */
#define FEED_ERROR_BYTES	256

/* When an entry of the table of tracked keys was last seen to have changed. */
typedef struct FeedMark
{
	uint64		position;		/* 0: never */
	TimestampTz seen_use;		/* its last use then */
	uint32		seen_version;	/* and the version of its limits */
} FeedMark;

/* A server that tells this one of its use, or is told of by one that does. */
typedef struct FeedServer
{
	Oid			database;		/* InvalidOid: the slot is free */
	bool		direct;			/* it has asked itself */
	int			pid;			/* of the backend that it has asked last; 0: none */
	uint64		batch;			/* the last one that was taken */
	TimestampTz heard_at;
	FeedServerState state;
} FeedServer;

/* A command that needs a database for itself. */
typedef struct FeedCommand
{
	Oid			database;
	int			pid;			/* of its session; 0: none */
} FeedCommand;

/* How a link is. */
typedef enum FeedLinkState
{
	FEED_LINK_DOWN,				/* not connected, or the last attempt has failed */
	FEED_LINK_CATCHING_UP,		/* connected, and not everything has been told yet */
	FEED_LINK_UP,
	FEED_LINK_NO_EXTENSION,		/* the database has none */
	FEED_LINK_LEFT_OUT			/* there is no link for it */
} FeedLinkState;

/*
 * The link of a database to the server that this one follows.  Here, and not in
 * the worker's memory, so that it survives the worker: what is on its way must be
 * sent again under the same number.  Written by the worker alone; the lock guards
 * what others read, up to error_at.
 */
typedef struct FeedLink
{
	Oid			database;		/* InvalidOid: the slot is free */
	FeedLinkState state;
	TimestampTz succeeded_at;	/* when all was told and known; 0: never */
	char		error[FEED_ERROR_BYTES]; /* the last one; empty: none */
	TimestampTz error_at;
	TimestampTz refused_since;	/* each attempt since then has failed; 0: none has */
	uint64		epoch;			/* node of the other server; 0: unknown */
	uint64		batch;			/* number of the last deltas */
	bool		in_flight;		/* they have not been acknowledged */
	bool		syncing;		/* whole windows are to be told first */
	int			next_told;		/* entry from which to go on telling; FEED_PASS_ENDED */
	FeedCursor	cursor;			/* of what the other server tells */
	TimestampTz collected_at;
	int			nitems;			/* in flight */
	FeedItem	items[FEED_BATCH];
} FeedLink;

typedef struct FeedState
{
	ShmemHeader header;
	LWLock		lock;			/* of all but what says otherwise; taken before those of partitions */
	uint64		node;			/* constant: random, not 0 */
	TimestampTz since;			/* constant */
	uint64		position;		/* of the last pass over the table */
	int			nmarks;			/* constant */
	FeedServer	servers[FEED_MAX_SERVERS];
	FeedCommand commands[FEED_MAX_COMMANDS];
	FeedLink	links[FEED_MAX_LINKS];
} FeedState;

extern void feed_state_init(void);
extern FeedState *feed_state_attach(void);
extern FeedMark *feed_state_marks(FeedState *feed);
extern UseDelta *feed_state_deltas(void);

#endif							/* APIKEYS_LIVE_FEED_STATE_H */
