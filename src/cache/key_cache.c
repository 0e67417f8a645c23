/*-------------------------------------------------------------------------
 *
 * key_cache.c
 *	  A backend's cache of the keys it has looked up, coherent with the table.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A lookup must never return a state from before a committed change: in any
 * isolation level, and whatever snapshots the transaction holds.  There are two
 * ways to know of a change.  Where changes are counted in shared memory
 * (changes.c), a row is used as long as its stamp is current, and what one
 * backend has read is there for all of them (shared_keys.c).  Elsewhere, on a
 * standby and where the library is not preloaded, each backend goes by the messages
 * that it gets:
 *
 * - Triggers on apikeys_data.key, ENABLE ALWAYS, send messages at each UPDATE,
 *   DELETE and TRUNCATE, and those on apikeys_data.plan, whose documents are part
 *   of a row, and on apikeys_data.budget at INSERT, too: see invalidation.c.
 * - A lookup first accepts the messages that have been sent.  One about a key
 *   marks that key's entry as changed, and those of keys that are derived from
 *   it, one about a plan those of its keys; so they are misses.  A message about everything, or one that everything may
 *   have changed, starts a new generation, with an empty cache.
 * - On a miss the row is read with the latest snapshot.  It is cached only if no
 *   message has come since before that snapshot was taken.  So the messages of
 *   a commit that the snapshot has not seen find the entry.
 *
 * Both ways:
 *
 * - A row that was written by the running transaction is never cached, since
 *   it may yet be rolled back.  Its xmin shows that, however it was written,
 *   so no trigger is needed for INSERT, and creating keys sends nothing.  Nor is
 *   anything cached in a transaction that has sent messages, or what is shared used
 *   in one.
 * - Nothing is cached while a trigger is missing or not ENABLE ALWAYS.
 * - That a key was not found is not cached: it may be created at any time.
 *
 * Raw keys are not stored.  A text has a hash with each HMAC secret and a plain
 * one: the candidates.  The cache has a key under the first of them, whichever
 * the table has it by, so a hit takes one hash.  On a miss one statement, with one
 * snapshot, looks for all of them in the table, so a key that is rehashed
 * meanwhile is found by its old or by its new hash.  Which one is found depends
 * on the set of secrets, so the cache is emptied when that changes, and what is
 * shared is shared by those with the same set.
 *
 * If the cache is full, a clock sweep evicts an entry that has not been used
 * since the sweep last passed it, as the buffer manager does.  What is shared has
 * a place in it for what a copy does not give: the parsed documents, and the
 * result.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "cache/invalidation.h"
#include "cache/key_cache.h"
#include "cache/messages.h"
#include "cache/shared_keys.h"
#include "cache/watch.h"
#include "live/counters.h"
#include "settings/guc.h"
#include "settings/hmac_secrets.h"
#include "store/key_row.h"

#define MAX_KEYS		1024	/* in the cache of a backend */
#define MAX_SHARED_KEYS	256		/* of those that others have as well */
#define ADMISSION		16		/* one in so many replaces another */
#define PREFETCH_SIZE	256
#define PREFETCH_LINE	64		/* cache line size of current processors */

/* Finds a key by the number that messages have for it, where that is another. */
typedef struct NumberAlias
{
	Oid			number;			/* the hash table's key: first */
	uint32		bits;			/* of the CachedKey */
} NumberAlias;

StaticAssertDecl(offsetof(CachedKey, bits) == 0 && offsetof(NumberAlias, number) == 0,
				 "the hash table's key is its entry's first member");

/* Of the current lookup */
static uint64 nmessages_at_begin;
static uint64 position_at_begin;
static SharedKeyTag tag;

static MemoryContext memory = NULL; /* of all that follows */
static HTAB *cache = NULL;		/* of CachedKey */
static HTAB *aliases;			/* of NumberAlias */
static CachedKey *entries[MAX_KEYS]; /* in the order of the clock sweep */
static int	max_entries;
static int	nentries;
static int	next_victim;
static bool cache_is_shared;	/* changes are counted, and it goes by stamps */
static bool has_derived;		/* there has been an entry of a derived key */
static uint64 cache_generation; /* of all entries */
static uint64 cache_secrets;	/* the secrets of their candidates */

/* The row last read, if it could not be cached. */
static CachedKey transient;

/* ------------------------------------------------------------- messages */

/* Marks an entry as changed: the next to be evicted. */
static void
mark_changed(uint32 bits)
{
	CachedKey  *key = hash_search(cache, &bits, HASH_FIND, NULL);

	if (key == NULL)
		return;
	key->changed = true;
	key->used = false;
}

/* Marks the entries that depend on what has this number. */
static void
mark_dependent(RowNumber kind, Oid number)
{
	for (int i = 0; i < nentries; i++)
	{
		if (entries[i]->stamp.numbers[kind] == number)
			mark_changed(entries[i]->bits);
	}
}

