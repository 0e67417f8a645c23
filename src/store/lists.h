/*-------------------------------------------------------------------------
 *
 * lists.h
 *	  The statements on apikeys.info, and those that read apikeys.event.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_LISTS_H
#define APIKEYS_STORE_LISTS_H

#include "funcapi.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* apikey_list's arguments in their order, and where the page starts. */
typedef enum ListArgument
{
	LIST_STATUS,
	LIST_USER_ID,
	LIST_TEAM_ID,
	LIST_EXTERNAL_ID,
	LIST_ROW_LIMIT,
	LIST_ROW_OFFSET,
	LIST_AFTER,
	LIST_AFTER_CREATED_AT,
	LIST_NARGUMENTS
} ListArgument;

typedef struct ListFilter
{
	Datum		values[LIST_NARGUMENTS];
	bool		nulls[LIST_NARGUMENTS];
} ListFilter;

/* apikey_events's arguments in their order. */
typedef enum EventArgument
{
	EVENT_KEY_ID,
	EVENT_SINCE,
	EVENT_ROW_LIMIT,
	EVENT_NARGUMENTS
} EventArgument;

typedef struct EventFilter
{
	Datum		values[EVENT_NARGUMENTS];
	bool		nulls[EVENT_NARGUMENTS];
} EventFilter;

extern Datum store_key_info(const pg_uuid_t *id);
extern bool store_page_start(const pg_uuid_t *id, TimestampTz *created_at);
extern void store_list_keys(ListFilter *filter, ReturnSetInfo *rsinfo);
extern void store_list_events(EventFilter *filter, ReturnSetInfo *rsinfo);

#endif							/* APIKEYS_STORE_LISTS_H */
