/*-------------------------------------------------------------------------
 *
 * lookup.c
 *	  Under which hash a raw key is stored, and which key a text names.
 *
 * New keys are signed with the first HMAC secret, or with none where there is
 * no file of secrets.  A text may name a key that was signed with any of the
 * secrets, or with none; one that was not signed with the first is good, and
 * is noted to be signed anew by the flush worker.  Both hashes are at hand then,
 * so that neither the raw key nor a secret has to be handed on.
 *
 * A text is looked up under all its hashes by one statement (key_cache.c).
 * When that finds nothing the file may have changed since this backend has
 * read it: see hmac_secrets.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "flush/flush_queue.h"
#include "live/missing_secrets.h"
#include "live/rehash_queue.h"
#include "live/secret_file.h"
#include "model/key_hash.h"
#include "settings/guc.h"
#include "settings/hmac_secrets.h"
#include "store/rehash.h"
#include "verify/lookup.h"

/* Longer texts are no keys, our own or imported, and are not even read. */
#define KEY_TEXT_MAX_LEN	256

#define MISSING_SECRETS_PAUSE_MS 60000	/* between two looks of a backend */

PG_FUNCTION_INFO_V1(apikeys_loaded_secrets);

/*
 * In the middle of a statement, does what the reload will do that is pending.
 * The secret that is the first by now may be gone from the file soon, and no
 * key must be signed with it that apikeys.secret_usage has not shown.
 */
static void
reload_early(void)
{
	if (ConfigReloadPending && guc_hmac_secret_file[0] != '\0' &&
		hmac_secrets_stage(guc_hmac_secret_file) == NULL)
		hmac_secrets_adopt();
}

/*
 * Signs a new key.  Raises 55000 where it should be signed with a secret and
 * there is none: it must not be weaker than the administrator thinks.
 */
void
hash_new_key(const text *raw_key, NewKey *key)
{
	const HmacSecret *secret;

	reload_early();
	secret = hmac_secrets_first();
	if (secret == NULL && guc_hmac_secret_file[0] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the HMAC secrets are not loaded"),
				 errdetail("The file of apikeys.hmac_secret_file was refused."),
				 errhint("The server log says why.")));

	if (secret != NULL)
		secret_file_announce(guc_hmac_secret_file);
	key->hash = key_hash_compute(raw_key, secret != NULL ? hmac_secrets_value(secret) : NULL);
	key->hash_secret = secret != NULL ? cstring_to_text(secret->name) : NULL;
}

/* ------------------------------------------------- secrets that are missing */

/*
 * Logs, once for the server, secrets that keys are signed with and that the
 * file does not have.  It is looked for when a key was not found, which may
 * be why; but not for each text that somebody tries.
 */
static void
log_missing_secrets(void)
{
	static TimestampTz looked_at = 0;
	static uint64 looked_with = 0;
	TimestampTz now = GetCurrentTimestamp();
	const char *known[KEY_MAX_CANDIDATES];
	char	   *missing[MISSING_SECRETS_MAX];
	bool		newly_missing[MISSING_SECRETS_MAX];
	int			n;

	if (looked_at != 0 && looked_with == hmac_secrets_version() && now >= looked_at &&
		now < TimestampTzPlusMilliseconds(looked_at, MISSING_SECRETS_PAUSE_MS))
		return;
	looked_at = now;
	looked_with = hmac_secrets_version();

	for (int i = 0; i < hmac_secrets_count(); i++)
		known[i] = hmac_secrets_get(i)->name;
	n = store_missing_secrets(known, hmac_secrets_count(), missing, MISSING_SECRETS_MAX);
	missing_secrets_exchange(MyDatabaseId, missing, n, newly_missing);
	for (int i = 0; i < n; i++)
	{
		if (newly_missing[i])
			ereport(LOG,
					(errmsg("API keys are signed with HMAC secret \"%s\", which is not loaded", missing[i]),
					 errdetail("In database \"%s\" apikey_verify does not find these keys.",
							   get_database_name(MyDatabaseId)),
					 errhint("Add the secret to the file of apikeys.hmac_secret_file and reload the configuration.")));
	}
}

