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

#include "window.h"

/* A list of patterns is a List of C strings; NIL where there is none. */
typedef struct Permissions
{
	List	   *allowed_models;
	List	   *allowed_endpoints;
	List	   *custom_permissions;
	int64		max_tokens_per_request; /* 0: unlimited */
	bool		is_admin;
} Permissions;

/* The limits on what passes in a window are WindowKind's. */
#define RATE_SLOTS		WINDOW_NKINDS
#define RATE_NLIMITS	(RATE_SLOTS + 1)

typedef struct RateLimits
{
	int64		max[RATE_NLIMITS]; /* 0: unlimited */
} RateLimits;

extern void policy_parse_permissions(Jsonb *document, Permissions *permissions);
extern void policy_parse_rate_limits(Jsonb *document, RateLimits *limits);
extern bool policy_is_limited(const RateLimits *limits);
extern const char *policy_limit_name(int limit);
extern bool policy_matches(const List *patterns, const text *subject);
extern bool policy_allows(const List *patterns, const text *subject);

#endif							/* APIKEYS_POLICY_H */
