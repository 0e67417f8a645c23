/*-------------------------------------------------------------------------
 *
 * key_lookup.h
 *	  Finds a key by its hash, with what it takes from its plan and parent.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_KEY_LOOKUP_H
#define APIKEYS_STORE_KEY_LOOKUP_H

#include "settings/hmac_secrets.h"
#include "store/keys.h"

/* A hash under which a key may be stored, and the secret it is computed with. */
typedef struct KeyCandidate
{
	bytea	   *hash;
	const char *secret;			/* name; NULL: plain SHA-256 */
} KeyCandidate;

/* One for each secret in use, for each that is not loaded yet, and without. */
#define KEY_MAX_CANDIDATES	(HMAC_SECRETS_MAX * 2 + 1)

extern bool store_find_key(const KeyCandidate *candidates, int ncandidates, KeyRow *row,
						   int *candidate);

#endif							/* APIKEYS_STORE_KEY_LOOKUP_H */