/* ------------------------------------------------------- finding a key */

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

/* Makes the candidate of a number; the last one is the plain hash. */
static void
make_candidate(const text *raw_key, int i, KeyCandidate *candidate)
{
	const HmacSecret *secret = i < hmac_secrets_count() ? hmac_secrets_get(i) : NULL;

	candidate->secret = secret != NULL ? secret->name : NULL;
	candidate->hash = key_hash_compute(raw_key, secret != NULL ? hmac_secrets_value(secret) : NULL);
}

/*
 * Has a key signed with the first secret unless it is.  The candidates up to
 * the one by which the key was found are there.  A backend that has a reload
 * before it does not know which secret is the first now.
 */
static void
enqueue_rehash(CachedKey *key, const KeyCandidate *candidates)
{
	TimestampTz now;
	RehashRequest request;

	if (key->candidate == 0 || hmac_secrets_first() == NULL || hmac_secrets_are_outdated() ||
		RecoveryInProgress() || !rehash_available())
		return;

	/* A note may get lost, so it is made again, but not all the time. */
	now = GetCurrentTimestamp();
	if (key->rehash_requested_at != 0 && now >= key->rehash_requested_at && now < key->rehash_requested_at + USECS_PER_SEC)
		return;
	key->rehash_requested_at = now;

	secret_file_announce(guc_hmac_secret_file);
	memset(&request, 0, sizeof(request));
	request.id = *DatumGetUUIDP(key->row.values[KEY_ID]);
	memcpy(request.old_hash, key->hash, KEY_HASH_LEN);
	memcpy(request.new_hash, VARDATA_ANY(candidates[0].hash), KEY_HASH_LEN);
	strlcpy(request.secret, candidates[0].secret, sizeof(request.secret));
	if (rehash_enqueue(&request))
	{
		flush_queue_exchange_usage(MyDatabaseId, true);
		flush_queue_wake();
	}
}

/* Finds the key of a text by the secrets that are known. */
static CachedKey *
find_by_known_secrets(const text *raw_key)
{
	KeyCandidate candidates[KEY_MAX_CANDIDATES];
	int			ncandidates = hmac_secrets_count() + 1;
	CachedKey  *key = NULL;

	key_cache_begin();
	for (int i = 0; i < ncandidates && key == NULL; i++)
	{
		make_candidate(raw_key, i, &candidates[i]);
		key = key_cache_probe(candidates[i].hash);
	}
	if (key == NULL)
		key = key_cache_read(candidates, ncandidates);
	if (key != NULL)
		enqueue_rehash(key, candidates);

	return key;
}

/* Finds the key of a text. */
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
 * Finds the key that a text names, or NULL.  A toasted text is measured
 * before it is unpacked, and our copy of it is wiped.
 */
CachedKey *
lookup_key(struct varlena *raw_key)
{
	Size		len = toast_raw_datum_size(PointerGetDatum(raw_key)) - VARHDRSZ;
	text	   *plain;
	CachedKey *volatile key = NULL;

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

/* --------------------------------------------------------------- reading */

/*
 * apikeys.loaded_secrets(): rows (secret text, signs boolean), of names
 * alone.  Plain SHA-256, a secret of null, is always there.
 */
Datum
apikeys_loaded_secrets(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const HmacSecret *first = hmac_secrets_first();
	int			n = hmac_secrets_count();

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i <= n; i++)
	{
		const HmacSecret *secret = i < n ? hmac_secrets_get(i) : NULL;
		Datum		values[2];
		bool		nulls[2] = {secret == NULL, false};

		values[0] = secret != NULL ? CStringGetTextDatum(secret->name) : (Datum) 0;
		values[1] = BoolGetDatum(secret == first);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}

	return (Datum) 0;
}
