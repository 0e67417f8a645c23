/*-------------------------------------------------------------------------
 *
 * lookup.c
 *	  Which key a text names.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The key may be stored under the text's hash with any of the HMAC secrets,
 * or under its plain SHA-256.  A key that is not stored under the hash with
 * the first secret is valid, and is enqueued to be rehashed by a flush worker
 * (rehash_queue.c).  Both hashes can be made here, so neither the raw key nor
 * a secret has to be passed on.
 *
 * Caches know a text by one of its hashes.  The table is asked for all of them,
 * by one statement (key_cache.c).
 * If that finds nothing, the file of secrets may have changed since this
 * backend read it: see hmac_secrets.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "flush/flush_queue.h"
#include "live/rehash_queue.h"
#include "live/secret_file.h"
#include "model/key_hash.h"
#include "settings/guc.h"
#include "settings/hmac_secrets.h"
#include "store/rehash.h"
#include "verify/lookup.h"
#include "verify/missing_secrets.h"

/* Longer texts are not keys, ours or imported, and are not even detoasted. */
#define KEY_TEXT_MAX_LEN	256

/* Does a text consist of printable ASCII, as every key does? */
static bool
is_printable(const text *txt)
{
	const char *data = VARDATA_ANY(txt);
	int			len = VARSIZE_ANY_EXHDR(txt);

	for (int i = 0; i < len; i++)
	{
		if (data[i] < ' ' || data[i] > '~')
			return false;
	}

	return true;
}

/* Makes candidate i: one for each secret, then the plain hash. */
static void
make_candidate(const text *raw_key, int i, KeyCandidate *candidate)
{
	const HmacSecret *secret = i < hmac_secrets_count() ? hmac_secrets_get(i) : NULL;

	Assert(i >= 0 && i <= hmac_secrets_count());
	candidate->secret = secret != NULL ? secret->name : NULL;
	candidate->hash = key_hash_compute(raw_key, secret != NULL ? hmac_secrets_value(secret) : NULL);
}

/*
 * Enqueues a key to be rehashed with the first secret, unless it is stored
 * under that hash, that of the first candidate.  A backend with a pending reload
 * enqueues nothing: it does not know which secret is the first now.
 */
static void
enqueue_rehash(const text *raw_key, CachedKey *key, const KeyCandidate *first)
{
	TimestampTz now;
	KeyCandidate stored;
	RehashRequest request;

	if (key->candidate == 0 || hmac_secrets_first() == NULL || hmac_secrets_are_outdated() ||
		RecoveryInProgress() || !rehash_available())
		return;

	/* A request may get lost, so it is repeated, but not at each verify. */
	now = GetCurrentTimestamp();
	if (key->rehash_requested_at != 0 && now >= key->rehash_requested_at && now < key->rehash_requested_at + USECS_PER_SEC)
		return;
	key->rehash_requested_at = now;

	Assert(key->candidate <= hmac_secrets_count());
	Assert(first->secret == hmac_secrets_first()->name);
	make_candidate(raw_key, key->candidate, &stored);
	secret_file_announce(guc_hmac_secret_file);
	memset(&request, 0, sizeof(request));
	request.id = *DatumGetUUIDP(key->row.values[KEY_ID]);
	memcpy(request.old_hash, VARDATA_ANY(stored.hash), KEY_HASH_LEN);
	memcpy(request.new_hash, VARDATA_ANY(first->hash), KEY_HASH_LEN);
	strlcpy(request.secret, first->secret, sizeof(request.secret));
	if (rehash_enqueue(&request))
	{
		flush_queue_exchange_usage(MyDatabaseId, true);
		flush_queue_wake();
	}
}

/* Finds the key of a text with the secrets that are loaded. */
static CachedKey *
find_by_known_secrets(const text *raw_key)
{
	KeyCandidate candidates[KEY_MAX_CANDIDATES];
	int			ncandidates = hmac_secrets_count() + 1;
	CachedKey  *key;

	Assert(ncandidates <= KEY_MAX_CANDIDATES);
	key_cache_begin();
	make_candidate(raw_key, 0, &candidates[0]);
	key = key_cache_probe(candidates[0].hash);
	if (key == NULL)
	{
		for (int i = 1; i < ncandidates; i++)
			make_candidate(raw_key, i, &candidates[i]);
		key = key_cache_read(candidates, ncandidates);
	}
	if (key != NULL)
		enqueue_rehash(raw_key, key, &candidates[0]);

	return key;
}

/* Finds the key of a text; if necessary, reads the file of secrets again. */
static CachedKey *
find(const text *raw_key)
{
	CachedKey  *key = find_by_known_secrets(raw_key);
	char		path[MAXPGPATH];

	if (key == NULL &&
		hmac_secrets_reread(secret_file_newer(path) ? path : guc_hmac_secret_file))
		key = find_by_known_secrets(raw_key);
	if (key == NULL)
		log_missing_secrets();

	return key;
}

/*
 * Returns the key that a text names, or NULL; valid until the next lookup.  A
 * toasted text is measured before it is detoasted, and our copy is wiped.
 */
CachedKey *
lookup_key(struct varlena *raw_key)
{
	Size		len = toast_raw_datum_size(PointerGetDatum(raw_key)) - VARHDRSZ;
	text	   *plain;
	CachedKey *volatile key = NULL;

	Assert(IsTransactionState());
	if (len < 1 || len > KEY_TEXT_MAX_LEN)
		return NULL;

	plain = (text *) pg_detoast_datum_packed(raw_key);
	PG_TRY();
	{
		if (is_printable(plain))
			key = find(plain);
	}
	PG_FINALLY();
	{
		if (plain != (text *) raw_key)
			explicit_bzero(VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain));
	}
	PG_END_TRY();

	return key;
}
