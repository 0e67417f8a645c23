/*-------------------------------------------------------------------------
 *
 * key_hash.c
 *	  The hash under which a raw key is stored and looked up.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * It equals pgcrypto's hmac(raw_key, secret, 'sha256'), and without a secret
 * digest(raw_key, 'sha256').  OpenSSL computes it, as it does for pgcrypto; HMAC
 * through the server's own functions.  Of the time that it takes to hash a short
 * text, most is spent on making a context and on looking up the algorithm for it.
 * So contexts are kept: one of SHA-256 that has no data yet, to be copied, and one
 * of HMAC, which keeps the secret of the last hash.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/evp.h>

#include "common/hmac.h"
#include "fmgr.h"
#include "utils/resowner.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "model/key_hash.h"
#include "model/key_scan.h"

PG_FUNCTION_INFO_V1(apikeys_key_hash_start);

/* NULL: not made yet, or freed. */
static EVP_MD_CTX *empty_sha256 = NULL;
static EVP_MD_CTX *sha256 = NULL;
static pg_hmac_ctx *hmac = NULL;

/* The secret that hmac has and that need not be given to it again. */
static Size kept_len = 0;		/* 0: none */
static char kept_secret[HMAC_SECRET_MAX_LEN];

/* Makes the contexts of SHA-256; returns whether it worked. */
static bool
make_sha256(void)
{
	EVP_MD_CTX *empty = EVP_MD_CTX_new();

	if (sha256 == NULL)
		sha256 = EVP_MD_CTX_new();
	if (empty == NULL || sha256 == NULL || EVP_DigestInit_ex(empty, EVP_sha256(), NULL) <= 0)
	{
		EVP_MD_CTX_free(empty);
		return false;
	}

	empty_sha256 = empty;
	return true;
}

/* Computes a plain hash, KEY_HASH_LEN bytes. */
static void
compute_sha256(const text *raw_key, uint8 *hash)
{
	if ((empty_sha256 == NULL && !make_sha256()) ||
		EVP_MD_CTX_copy_ex(sha256, empty_sha256) <= 0 ||
		EVP_DigestUpdate(sha256, VARDATA_ANY(raw_key), VARSIZE_ANY_EXHDR(raw_key)) <= 0 ||
		EVP_DigestFinal_ex(sha256, hash, NULL) <= 0)
		elog(ERROR, "could not compute %s hash", "SHA256");
}

/*
 * Makes the context of HMAC.  Its resource owner has no parent and is never
 * released: that of the transaction would free it at its end.
 */
static void
make_hmac(void)
{
	static ResourceOwner owner = NULL;
	ResourceOwner current = CurrentResourceOwner;

	if (owner == NULL)
		owner = ResourceOwnerCreate(NULL, "apikeys hashes");

	CurrentResourceOwner = owner;
	hmac = pg_hmac_create(PG_SHA256);
	CurrentResourceOwner = current;
}

/* The same with a secret; NULL: the one that hmac has.  Returns whether it worked. */
static bool
try_hmac(const text *raw_key, const char *secret, Size secret_len, uint8 *hash)
{
	return pg_hmac_init(hmac, (const uint8 *) secret, secret_len) >= 0 &&
		   pg_hmac_update(hmac, (const uint8 *) VARDATA_ANY(raw_key), VARSIZE_ANY_EXHDR(raw_key)) >= 0 &&
		   pg_hmac_final(hmac, hash, KEY_HASH_LEN) >= 0;
}

/*
 * Does hmac need no secret for the next hash?  That is OpenSSL's promise, and not
 * PostgreSQL's: so it is tried, once, after a hash.
 */
static bool
keeps_secret(const text *raw_key, const uint8 *hash)
{
	static bool tried = false;
	static bool keeps = false;
	uint8		again[KEY_HASH_LEN];

	if (!tried)
		keeps = try_hmac(raw_key, NULL, 0, again) && memcmp(again, hash, KEY_HASH_LEN) == 0;
	tried = true;
	return keeps;
}

/* Remembers which secret hmac has, after a hash with it. */
static void
keep_secret(const text *raw_key, const char *secret, Size len, const uint8 *hash)
{
	if (len > sizeof(kept_secret) || !keeps_secret(raw_key, hash))
		return;

	memcpy(kept_secret, secret, len);
	kept_len = len;
}

/* Computes a hash with a secret. */
static void
compute_hmac(const text *raw_key, const bytea *secret, uint8 *hash)
{
	const char *data = VARDATA_ANY(secret);
	Size		len = VARSIZE_ANY_EXHDR(secret);

	Assert(len > 0);
	if (hmac == NULL)
		make_hmac();
	if (len == kept_len && memcmp(data, kept_secret, len) == 0 && try_hmac(raw_key, NULL, 0, hash))
		return;

	kept_len = 0;
	if (!try_hmac(raw_key, data, len, hash))
		elog(ERROR, "could not compute %s hash: %s", "HMAC-SHA256", pg_hmac_error(hmac));
	keep_secret(raw_key, data, len, hash);
}

/*
 * Returns the hash of a raw key, KEY_HASH_LEN bytes, palloc'd; a secret of
 * NULL stands for plain SHA-256.  The key must not be toasted, and is not copied.
 * The secret is, until key_hash_forget_secret().
 */
bytea *
key_hash_compute(const text *raw_key, const bytea *secret)
{
	bytea	   *hash = palloc(VARHDRSZ + KEY_HASH_LEN);

	Assert(!VARATT_IS_EXTERNAL(raw_key) && !VARATT_IS_COMPRESSED(raw_key));

	SET_VARSIZE(hash, VARHDRSZ + KEY_HASH_LEN);
	if (secret == NULL)
		compute_sha256(raw_key, (uint8 *) VARDATA(hash));
	else
		compute_hmac(raw_key, secret, (uint8 *) VARDATA(hash));

	return hash;
}

/* apikeys.key_hash_start(key_hash bytea): uuid; of a shorter one, filled up with zeros. */
Datum
apikeys_key_hash_start(PG_FUNCTION_ARGS)
{
	const bytea *hash = PG_GETARG_BYTEA_PP(0);
	pg_uuid_t  *start = palloc0(sizeof(pg_uuid_t));

	memcpy(start, VARDATA_ANY(hash), Min(VARSIZE_ANY_EXHDR(hash), UUID_LEN));
	PG_RETURN_UUID_P(start);
}

/* Wipes what is kept of a secret. */
void
key_hash_forget_secret(void)
{
	pg_hmac_free(hmac);
	hmac = NULL;
	explicit_bzero(kept_secret, sizeof(kept_secret));
	kept_len = 0;
}

static bool
is_name_char(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		   (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

/*
 * May a text name an HMAC secret, in the file of secrets and with a key?  A raw
 * key may not: names are shown.  Neither allocates nor raises anything.
 */
bool
key_hash_is_secret_name(const char *name, Size len)
{
	KeyMatch	match;

	if (len < 1 || len > HMAC_SECRET_NAME_MAX_LEN)
		return false;
	for (Size i = 0; i < len; i++)
	{
		if (!is_name_char(name[i]))
			return false;
	}

	return !key_scan_find(name, len, 0, &match);
}
