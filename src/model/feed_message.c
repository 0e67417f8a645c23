/*-------------------------------------------------------------------------
 *
 * feed_message.c
 *	  What servers tell each other of the use of keys: requests and answers; pure.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A message is a version, a header of fixed size, and arrays of records of fixed
 * sizes, all in network byte order.  A reader looks at the size first, and at each
 * value before it is believed: later arithmetic relies on it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "libpq/pqformat.h"

#include "model/feed_message.h"
#include "model/rate_limits.h"

#define MESSAGE_VERSION		1
#define ITEM_SIZE			(UUID_LEN + 8 + 4 + 4 + 3 * 8 + 16)
#define SERVER_SIZE			(8 + 8 + FEED_NAME_BYTES + FEED_NCOUNTS * 8)
#define REQUEST_HEADER_SIZE	(4 + 3 * 8 + 4 + 8 + 20 + 2 * 4)
#define ANSWER_HEADER_SIZE	(4 + 8 + 4 + 20 + 4)

StaticAssertDecl(sizeof(PackedAddress) == 16, "an address takes 16 bytes of a message");

/* ---------------------------------------------------------------- records */

static void
write_item(StringInfo buffer, const FeedItem *item)
{
	pq_sendbytes(buffer, (const char *) item->owner.data, UUID_LEN);
	pq_sendint64(buffer, item->limit_id);
	pq_sendint32(buffer, item->seconds);
	pq_sendint32(buffer, item->unit);
	pq_sendint64(buffer, item->used.start);
	pq_sendint64(buffer, item->used.current);
	pq_sendint64(buffer, item->used.previous);
	pq_sendbytes(buffer, (const char *) &item->ip, sizeof(PackedAddress));
}

/* Are the values of an item possible? */
static bool
item_is_valid(const FeedItem *item)
{
	if (!IS_VALID_TIMESTAMP(item->used.start) ||
		item->used.current == PG_INT64_MIN || item->used.previous == PG_INT64_MIN)
		return false;
	if (item->limit_id == 0)
		return item->used.current >= 0 && item->used.current <= PG_INT32_MAX;
	return item->seconds > 0 && item->seconds <= WINDOW_MAX_LENGTH / USECS_PER_SEC &&
		   item->unit >= 0 && item->unit < WINDOW_NUNITS;
}

static bool
read_item(StringInfo buffer, FeedItem *item)
{
	memcpy(item->owner.data, pq_getmsgbytes(buffer, UUID_LEN), UUID_LEN);
	item->limit_id = pq_getmsgint64(buffer);
	item->seconds = pq_getmsgint(buffer, 4);
	item->unit = pq_getmsgint(buffer, 4);
	item->used.start = pq_getmsgint64(buffer);
	item->used.current = pq_getmsgint64(buffer);
	item->used.previous = pq_getmsgint64(buffer);
	memcpy(&item->ip, pq_getmsgbytes(buffer, sizeof(PackedAddress)), sizeof(PackedAddress));
	return item_is_valid(item);
}

static void
write_items(StringInfo buffer, const FeedItem *items, int nitems)
{
	Assert(nitems >= 0 && nitems <= FEED_BATCH);
	for (int i = 0; i < nitems; i++)
		write_item(buffer, &items[i]);
}

static bool
read_items(StringInfo buffer, FeedItem *items, int nitems)
{
	for (int i = 0; i < nitems; i++)
		if (!read_item(buffer, &items[i]))
			return false;
	return true;
}

static void
write_server(StringInfo buffer, const FeedServerState *server)
{
	pq_sendint64(buffer, server->node);
	pq_sendint64(buffer, server->since);
	pq_sendbytes(buffer, server->name, FEED_NAME_BYTES);
	for (int i = 0; i < FEED_NCOUNTS; i++)
		pq_sendint64(buffer, server->counts[i]);
}

/* A name is for the eyes of an administrator: printable ASCII. */
static bool
read_server(StringInfo buffer, FeedServerState *server)
{
	server->node = pq_getmsgint64(buffer);
	server->since = pq_getmsgint64(buffer);
	memcpy(server->name, pq_getmsgbytes(buffer, FEED_NAME_BYTES), FEED_NAME_BYTES);
	server->name[FEED_NAME_BYTES - 1] = '\0';
	for (int i = 0; i < FEED_NCOUNTS; i++)
		server->counts[i] = pq_getmsgint64(buffer);
	for (const char *c = server->name; *c != '\0'; c++)
		if (*c < ' ' || *c > '~')
			return false;
	return IS_VALID_TIMESTAMP(server->since);
}

