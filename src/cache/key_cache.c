/*-------------------------------------------------------------------------
 *
 * key_cache.c
 *	  Keys that this backend has looked up, coherent with the table.
 *
 * No answer may come from before a change that is committed: in any
 * isolation level, with any snapshot held.  So:
 *
 * - A row trigger on apikeys.key, ENABLE ALWAYS, has every UPDATE, DELETE and
 *   TRUNCATE invalidate the relcache entry of apikeys.fence, a table that
 *   nobody reads.  So has one on apikeys.budget, for budget_cache.c, also INSERT.
 *   The server sends such a message after the commit has become visible and
 *   before it is acknowledged, also for COMMIT PREPARED and on a standby that
 *   replays the commit.
 * - A look-up first takes in the messages that have been sent.  One about
 *   the fence, or one that says everything may have changed, starts a new
 *   generation, and with it an empty cache.
 * - On a miss the row is read with the latest snapshot, and kept only if no
 *   new generation has begun since before that snapshot was taken.
 * - A row that the running transaction has written itself is never kept: it
 *   may yet be rolled back.  Its xmin tells, however it was written, so there
 *   is nothing to do on INSERT, and making keys does not empty caches.  Nor
 *   is anything kept in a transaction that has raised the fence.
 * - Nothing is kept while the triggers are not there or not ENABLE ALWAYS.
 * - What was not found is not kept: a key made a moment later must be good.
 *
 * An entry is looked up by the key's hash; the raw key is not kept.  A text
 * has a hash under each HMAC secret and a plain one: the candidates.  The
 * cache is asked for each, and on a miss one statement, with one snapshot,
 * looks for all of them; so a key that is signed anew meanwhile is found, be
 * it under the old hash or under the new one.  Other secrets, other cache.
 *
 * When the cache is full a clock sweeps out an entry that was not used since
 * its next_victim last came by.
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
#include "cache/key_cache.h"
#include "live/counters.h"
#include "settings/guc.h"
#include "settings/hmac_secrets.h"
#include "store/catalog.h"

#define MAX_ROW_SIZE	8192	/* bytes; a larger row is read each time */
#define PREFETCH_SIZE	256
#define PREFETCH_LINE	64		/* a line of today's processors' caches */

/* Counts messages that may concern us; compared, never acted upon. */
static uint64 generation = 0;

static MemoryContext memory = NULL; /* of all that follows */
static HTAB *cache = NULL;		/* of CachedKey */
static CachedKey **ring;		/* the entries, in the clock's order */
static int	ring_size;			/* apikeys.cache_size when it was made */
static int	nentries;
static int	next_victim;
static uint64 cache_generation; /* of all entries */
static uint64 cache_secrets;	/* the secrets of their candidates */
static Oid	fence_oid;			/* as it was when the cache was made */
static Oid	key_oid;
static Oid	budget_oid;
static bool fence_up;			/* no change escapes it */

/* The transaction of this backend that last raised the fence. */
static FullTransactionId writer;

/* The row last found that could not be kept. */
static CachedKey transient;

PG_FUNCTION_INFO_V1(apikeys_raise_fence);

/*
 * Relcache callback.  It may be called at nearly any time, so it does
 * nothing but count.
 */
static void
count_invalidation(Datum arg, Oid relid)
{
	if (relid == fence_oid || relid == key_oid || relid == budget_oid || !OidIsValid(relid))
		generation++;
}

/*
 * Does every change of a table raise the fence?  Not after ALTER TABLE ...
 * ENABLE TRIGGER ALL, which turns ENABLE ALWAYS into ENABLE, and with which
 * pg_restore --disable-triggers ends.
 */
static bool
check_fence(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	int			ntriggers = 0;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger	   *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgenabled == TRIGGER_FIRES_ALWAYS &&
			(strcmp(trigger->tgname, "fence_row") == 0 ||
			 strcmp(trigger->tgname, "fence_truncate") == 0))
			ntriggers++;
	}
	table_close(rel, AccessShareLock);

	return ntriggers == 2;
}

