/*-------------------------------------------------------------------------
 *
 * key_hash.c
 *	  The hash under which a raw key is stored and looked up.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * It is computed by pgcrypto: by its digest(bytea, text) and hmac(bytea, bytea,
 * text), which are looked up among the members of that extension, never by
 * search_path.  They must be the C functions of pgcrypto's library, since the
 * owner of the extension can add other functions to it.  The hash equals
 * hmac(raw_key, secret, 'sha256') in SQL, and without a secret digest(raw_key,
 * 'sha256').
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "model/key_hash.h"
#include "model/key_scan.h"

/*
 * A function of pgcrypto, looked up once per backend.  It remains callable if
 * pgcrypto is dropped and created again, since libraries are never unloaded.
 */
typedef struct CryptoFunction
{
	const char *name;
	const char *prosrc;
	const char *signature;
	int			nargs;
	Oid			argtypes[3];
	FmgrInfo	fn;				/* fn_oid is invalid: not looked up yet */
} CryptoFunction;

static CryptoFunction digest = {
	.name = "digest",
	.prosrc = "pg_digest",
	.signature = "digest(bytea, text)",
	.nargs = 2,
	.argtypes = {BYTEAOID, TEXTOID},
};

static CryptoFunction hmac = {
	.name = "hmac",
	.prosrc = "pg_hmac",
	.signature = "hmac(bytea, bytea, text)",
	.nargs = 3,
	.argtypes = {BYTEAOID, BYTEAOID, TEXTOID},
};

/* Does a text column of a pg_proc row have the expected value? */
static bool
proc_text_is(HeapTuple tuple, AttrNumber column, const char *expected)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(PROCOID, tuple, column, &isnull);

	return !isnull && strcmp(TextDatumGetCString(value), expected) == 0;
}

/* Is a pg_proc row that of the function of pgcrypto? */
static bool
is_crypto_function(HeapTuple tuple, const CryptoFunction *function, Oid pgcrypto)
{
	Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);

	return proc->pronargs == function->nargs &&
		   memcmp(proc->proargtypes.values, function->argtypes, function->nargs * sizeof(Oid)) == 0 &&
		   proc->prolang == ClanguageId &&
		   proc_text_is(tuple, Anum_pg_proc_prosrc, function->prosrc) &&
		   proc_text_is(tuple, Anum_pg_proc_probin, "$libdir/pgcrypto") &&
		   getExtensionOfObject(ProcedureRelationId, proc->oid) == pgcrypto;
}

/* Returns the oid of a function that is a member of pgcrypto. */
static Oid
find_function(const CryptoFunction *function)
{
	Oid			pgcrypto = get_extension_oid("pgcrypto", false);
	CatCList   *candidates = SearchSysCacheList1(PROCNAMEARGSNSP,
												 CStringGetDatum(function->name));
	Oid			found = InvalidOid;

	for (int i = 0; i < candidates->n_members; i++)
	{
		HeapTuple	tuple = &candidates->members[i]->tuple;

		if (is_crypto_function(tuple, function, pgcrypto))
			found = ((Form_pg_proc) GETSTRUCT(tuple))->oid;
	}
	ReleaseSysCacheList(candidates);

	if (!OidIsValid(found))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("extension \"pgcrypto\" has no function %s", function->signature)));

	return found;
}

/* Returns a function, ready to be called. */
static FmgrInfo *
look_up(CryptoFunction *function)
{
	Assert(IsTransactionState());

	if (!OidIsValid(function->fn.fn_oid))
		fmgr_info_cxt(find_function(function), &function->fn, TopMemoryContext);

	return &function->fn;
}

/*
 * Returns the hash of a raw key, KEY_HASH_LEN bytes, palloc'd; a secret of
 * NULL stands for plain SHA-256.  The key must not be toasted.  Neither key nor
 * secret is copied.
 */
bytea *
key_hash_compute(const text *raw_key, const bytea *secret)
{
	static text *algorithm = NULL;
	Datum		hash;

	Assert(!VARATT_IS_EXTERNAL(raw_key) && !VARATT_IS_COMPRESSED(raw_key));

	if (algorithm == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		algorithm = cstring_to_text("sha256");
		MemoryContextSwitchTo(old);
	}

	/* text and bytea have the same layout. */
	if (secret == NULL)
		hash = FunctionCall2(look_up(&digest), PointerGetDatum(raw_key),
							 PointerGetDatum(algorithm));
	else
		hash = FunctionCall3(look_up(&hmac), PointerGetDatum(raw_key),
							 PointerGetDatum(secret), PointerGetDatum(algorithm));

	Assert(VARSIZE_ANY_EXHDR(DatumGetByteaPP(hash)) == KEY_HASH_LEN);
	return DatumGetByteaPP(hash);
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
