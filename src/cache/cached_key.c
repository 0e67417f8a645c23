/*-------------------------------------------------------------------------
 *
 * cached_key.c
 *	  A key as a backend has it in memory.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"

#include "base/compat.h"
#include "cache/cached_key.h"
#include "cache/invalidation.h"
#include "model/idleness.h"

/* Frees what a key points to. */
void
cached_key_free_contents(CachedKey *key)
{
	if (key->row.tuple != NULL)
		heap_freetuple(key->row.tuple);
	if (key->result != NULL)
		heap_freetuple(key->result);
	if (key->permission_check != NULL)
		pfree(key->permission_check);
	if (key->limits != NULL)
		pfree(key->limits);
	if (key->own_limits != NULL)
		pfree(key->own_limits);
	key->row.tuple = NULL;
	key->result = NULL;
	key->permission_check = NULL;
	key->limits = NULL;
	key->own_limits = NULL;
}

/*
 * Parses the rate limits of a key.  A derived one counts in its parent's, which
 * are those of the family, and in its own.
 */
static void
parse_limits(CachedKey *key, MemoryContext memory)
{
	const KeyRow *row = &key->row;
	bool		is_derived = !row->nulls[KEY_PARENT_ID];

	key->limits = rate_limits_parse(DatumGetJsonbP(row->values[is_derived ? KEY_PARENT_LIMITS : KEY_RATE_LIMITS]), memory);
	key->own_limits = is_derived ? rate_limits_parse(DatumGetJsonbP(row->values[KEY_OWN_LIMITS]), memory) : NULL;
}

/* Nothing is known yet of the last use of a key with an idle_timeout. */
static void
parse_idle_timeout(CachedKey *key)
{
	key->idle_end = DT_NOEND;
	key->use_max_lag = 0;
	if (!key->row.nulls[KEY_IDLE_TIMEOUT])
	{
		key->idle_end = DT_NOBEGIN;
		key->use_max_lag = idleness_max_lag(DatumGetIntervalP(key->row.values[KEY_IDLE_TIMEOUT]));
	}
}

/*
 * Completes a key of which the row, the candidate and the stamp are known: it is
 * found by a hash, and what it points to is in a memory context.
 */
void
cached_key_complete(CachedKey *key, const bytea *hash, MemoryContext memory)
{
	key->rehash_requested_at = 0;
	key->use_recorded_at = 0;
	key->parent_use_recorded_at = 0;
	key->cached = false;
	key->changed = false;
	memset(&key->budget, 0, sizeof(key->budget));
	memcpy(key->hash, VARDATA_ANY(hash), KEY_HASH_LEN);
	key->bits = invalidation_of_key(hash);
	parse_limits(key, memory);
	parse_idle_timeout(key);
}
