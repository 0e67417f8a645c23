/*-------------------------------------------------------------------------
 *
 * feed_message.h
 *	  What servers tell each other of the use of keys: requests and answers; pure.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_FEED_MESSAGE_H
#define APIKEYS_MODEL_FEED_MESSAGE_H

#include "lib/stringinfo.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "model/ip_address.h"
#include "model/use_delta.h"

#define FEED_BATCH			512		/* items in a message, at most */
#define FEED_SERVERS		16		/* servers in a request, at most */
#define FEED_NAME_BYTES		64		/* with the zero byte at its end */
#define FEED_NCOUNTS		9		/* the outcomes of verify */

/* The last use of a key, or what was used of a limit. */
typedef struct FeedItem
{
	pg_uuid_t	owner;			/* a key, a family or a budget */
	uint64		limit_id;		/* 0: it is a last use, and the next two are 0 */
	int32		seconds;		/* length of the window */
	int32		unit;			/* WindowUnit */
	UseDelta	used;			/* start: the last use; current: its max_lag */
	PackedAddress ip;			/* of a last use, if it is known */
} FeedItem;

/* A server whose use is told: the one that asks, or one that has told it. */
typedef struct FeedServerState
{
	uint64		node;			/* random, another one after each start */
	TimestampTz since;			/* when it was started */
	char		name[FEED_NAME_BYTES];
	uint64		counts[FEED_NCOUNTS]; /* since then */
} FeedServerState;

typedef enum FeedKind
{
	FEED_HELLO,					/* nothing is told: is there anybody? */
	FEED_WHOLE,					/* items are whole windows, of which the greater counts */
	FEED_DELTAS					/* items are what was added, and last uses; changes are wanted */
} FeedKind;

/* How far the changes of another server have been read. */
typedef struct FeedCursor
{
	uint64		since;			/* up to this position all have been */
	uint64		upto;			/* this pass reads up to this one; 0: it begins */
	int32		next;			/* entry of the table; FEED_PASS_ENDED */
} FeedCursor;

#define FEED_PASS_ENDED	(-1)

typedef struct FeedRequest
{
	uint64		node;			/* who asks */
	uint64		epoch;			/* who is asked: its node; 0: not known yet */
	uint64		batch;			/* of deltas; the same again if there was no answer */
	FeedKind	kind;
	TimestampTz collected_at;
	FeedCursor	cursor;
	int			nservers;
	int			nitems;
	FeedServerState servers[FEED_SERVERS];
	FeedItem   *items;			/* FEED_BATCH, the caller's */
} FeedRequest;

typedef struct FeedAnswer
{
	uint64		epoch;			/* who answers: its node */
	bool		accepted;		/* false: it knows nothing of who asks, and has taken nothing */
	FeedCursor	cursor;
	int			nitems;
	FeedItem   *items;			/* whole windows and last uses; FEED_BATCH, the caller's */
} FeedAnswer;

extern void feed_request_write(StringInfo buffer, const FeedRequest *request);
extern bool feed_request_read(StringInfo buffer, FeedRequest *request);
extern void feed_answer_write(StringInfo buffer, const FeedAnswer *answer);
extern bool feed_answer_read(StringInfo buffer, FeedAnswer *answer);
extern Size feed_request_max_size(void);

#endif							/* APIKEYS_MODEL_FEED_MESSAGE_H */