/* Marks what a message has changed: a key and those derived from it, or those that have a plan. */
static void
accept_message(Oid relid)
{
	NumberAlias *alias;

	if (cache == NULL || cache_is_shared)
		return;
	if (INVALIDATION_IS_OF(relid, INVALIDATION_KEY))
	{
		mark_changed(relid);
		alias = hash_search(aliases, &relid, HASH_FIND, NULL);
		if (alias != NULL)
			mark_changed(alias->bits);
		if (has_derived)
			mark_dependent(ROW_PARENT, relid);
	}
	if (INVALIDATION_IS_OF(relid, INVALIDATION_PLAN))
		mark_dependent(ROW_PLAN, relid);
}

/* Makes sure that messages find a key; false if they would find another instead. */
static bool
add_alias(const CachedKey *key)
{
	NumberAlias *alias;
	bool		found;

	if (cache_is_shared || key->stamp.numbers[ROW_KEY] == key->bits)
		return true;
	alias = hash_search(aliases, &key->stamp.numbers[ROW_KEY], HASH_ENTER, &found);
	if (found)
		return alias->bits == key->bits;
	alias->bits = key->bits;
	return true;
}

/* -------------------------------------------------------------- entries */

static HTAB *
make_table(const char *name, Size entry_size)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(uint32);
	ctl.entrysize = entry_size;
	ctl.hcxt = memory;
	return hash_create(name, 128, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static uint64
current_generation(void)
{
	return cache_is_shared ? changes_generation() : watch_generation();
}

/* Makes an empty cache of the current generation. */
static void
reset_cache(void)
{
	if (memory == NULL)
	{
		memory = AllocSetContextCreate(TopMemoryContext, "apikeys cache",
									   ALLOCSET_DEFAULT_SIZES);
		messages_listen(accept_message);
	}
	else if (nentries > 0)
		counters_add(COUNT_CACHE_INVALIDATIONS, 1);

	cache = NULL;
	nentries = 0;
	next_victim = 0;
	has_derived = false;
	memset(&transient, 0, sizeof(transient));
	MemoryContextReset(memory);

	cache_is_shared = changes_are_counted();
	max_entries = cache_is_shared ? MAX_SHARED_KEYS : MAX_KEYS;
	cache_generation = current_generation();
	cache_secrets = hmac_secrets_version();
	tag.database = MyDatabaseId;
	tag.secrets = hmac_secrets_id();
	aliases = make_table("apikeys numbers", sizeof(NumberAlias));
	cache = make_table("apikeys cache", sizeof(CachedKey));
}

/* Frees an entry's memory, so that another key can have it. */
static void
clear_entry(CachedKey *key)
{
	cached_key_free_contents(key);
	if (!cache_is_shared && key->stamp.numbers[ROW_KEY] != key->bits)
		hash_search(aliases, &key->stamp.numbers[ROW_KEY], HASH_REMOVE, NULL);
}

/* Evicts an entry; returns its index in entries. */
static int
evict(void)
{
	Assert(nentries == max_entries);
	while (entries[next_victim]->used)
	{
		entries[next_victim]->used = false;
		next_victim = (next_victim + 1) % max_entries;
	}
	clear_entry(entries[next_victim]);
	hash_search(cache, &entries[next_victim]->bits, HASH_REMOVE, NULL);
	return next_victim;
}

/*
 * Moves the row that was read last to the cache, in place of one that has its
 * bits, if there is one: mostly the same key before it was changed.
 */
static CachedKey *
cache_transient(void)
{
	CachedKey  *key = hash_search(cache, &transient.bits, HASH_FIND, NULL);

	Assert(transient.row.tuple != NULL);
	if (key != NULL)
	{
		clear_entry(key);
		key->changed = true;	/* if the next step fails */
	}
	if (!add_alias(&transient))
		return &transient;
	if (key == NULL)
	{
		int			index = nentries < max_entries ? nentries : evict();

		key = hash_search(cache, &transient.bits, HASH_ENTER, NULL);
		entries[index] = key;
		nentries = Max(nentries, index + 1);
	}
	*key = transient;
	key->cached = true;
	has_derived |= OidIsValid(key->stamp.numbers[ROW_PARENT]);
	key->used = true;
	memset(&transient, 0, sizeof(transient));

	return key;
}

/* --------------------------------------------------------------- lookups */

/*
 * Starts a lookup: accepts what has changed, and empties the cache if it is
 * outdated.  To be called before the first probe, in a transaction.
 */
void
key_cache_begin(void)
{
	Assert(IsTransactionState());

	/* First the position: see changes.c. */
	position_at_begin = changes_are_counted() ? changes_position() : 0;
	watch_accept_messages();
	nmessages_at_begin = watch_nmessages();
	if (cache == NULL || cache_is_shared != changes_are_counted() ||
		cache_generation != current_generation() || cache_secrets != hmac_secrets_version())
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
	uint32		bits = invalidation_of_key(hash);
	CachedKey  *key = hash_search(cache, &bits, HASH_FIND, NULL);

	if (key == NULL || memcmp(key->hash, VARDATA_ANY(hash), KEY_HASH_LEN) != 0)
		return NULL;
	if (!key->changed && (!cache_is_shared || changes_stamp_is_current(&key->stamp)))
		return key;

	if (key->row.tuple != NULL)
		counters_add(COUNT_CACHE_INVALIDATIONS, 1);
	cached_key_free_contents(key);
	key->changed = true;
	key->used = false;
	return NULL;
}

/*
 * Shall a key that is shared have a place in this backend's own cache, too?  That
 * saves something only if it is used again soon, so where it would replace
 * another, few do: a key that is used often has its turn.
 */
static bool
is_admitted(void)
{
	static unsigned int nasked = 0;

	return nentries < max_entries || nasked++ % ADMISSION == 0;
}

/* Returns the key with a hash if another backend has read it, or NULL. */
static CachedKey *
find_shared(const bytea *hash)
{
	static char packed[SHARED_ROW_MAX_SIZE];
	SharedKey	shared;
	MemoryContext old;

	memcpy(tag.hash, VARDATA_ANY(hash), KEY_HASH_LEN);
	if (!shared_keys_find(&tag, &shared, packed))
		return NULL;

	cached_key_free_contents(&transient);
	old = MemoryContextSwitchTo(memory);
	store_unpack_key_row(packed, shared.size, &transient.row);
	MemoryContextSwitchTo(old);
	transient.candidate = shared.candidate;
	transient.stamp = shared.stamp;
	cached_key_complete(&transient, hash, memory);
	return is_admitted() ? cache_transient() : &transient;
}

/*
 * Returns the key of which this is the hash of the first candidate if it is in
 * memory, or NULL.  The result is valid until the next lookup.
 */
CachedKey *
key_cache_probe(const bytea *hash)
{
	CachedKey  *key;

	Assert(cache != NULL);
	Assert(VARSIZE_ANY_EXHDR(hash) == KEY_HASH_LEN);

	if (!guc_cache || (cache_is_shared && invalidation_is_pending()))
		return NULL;
	key = find_unchanged(hash);
	if (key != NULL)
	{
		prefetch(key->permission_check);
		prefetch(key->result);
		key->used = true;
	}
	else if (cache_is_shared)
		key = find_shared(hash);
	if (key != NULL)
		counters_add(COUNT_CACHE_HITS, 1);

	return key;
}

/* Shares the row that was read last. */
static void
share_transient(void)
{
	SharedKey	shared;

	shared.stamp = transient.stamp;
	shared.candidate = transient.candidate;
	shared.size = store_key_row_size(&transient.row);
	memcpy(tag.hash, transient.hash, KEY_HASH_LEN);
	shared_keys_store(&tag, &shared, store_pack_key_row(&transient.row));
}

/* May the row that was read last be cached?  Sets its stamp. */
static bool
is_cacheable(void)
{
	return guc_cache && !transient.row.own && store_key_row_size(&transient.row) <= SHARED_ROW_MAX_SIZE &&
		   watch_is_cacheable() &&
		   (cache_is_shared ? changes_stamp(&transient.stamp, position_at_begin)
							: watch_nmessages() == nmessages_at_begin);
}

/* Sets by which numbers the row that was read last is changed. */
static void
set_numbers(const bytea *hash)
{
	const KeyRow *row = &transient.row;
	Oid		   *numbers = transient.stamp.numbers;

	numbers[ROW_KEY] = invalidation_of_key(hash);
	numbers[ROW_PLAN] = row->nulls[KEY_PLAN] ? InvalidOid
											 : invalidation_of_plan(DatumGetTextPP(row->values[KEY_PLAN]));
	numbers[ROW_PARENT] = row->nulls[KEY_PARENT_ID] ? InvalidOid
													: invalidation_of_key(DatumGetByteaPP(row->values[KEY_PARENT_HASH]));
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

	if (guc_cache)
		counters_add(COUNT_CACHE_MISSES, 1);
	cached_key_free_contents(&transient);
	old = MemoryContextSwitchTo(memory);
	found = store_find_key(candidates, ncandidates, &transient.row, &transient.candidate);
	MemoryContextSwitchTo(old);

	if (!found)
		return NULL;
	cached_key_complete(&transient, candidates[0].hash, memory);
	set_numbers(candidates[transient.candidate].hash);
	if (!is_cacheable())
		return &transient;
	if (cache_is_shared)
		share_transient();
	return !cache_is_shared || is_admitted() ? cache_transient() : &transient;
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

/* Is no change known, of any key, that came since the last key_cache_begin()? */
bool
key_cache_is_current(void)
{
	return watch_nmessages() == nmessages_at_begin &&
		   (!cache_is_shared || changes_position() == position_at_begin);
}
