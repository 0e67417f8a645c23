/*-------------------------------------------------------------------------
 *
 * permissions.h
 *	  The permissions and rate-limit documents of a key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_PERMISSIONS_H
#define APIKEYS_MODEL_PERMISSIONS_H

#include "utils/jsonb.h"

#include "model/window.h"

/*
 * A list of patterns, laid out to be read with each request: for each a byte
 * that tells whether it is a prefix, a byte with its length, and its text
 * without the asterisk.
 */
typedef bytea Patterns;

typedef struct Permissions
{
	Patterns   *allowed_models; /* NULL: there is none */
	Patterns   *allowed_endpoints;
	Patterns   *custom_permissions;
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

extern void permissions_parse(Jsonb *document, Permissions *permissions);
extern void rate_limits_parse(Jsonb *document, RateLimits *limits);
extern bool rate_limits_have_windows(const RateLimits *limits);
extern bool rate_limits_any(const RateLimits *limits);
extern const char *rate_limits_name(int limit);
extern bool patterns_match(const Patterns *patterns, const text *subject);
extern bool patterns_allow(const Patterns *patterns, const text *subject);

#endif							/* APIKEYS_MODEL_PERMISSIONS_H */
