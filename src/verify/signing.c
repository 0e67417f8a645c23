/*-------------------------------------------------------------------------
 *
 * signing.c
 *	  Under which hash a raw key is stored, and which key a text names.
 *
 * New keys are signed with the first HMAC secret, or with none where there is
 * no file of secrets.  A text may name a key that was signed with any of the
 * secrets, or with none; one that was not signed with the first is good, and
 * is noted to be signed anew by the flusher.  Both hashes are at hand then,
 * so that neither the raw key nor a secret has to be handed on.
 *
 * A text is looked up under all its hashes by one statement (keycache.c).
 * When that finds nothing the file may have changed since this backend has
 * read it: see secrets.c.
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
#include "flush/flushqueue.h"
#include "live/resign.h"
#include "model/keyhash.h"
#include "settings/guc.h"
#include "settings/secrets.h"
#include "verify/signing.h"

/* Longer texts are no keys, our own or imported, and are not even read. */
#define KEY_TEXT_MAX_LEN	256

#define LOOK_FOR_MISSING_MS 60000	/* between two looks of a backend */

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
		secrets_stage(guc_hmac_secret_file) == NULL)
		secrets_adopt();
}

/*
 * Signs a new key.  Raises 55000 where it should be signed with a secret and
 * there is none: it must not be weaker than the administrator thinks.
 */
void
signing_sign(const text *raw_key, NewKey *key)
{
	const HmacSecret *secret;

	reload_early();
	secret = secrets_first();
	if (secret == NULL && guc_hmac_secret_file[0] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the HMAC secrets are not loaded"),
				 errdetail("The file of apikeys.hmac_secret_file was refused."),
				 errhint("The server log says why.")));

	if (secret != NULL)
		resign_announce_file(guc_hmac_secret_file);
	key->hash = keyhash_compute(raw_key, secret != NULL ? secrets_value(secret) : NULL);
	key->hash_secret = secret != NULL ? cstring_to_text(secret->name) : NULL;
}

/* ------------------------------------------------- secrets that are missing */

/*
 * Logs, once for the server, secrets that keys are signed with and that the
 * file does not have.  It is looked for when a key was not found, which may
 * be why; but not for each text that somebody tries.
 */
static void
look_for_missing(void)
{
	static TimestampTz looked_at = 0;
	static uint64 looked_with = 0;
	TimestampTz now = GetCurrentTimestamp();
	const char *known[KEY_MAX_CANDIDATES];
	char	   *missing[RESIGN_MAX_MISSING];
	bool		news[RESIGN_MAX_MISSING];
	int			n;

	if (looked_at != 0 && looked_with == secrets_version() && now >= looked_at &&
		now < TimestampTzPlusMilliseconds(looked_at, LOOK_FOR_MISSING_MS))
		return;
	looked_at = now;
	looked_with = secrets_version();

	for (int i = 0; i < secrets_count(); i++)
		known[i] = secrets_get(i)->name;
	n = store_missing_secrets(known, secrets_count(), missing, RESIGN_MAX_MISSING);
	resign_swap_missing(MyDatabaseId, missing, n, news);
	for (int i = 0; i < n; i++)
	{
		if (news[i])
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
	const HmacSecret *secret = i < secrets_count() ? secrets_get(i) : NULL;

	candidate->secret = secret != NULL ? secret->name : NULL;
	candidate->hash = keyhash_compute(raw_key, secret != NULL ? secrets_value(secret) : NULL);
}

/*
 * Has a key signed with the first secret unless it is.  The candidates up to
 * the one by which the key was found are there.  A backend that has a reload
 * before it does not know which secret is the first now.
 */
static void
note_if_outdated(CachedKey *key, const KeyCandidate *candidates)
{
	TimestampTz now;
	ResignRequest request;

	if (key->candidate == 0 || secrets_first() == NULL || secrets_are_outdated() ||
		RecoveryInProgress() || !resign_available())
		return;

	/* A note may get lost, so it is made again, but not all the time. */
	now = GetCurrentTimestamp();
	if (key->noted_at != 0 && now >= key->noted_at && now < key->noted_at + USECS_PER_SEC)
		return;
	key->noted_at = now;

	resign_announce_file(guc_hmac_secret_file);
	memset(&request, 0, sizeof(request));
	request.id = *DatumGetUUIDP(key->row.values[KEY_ID]);
	memcpy(request.old_hash, key->hash, KEY_HASH_LEN);
	memcpy(request.new_hash, VARDATA_ANY(candidates[0].hash), KEY_HASH_LEN);
	strlcpy(request.secret, candidates[0].secret, sizeof(request.secret));
	if (resign_note(&request))
	{
		flushqueue_swap_usage(MyDatabaseId, true);
		flushqueue_wake();
	}
}

/* Finds the key of a text by the secrets that are known. */
static CachedKey *
find_by_known_secrets(const text *raw_key)
{
	KeyCandidate candidates[KEY_MAX_CANDIDATES];
	int			ncandidates = secrets_count() + 1;
	CachedKey  *key = NULL;

	keycache_begin();
	for (int i = 0; i < ncandidates && key == NULL; i++)
	{
		make_candidate(raw_key, i, &candidates[i]);
		key = keycache_probe(candidates[i].hash);
	}
	if (key == NULL)
		key = keycache_read(candidates, ncandidates);
	if (key != NULL)
		note_if_outdated(key, candidates);

	return key;
}

/* Finds the key of a text. */
static CachedKey *
find(const text *raw_key)
{
	CachedKey  *key = find_by_known_secrets(raw_key);
	char		path[MAXPGPATH];

	if (key == NULL &&
		secrets_look_again(resign_file(path) ? path : guc_hmac_secret_file))
		key = find_by_known_secrets(raw_key);
	if (key == NULL)
		look_for_missing();

	return key;
}

/*
 * Finds the key that a text names, or NULL.  A toasted text is measured
 * before it is unpacked, and our copy of it is wiped.
 */
CachedKey *
signing_find(struct varlena *raw_key)
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
	const HmacSecret *first = secrets_first();
	int			n = secrets_count();

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i <= n; i++)
	{
		const HmacSecret *secret = i < n ? secrets_get(i) : NULL;
		Datum		values[2];
		bool		nulls[2] = {secret == NULL, false};

		values[0] = secret != NULL ? CStringGetTextDatum(secret->name) : (Datum) 0;
		values[1] = BoolGetDatum(secret == first);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}

	return (Datum) 0;
}