static void
write_cursor(StringInfo buffer, const FeedCursor *cursor)
{
	pq_sendint64(buffer, cursor->since);
	pq_sendint64(buffer, cursor->upto);
	pq_sendint32(buffer, cursor->next);
}

static void
read_cursor(StringInfo buffer, FeedCursor *cursor)
{
	cursor->since = pq_getmsgint64(buffer);
	cursor->upto = pq_getmsgint64(buffer);
	cursor->next = pq_getmsgint(buffer, 4);
}

/* --------------------------------------------------------------- messages */

/* No request is larger, in bytes. */
Size
feed_request_max_size(void)
{
	return REQUEST_HEADER_SIZE + FEED_SERVERS * SERVER_SIZE + FEED_BATCH * ITEM_SIZE;
}

void
feed_request_write(StringInfo buffer, const FeedRequest *request)
{
	pq_sendint32(buffer, MESSAGE_VERSION);
	pq_sendint64(buffer, request->node);
	pq_sendint64(buffer, request->epoch);
	pq_sendint64(buffer, request->batch);
	pq_sendint32(buffer, request->kind);
	pq_sendint64(buffer, request->collected_at);
	write_cursor(buffer, &request->cursor);
	pq_sendint32(buffer, request->nservers);
	pq_sendint32(buffer, request->nitems);
	for (int i = 0; i < request->nservers; i++)
		write_server(buffer, &request->servers[i]);
	write_items(buffer, request->items, request->nitems);
}

/* Reads what follows the version; false if it is no request. */
static bool
read_request_header(StringInfo buffer, FeedRequest *request)
{
	request->node = pq_getmsgint64(buffer);
	request->epoch = pq_getmsgint64(buffer);
	request->batch = pq_getmsgint64(buffer);
	request->kind = pq_getmsgint(buffer, 4);
	request->collected_at = pq_getmsgint64(buffer);
	read_cursor(buffer, &request->cursor);
	request->nservers = pq_getmsgint(buffer, 4);
	request->nitems = pq_getmsgint(buffer, 4);
	return request->nservers >= 0 && request->nservers <= FEED_SERVERS &&
		   request->nitems >= 0 && request->nitems <= FEED_BATCH &&
		   (int) request->kind >= FEED_HELLO && (int) request->kind <= FEED_DELTAS &&
		   IS_VALID_TIMESTAMP(request->collected_at) && request->cursor.next >= FEED_PASS_ENDED &&
		   buffer->len == REQUEST_HEADER_SIZE + request->nservers * SERVER_SIZE + request->nitems * ITEM_SIZE;
}

/* Reads a request; false if it is none, or of another version. */
bool
feed_request_read(StringInfo buffer, FeedRequest *request)
{
	if (buffer->len < REQUEST_HEADER_SIZE || pq_getmsgint(buffer, 4) != MESSAGE_VERSION ||
		!read_request_header(buffer, request))
		return false;
	for (int i = 0; i < request->nservers; i++)
		if (!read_server(buffer, &request->servers[i]))
			return false;
	return read_items(buffer, request->items, request->nitems);
}

void
feed_answer_write(StringInfo buffer, const FeedAnswer *answer)
{
	pq_sendint32(buffer, MESSAGE_VERSION);
	pq_sendint64(buffer, answer->epoch);
	pq_sendint32(buffer, answer->accepted);
	write_cursor(buffer, &answer->cursor);
	pq_sendint32(buffer, answer->nitems);
	write_items(buffer, answer->items, answer->nitems);
}

/* Reads an answer; false if it is none, or of another version. */
bool
feed_answer_read(StringInfo buffer, FeedAnswer *answer)
{
	if (buffer->len < ANSWER_HEADER_SIZE || pq_getmsgint(buffer, 4) != MESSAGE_VERSION)
		return false;
	answer->epoch = pq_getmsgint64(buffer);
	answer->accepted = pq_getmsgint(buffer, 4) != 0;
	read_cursor(buffer, &answer->cursor);
	answer->nitems = pq_getmsgint(buffer, 4);
	return answer->nitems >= 0 && answer->nitems <= FEED_BATCH && answer->cursor.next >= FEED_PASS_ENDED &&
		   buffer->len == ANSWER_HEADER_SIZE + answer->nitems * ITEM_SIZE &&
		   read_items(buffer, answer->items, answer->nitems);
}