/* Makes an empty cache of the present generation. */
static void
reset_cache(void)
{
	HASHCTL		ctl = {0};

	if (memory == NULL)
	{
		memory = AllocSetContextCreate(TopMemoryContext, "apikeys cache",
									   ALLOCSET_DEFAULT_SIZES);
		CacheRegisterRelcacheCallback(count_invalidation, (Datum) 0);
	}
	else if (nentries > 0)
		counters_add(COUNT_CACHE_INVALIDATIONS, 1);

	cache = NULL;
	memset(&transient, 0, sizeof(transient));
	MemoryContextReset(memory);

	/* First: a message that comes during the look-ups makes it old at once. */
	cache_generation = generation;
	fence_oid = store_relation_oid("fence");
	key_oid = store_relation_oid("key");
	budget_oid = store_relation_oid("budget");
	fence_up = check_fence(key_oid) && check_fence(budget_oid);

	ctl.keysize = KEY_HASH_LEN;
	ctl.entrysize = sizeof(CachedKey);
	ctl.hcxt = memory;
	ring_size = guc_cache_size;
	ring = MemoryContextAlloc(memory, ring_size * sizeof(CachedKey *));
	nentries = 0;
	next_victim = 0;
	cache_secrets = hmac_secrets_version();
	cache = hash_create("apikeys cache", Min(ring_size, 128), &ctl,
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
	key->row.tuple = NULL;
	key->result = NULL;
	key->permission_check = NULL;
}

/* Has the clock sweep out an entry; returns its place in the ring. */
static int
sweep(void)
{
	while (ring[next_victim]->used)
	{
		ring[next_victim]->used = false;
		next_victim = (next_victim + 1) % ring_size;
	}
	free_contents(ring[next_victim]);
	hash_search(cache, ring[next_victim]->hash, HASH_REMOVE, NULL);
	return next_victim;
}

/* Adds the row found last to the cache, which takes it over. */
static CachedKey *
cache_transient(void)
{
	int			place = nentries < ring_size ? nentries : sweep();
	CachedKey  *key = hash_search(cache, transient.hash, HASH_ENTER, NULL);

	*key = transient;
	key->cached = true;
	key->used = true;
	ring[place] = key;
	if (place == nentries)
		nentries++;
	memset(&transient, 0, sizeof(transient));

	return key;
}

/*
 * Has this transaction changed keys?  Others cannot know yet, and a trigger
 * of somebody else may look up a key between the fence and the change.
 */
static bool
is_writer(void)
{
	return FullTransactionIdIsValid(writer) &&
		   FullTransactionIdEquals(writer, GetTopFullTransactionIdIfAny());
}

/*
 * May what is read from the tables be kept, until there is a new generation?
 * In a look-up.
 */
bool
key_cache_is_cacheable(void)
{
	return fence_up && !is_writer();
}

/* Decides once whether a key has limits: most have none, and pay nothing. */
static void
parse_limits(CachedKey *key)
{
	Jsonb	   *document = DatumGetJsonbP(key->row.values[KEY_RATE_LIMITS]);

	key->limited = false;
	if (JB_ROOT_COUNT(document) > 0)
	{
		rate_limits_parse(document, &key->limits);
		key->limited = rate_limits_any(&key->limits);
	}
}

/*
 * Takes in what has changed.  To be called before the first probe of a
 * look-up.
 */
void
key_cache_begin(void)
{
	AcceptInvalidationMessages();
	if (cache == NULL || generation != cache_generation ||
		cache_secrets != hmac_secrets_version() || ring_size != guc_cache_size)
		reset_cache();
}

/*
 * Has the processor fetch what will be read of a key soon, while the key is
 * being judged: a hit on one of many keys waits for memory more than for
 * anything else.  Of what is longer than this, the processor fetches the rest
 * by itself.  NULL does no harm, nor does memory past the end.
 */
static void
prefetch(const void *start)
{
	for (int i = 0; i < PREFETCH_SIZE; i += PREFETCH_LINE)
		__builtin_prefetch((const char *) start + i);
}

/*
 * Returns the key with a hash if it is in the cache, or NULL.  The result is
 * good until the next look-up.
 */
CachedKey *
key_cache_probe(const bytea *hash)
{
	CachedKey  *key = NULL;

	if (ring_size > 0)
		key = hash_search(cache, VARDATA_ANY(hash), HASH_FIND, NULL);
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
 * Reads the key with one of these hashes from the table as it is committed
 * now, and keeps it if it may; NULL if there is none.  The result is good
 * until the next look-up.
 */
CachedKey *
key_cache_read(const KeyCandidate *candidates, int ncandidates)
{
	MemoryContext old;
	bool		found;

	if (ring_size > 0)
		counters_add(COUNT_CACHE_MISSES, 1);
	free_contents(&transient);
	old = MemoryContextSwitchTo(memory);
	found = store_find_key(candidates, ncandidates, &transient.row, &transient.candidate);
	MemoryContextSwitchTo(old);

	if (!found)
		return NULL;
	transient.rehash_requested_at = 0;
	memset(&transient.budget, 0, sizeof(transient.budget));
	memcpy(transient.hash, VARDATA_ANY(candidates[transient.candidate].hash), KEY_HASH_LEN);
	parse_limits(&transient);
	if (ring_size > 0 && key_cache_is_cacheable() && generation == cache_generation &&
		!transient.row.own &&
		transient.row.tuple->t_len <= MAX_ROW_SIZE)
		return cache_transient();
	return &transient;
}

/*
 * Makes what a key permits, once for as long as it is cached.  Not done for
 * every key that is read: most requests of most keys ask for nothing.
 */
void
key_cache_make_permission_check(CachedKey *key)
{
	ArrayType  *allowed_ips = NULL;

	if (key->permission_check != NULL)
		return;

	if (!key->row.nulls[KEY_ALLOWED_IPS])
		allowed_ips = DatumGetArrayTypeP(key->row.values[KEY_ALLOWED_IPS]);
	key->permission_check = permission_check_create(DatumGetJsonbP(key->row.values[KEY_PERMISSIONS]),
													allowed_ips, memory);
}

/* Where to put what a CachedKey points to. */
MemoryContext
key_cache_memory(void)
{
	return memory;
}

/* Changes with every message that may concern keys or budgets. */
uint64
key_cache_generation(void)
{
	return generation;
}

/*
 * apikeys.raise_fence(): trigger.  Has all backends empty their caches when
 * this transaction has committed, and this one as soon as it sees the change.
 */
Datum
apikeys_raise_fence(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("apikeys.raise_fence() must be called as a trigger")));

	writer = GetTopFullTransactionId();
	CacheInvalidateRelcacheByRelid(store_relation_oid("fence"));

	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple);
}
