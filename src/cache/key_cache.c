/*-------------------------------------------------------------------------
 *
 * key_cache.c
 *	  A backend's cache of the keys it has looked up, coherent with the table.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A lookup must never return a state from before a committed change: in any
 * isolation level, and whatever snapshots the transaction holds.  So:
 *
 * - Triggers on apikeys_data.key, ENABLE ALWAYS, send messages at each UPDATE,
 *   DELETE and TRUNCATE, and those on apikeys_data.plan, whose documents are part
 *   of a row, and on apikeys_data.budget at INSERT, too: see invalidation.c.
 * - A lookup first accepts the messages that have been sent.  One about a key
 *   marks that key's entry as changed, one about a plan those of its keys; so
 *   they are misses.  A message about everything, or one that everything may
 *   have changed, starts a new generation, with an empty cache.
 * - On a miss the row is read with the latest snapshot.  It is cached only if no
 *   message has come since before that snapshot was taken.  So the messages of
 *   a commit that the snapshot has not seen find the entry.
 * - A row that was written by the running transaction is never cached, since
 *   it may yet be rolled back.  Its xmin shows that, however it was written,
 *   so no trigger is needed for INSERT, and creating keys sends nothing.  Nor is
 *   anything cached in a transaction that has sent messages.
 * - Nothing is cached while a trigger is missing or not ENABLE ALWAYS.
 * - That a key was not found is not cached: it may be created at any time.
 *
 * The cache is a hash table by the number that messages have for a key, so that
 * the callback finds it; it has one entry for a number, and the whole hash is
 * compared.  Raw keys are not stored.  A
 * text has a hash with each HMAC secret and a plain one: the candidates.  Each
 * is looked up in the cache; on a miss one statement, with one snapshot, looks
 * for all of them in the table, so a key that is rehashed meanwhile is found
 * by its old or by its new hash.  The cache is emptied when the secrets change.
 *
 * If the cache is full, a clock sweep evicts an entry that has not been used
 * since the sweep last passed it, as the buffer manager does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "cache/invalidation.h"
#include "cache/key_cache.h"
#include "live/counters.h"
#include "model/idleness.h"
#include "settings/guc.h"
#include "settings/hmac_secrets.h"
#include "store/catalog.h"

#define MAX_ROW_SIZE	8192	/* bytes; larger rows are not cached */
#define PREFETCH_SIZE	256
#define PREFETCH_LINE	64		/* cache line size of current processors */

StaticAssertDecl(offsetof(CachedKey, number) == 0,
				 "the hash table's key is its entry's first member");

/* Count messages: all that may concern us, and those about everything. */
static uint64 nmessages = 0;
static uint64 generation = 0;
static uint64 nmessages_at_begin; /* of the current lookup */

static MemoryContext memory = NULL; /* of all that follows */
static HTAB *cache = NULL;		/* of CachedKey */
static CachedKey **entries;		/* all of them, in the order of the clock sweep */
static int	max_entries;		/* apikeys.cache_size when the cache was made */
static int	nentries;
static int	next_victim;
static uint64 cache_generation; /* of all entries */
static uint64 cache_secrets;	/* the secrets of their candidates */
static Oid	invalidation_oid;	/* when the cache was made, like the next three */
static Oid	key_oid;
static Oid	budget_oid;
static Oid	plan_oid;
static bool triggers_enabled;	/* each change invalidates the cache */

/* The row last read, if it could not be cached. */
static CachedKey transient;

/* Marks an entry as changed: the next to be evicted. */
static void
mark_changed(CachedKey *key)
{
	key->changed = true;
	key->used = false;
}

/* Marks what a message has changed: a key, or those that have a plan. */
static void
mark_number(Oid number)
{
	CachedKey  *key = NULL;

	if (INVALIDATION_IS_OF(number, INVALIDATION_KEY))
		key = hash_search(cache, &number, HASH_FIND, NULL);
	if (key != NULL)
		mark_changed(key);
	for (int i = 0; INVALIDATION_IS_OF(number, INVALIDATION_PLAN) && i < nentries; i++)
	{
		if (entries[i]->plan == number)
			mark_changed(entries[i]);
	}
}

/*
 * Relcache callback.  It may be called in nearly any state, so it must neither
 * fail nor free anything.
 */
static void
accept_message(Datum arg, Oid relid)
{
	if (relid == invalidation_oid || relid == key_oid || relid == budget_oid ||
		relid == plan_oid || !OidIsValid(relid))
		generation++;
	else if ((relid & INVALIDATION_BIT) == 0)
		return;
	else if (cache != NULL)
		mark_number(relid);
	nmessages++;
}

