/*-------------------------------------------------------------------------
 *
 * policy.h
 *	  The permissions and rate-limit documents of a key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_POLICY_H
#define APIKEYS_POLICY_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* A list of patterns is a List of C strings; NIL where there is none. */
typedef struct Permissions
{
	List	   *allowed_models;
	List	   *allowed_endpoints;
	List	   *custom_permissions;
	int64		max_tokens_per_request; /* 0: unlimited */
	bool		is_admin;
} Permissions;

/* 0: unlimited */
typedef struct RateLimits
{
	int64		requests_per_minute;
	int64		tokens_per_minute;
	int64		requests_per_day;
	int64		tokens_per_day;
	int64		max_concurrent_requests;
} RateLimits;

extern void policy_parse_permissions(Jsonb *document, Permissions *permissions);
extern void policy_parse_rate_limits(Jsonb *document, RateLimits *limits);
extern bool policy_matches(const List *patterns, const text *subject);
extern bool policy_allows(const List *patterns, const text *subject);

#endif							/* APIKEYS_POLICY_H */
