/*-------------------------------------------------------------------------
 *
 * rehash.c
 *	  The statements on the HMAC secrets of keys.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "store/rehash.h"
#include "store/spi.h"

/*
 * Replaces the hash of keys that still have the old one.  Locked rows are
 * skipped, and so are keys whose new hash another key has, which is possible
 * only if a raw key was imported twice.  updated_at stays as it is: nothing has
 * changed for the owner of the key.
 */
static Statement rehash_keys = {
	.sql = "WITH request AS MATERIALIZED ("
	"SELECT d.id, d.old_hash, d.new_hash, d.secret FROM ROWS FROM ("
	"pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3),"
	" pg_catalog.unnest($4)) AS d(id, old_hash, new_hash, secret)),"
	" locked AS MATERIALIZED (SELECT k.id, k.hash_secret, r.new_hash, r.secret"
	" FROM request r JOIN ONLY apikeys_data.key k ON k.id OPERATOR(pg_catalog.=) r.id"
	" WHERE k.key_hash OPERATOR(pg_catalog.=) r.old_hash"
	" AND NOT EXISTS (SELECT FROM apikeys_data.key o"
	" WHERE " KEY_HASH_START("o.key_hash") " OPERATOR(pg_catalog.=) " KEY_HASH_START("r.new_hash") ""
	" AND o.id OPERATOR(pg_catalog.<>) r.id)"
	" FOR UPDATE OF k SKIP LOCKED),"
	" rehashed AS (UPDATE ONLY apikeys_data.key k"
	" SET key_hash = locked.new_hash, hash_secret = locked.secret"
	" FROM locked WHERE k.id OPERATOR(pg_catalog.=) locked.id"
	" RETURNING k.id, locked.hash_secret AS old_secret, k.hash_secret AS new_secret)"
	" " ADD_EVENT
	" SELECT $5, $6, 'rehash', r.id, pg_catalog.jsonb_build_object("
	"'from', r.old_secret, 'to', r.new_secret) FROM rehashed r",
	STATEMENT_ARGS(UUIDARRAYOID, BYTEAARRAYOID, BYTEAARRAYOID, TEXTARRAYOID,
				   TIMESTAMPTZOID, NAMEOID)
};

/*
 * Skips from name to name along the index, and checks of each the key that is
 * not revoked and expires last.
 */
static Statement missing_secrets = {
	.sql = "WITH RECURSIVE name(secret) AS ("
	"(SELECT k.hash_secret FROM ONLY apikeys_data.key k"
	" WHERE k.hash_secret IS NOT NULL AND k.revoked_at IS NULL"
	" ORDER BY k.hash_secret LIMIT 1)"
	" UNION ALL"
	" SELECT (SELECT k.hash_secret FROM ONLY apikeys_data.key k"
	" WHERE k.hash_secret OPERATOR(pg_catalog.>) n.secret AND k.revoked_at IS NULL"
	" ORDER BY k.hash_secret LIMIT 1)"
	" FROM name n WHERE n.secret IS NOT NULL)"
	" SELECT n.secret FROM name n WHERE n.secret IS NOT NULL"
	" AND n.secret OPERATOR(pg_catalog.<>) ALL ($1)"
	" AND (SELECT k.expires_at IS NULL OR k.expires_at OPERATOR(pg_catalog.>=) $2"
	" FROM ONLY apikeys_data.key k"
	" WHERE k.hash_secret OPERATOR(pg_catalog.=) n.secret AND k.revoked_at IS NULL"
	" ORDER BY k.expires_at DESC NULLS FIRST LIMIT 1)"
	" LIMIT $3",
	STATEMENT_ARGS(TEXTARRAYOID, TIMESTAMPTZOID, INT4OID)
};

static Datum
hash_datum(const uint8 *hash)
{
	bytea	   *datum = palloc(VARHDRSZ + KEY_HASH_LEN);

	SET_VARSIZE(datum, VARHDRSZ + KEY_HASH_LEN);
	memcpy(VARDATA(datum), hash, KEY_HASH_LEN);
	return PointerGetDatum(datum);
}

static Datum
text_array(Datum *elements, int n)
{
	return PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * Replaces hashes of keys, with their events; returns the number of keys.
 * Durable, since the old secret may be removed afterwards.
 */
int64
store_rehash_keys(const RehashRequest *requests, int nrequests)
{
	StoreScope	scope;
	Datum	   *ids = palloc(nrequests * sizeof(Datum));
	Datum	   *old_hashes = palloc(nrequests * sizeof(Datum));
	Datum	   *new_hashes = palloc(nrequests * sizeof(Datum));
	Datum	   *secrets = palloc(nrequests * sizeof(Datum));
	int64		written;

	Assert(nrequests > 0);

	for (int i = 0; i < nrequests; i++)
	{
		ids[i] = UUIDPGetDatum(&requests[i].id);
		old_hashes[i] = hash_datum(requests[i].old_hash);
		new_hashes[i] = hash_datum(requests[i].new_hash);
		secrets[i] = CStringGetTextDatum(requests[i].secret);
	}

	store_open(&scope);
	written = store_write_durably(&rehash_keys,
								  (Datum[]) {
									  PointerGetDatum(construct_array(ids, nrequests, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR)),
									  PointerGetDatum(construct_array(old_hashes, nrequests, BYTEAOID, -1, false, TYPALIGN_INT)),
									  PointerGetDatum(construct_array(new_hashes, nrequests, BYTEAOID, -1, false, TYPALIGN_INT)),
									  text_array(secrets, nrequests),
									  TimestampTzGetDatum(GetCurrentTimestamp()),
									  store_acting_role(&scope)},
								  NULL);
	store_close(&scope);

	return written;
}

/*
 * Finds secrets that active keys are hashed with and that are not known.
 * Returns their number, at most max, and their names in missing.
 */
int
store_missing_secrets(const char *const *known, int nknown, char **missing, int max)
{
	MemoryContext caller = CurrentMemoryContext;
	StoreScope	scope;
	Datum	   *names = palloc((nknown + 1) * sizeof(Datum));
	int			n;

	Assert(nknown >= 0 && max > 0);

	for (int i = 0; i < nknown; i++)
		names[i] = CStringGetTextDatum(known[i]);

	store_open(&scope);
	n = store_read_latest(&missing_secrets,
						  (Datum[]) {
							  text_array(names, nknown),
							  TimestampTzGetDatum(GetCurrentTimestamp()),
							  Int32GetDatum(max)},
						  NULL);
	for (int i = 0; i < n; i++)
		missing[i] = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	store_close(&scope);

	return n;
}