/*
 * Does each change of a table invalidate the caches?  Not after ALTER TABLE
 * ... ENABLE TRIGGER ALL, which changes ENABLE ALWAYS to ENABLE, and which is
 * what pg_restore --disable-triggers does at its end.
 */
static bool
has_enabled_triggers(const char *table)
{
	Relation	rel = store_open_table(table);
	int			ntriggers = 0;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger	   *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgenabled == TRIGGER_FIRES_ALWAYS &&
			(strcmp(trigger->tgname, "invalidate_row") == 0 ||
			 strcmp(trigger->tgname, "invalidate_truncate") == 0))
			ntriggers++;
	}
	table_close(rel, AccessShareLock);

	return ntriggers == 2;
}

/* Makes an empty cache of the current generation. */
static void
reset_cache(void)
{
	HASHCTL		ctl = {0};

	if (memory == NULL)
	{
		memory = AllocSetContextCreate(TopMemoryContext, "apikeys cache",
									   ALLOCSET_DEFAULT_SIZES);
		CacheRegisterRelcacheCallback(accept_message, (Datum) 0);
	}
	else if (nentries > 0)
		counters_add(COUNT_CACHE_INVALIDATIONS, 1);

	cache = NULL;
	nentries = 0;
	memset(&transient, 0, sizeof(transient));
	MemoryContextReset(memory);

	/* First, so that a message accepted by the lookups below counts. */
	cache_generation = generation;
	invalidation_oid = store_relation_oid("cache_invalidation");
	key_oid = store_relation_oid("key");
	budget_oid = store_relation_oid("budget");
	plan_oid = store_relation_oid("plan");
	triggers_enabled = has_enabled_triggers("key") && has_enabled_triggers("budget") &&
					   has_enabled_triggers("plan");

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(CachedKey);
	ctl.hcxt = memory;
	max_entries = guc_cache_size;
	entries = MemoryContextAlloc(memory, max_entries * sizeof(CachedKey *));
	next_victim = 0;
	cache_secrets = hmac_secrets_version();
	cache = hash_create("apikeys cache", Min(max_entries, 128), &ctl,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
free_contents(CachedKey *key)
{
	if (key->row.tuple != NULL)
		heap_freetuple(key->row.tuple);
	if (key->result != NULL)
		heap_freetuple(key->result);
	if (key->permission_check != NULL)
		pfree(key->permission_check);
	if (key->limits != NULL)
		pfree(key->limits);
	key->row.tuple = NULL;
	key->result = NULL;
	key->permission_check = NULL;
	key->limits = NULL;
}

/* Evicts an entry; returns its index in entries. */
static int
evict(void)
{
	Assert(nentries > 0 && nentries == max_entries);
	while (entries[next_victim]->used)
	{
		entries[next_victim]->used = false;
		next_victim = (next_victim + 1) % max_entries;
	}
	free_contents(entries[next_victim]);
	hash_search(cache, &entries[next_victim]->number, HASH_REMOVE, NULL);
	return next_victim;
}

/*
 * Moves the row that was read last to the cache, in place of one that has its
 * number, if there is one: mostly the same key before it was changed.
 */
static CachedKey *
cache_transient(void)
{
	CachedKey  *key = hash_search(cache, &transient.number, HASH_FIND, NULL);

	Assert(transient.row.tuple != NULL);
	if (key != NULL)
		free_contents(key);
	else
	{
		int			index = nentries < max_entries ? nentries : evict();

		key = hash_search(cache, &transient.number, HASH_ENTER, NULL);
		entries[index] = key;
		nentries = Max(nentries, index + 1);
	}
	*key = transient;
	key->cached = true;
	key->used = true;
	memset(&transient, 0, sizeof(transient));

	return key;
}

/*
 * May rows that are read now be cached, until there is a message about them?
 * To be called after key_cache_begin(), before the next lookup.
 */
bool
key_cache_is_cacheable(void)
{
	Assert(cache != NULL);
	return triggers_enabled && !invalidation_is_pending();
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
 * Starts a lookup: accepts what has changed, and empties the cache if it is
 * outdated.  To be called before the first probe, in a transaction.
 */
void
key_cache_begin(void)
{
	Assert(IsTransactionState());
	AcceptInvalidationMessages();
	nmessages_at_begin = nmessages;
	if (cache == NULL || generation != cache_generation ||
		cache_secrets != hmac_secrets_version() || max_entries != guc_cache_size)
		reset_cache();
}

/*
 * Prefetches what is read of a key soon, while the key is being checked: if
 * there are many keys, a hit spends most of its time waiting for memory.  The
 * processor's own prefetching gets what is longer than this.  NULL does no
 * harm, nor does memory past the end.
 */
static void
prefetch(const void *start)
{
	for (int i = 0; i < PREFETCH_SIZE; i += PREFETCH_LINE)
		__builtin_prefetch((const char *) start + i);
}

/*
 * Returns the entry of a hash, or NULL, also if the key has changed since.
 * Then its memory is freed, and the entry will be used again or evicted.
 */
static CachedKey *
find_unchanged(const bytea *hash)
{
	Oid			number = invalidation_of_key(hash);
	CachedKey  *key = hash_search(cache, &number, HASH_FIND, NULL);

	if (key == NULL || memcmp(key->hash, VARDATA_ANY(hash), KEY_HASH_LEN) != 0)
		return NULL;
	if (!key->changed)
		return key;

	if (key->row.tuple != NULL)
		counters_add(COUNT_CACHE_INVALIDATIONS, 1);
	free_contents(key);
	return NULL;
}

/*
 * Returns the key with a hash if it is in the cache, or NULL.  The result is
 * valid until the next lookup.
 */
CachedKey *
key_cache_probe(const bytea *hash)
{
	CachedKey  *key = NULL;

	Assert(cache != NULL);
	Assert(VARSIZE_ANY_EXHDR(hash) == KEY_HASH_LEN);

	if (max_entries > 0)
		key = find_unchanged(hash);
	if (key != NULL)
	{
		prefetch(key->permission_check);
		prefetch(key->result);
		key->used = true;
		counters_add(COUNT_CACHE_HITS, 1);
	}

	return key;
}

/*
 * Reads the key with one of these hashes from the table, as it is committed
 * now, and caches it if possible; NULL if there is none.  The result is valid
 * until the next lookup.
 */
CachedKey *
key_cache_read(const KeyCandidate *candidates, int ncandidates)
{
	MemoryContext old;
	bool		found;

	Assert(cache != NULL);
	Assert(ncandidates > 0 && ncandidates <= KEY_MAX_CANDIDATES);

	if (max_entries > 0)
		counters_add(COUNT_CACHE_MISSES, 1);
	free_contents(&transient);
	old = MemoryContextSwitchTo(memory);
	found = store_find_key(candidates, ncandidates, &transient.row, &transient.candidate);
	MemoryContextSwitchTo(old);

	if (!found)
		return NULL;
	transient.rehash_requested_at = 0;
	transient.use_recorded_at = 0;
	memset(&transient.budget, 0, sizeof(transient.budget));
	memcpy(transient.hash, VARDATA_ANY(candidates[transient.candidate].hash), KEY_HASH_LEN);
	transient.number = invalidation_of_key(candidates[transient.candidate].hash);
	transient.plan = transient.row.nulls[KEY_PLAN]
						 ? InvalidOid
						 : invalidation_of_plan(DatumGetTextPP(transient.row.values[KEY_PLAN]));
	transient.limits = rate_limits_parse(DatumGetJsonbP(transient.row.values[KEY_RATE_LIMITS]), memory);
	parse_idle_timeout(&transient);
	if (max_entries > 0 && key_cache_is_cacheable() && key_cache_is_current() &&
		!transient.row.own &&
		transient.row.tuple->t_len <= MAX_ROW_SIZE)
		return cache_transient();
	return &transient;
}

/*
 * Makes the permission check of a key, once for as long as it is cached.  Not
 * done for each key that is read: most requests need no permission.
 */
void
key_cache_make_permission_check(CachedKey *key)
{
	ArrayType  *allowed_ips = NULL;

	Assert(!key->row.nulls[KEY_PERMISSIONS]);
	if (key->permission_check != NULL)
		return;

	if (!key->row.nulls[KEY_ALLOWED_IPS])
		allowed_ips = DatumGetArrayTypeP(key->row.values[KEY_ALLOWED_IPS]);
	key->permission_check = permission_check_create(DatumGetJsonbP(key->row.values[KEY_PERMISSIONS]),
													allowed_ips, memory);
}

/* The memory context for what a CachedKey points to. */
MemoryContext
key_cache_memory(void)
{
	return memory;
}

/* Changes with each message about everything. */
uint64
key_cache_generation(void)
{
	return generation;
}

/* Changes with each message that may concern keys, plans or budgets. */
uint64
key_cache_nmessages(void)
{
	return nmessages;
}

/* Is no change known, of any key, that came since the last key_cache_begin()? */
bool
key_cache_is_current(void)
{
	return nmessages == nmessages_at_begin;
}
