/*-------------------------------------------------------------------------
 *
 * key_hash.c
 *	  The hash under which a raw key is stored and looked up.
 *
 * The cryptography is pgcrypto's: its digest(bytea, text) and hmac(bytea,
 * bytea, text), found among the members of that extension, never by name and
 * search_path, and they must be the C functions that pgcrypto brings: whoever
 * owns the extension can make another function a member of it.  The hash
 * equals hmac(raw_key, secret, 'sha256') in SQL, and without a secret
 * digest(raw_key, 'sha256').
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
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

#include "model/key_hash.h"

/*
 * A function of pgcrypto, looked up once a backend.  It stays callable should
 * pgcrypto be dropped and made again: a library is never unloaded.
 */
typedef struct Cryptor
{
	const char *name;
	const char *prosrc;
	const char *signature;
	int			nargs;
	Oid			argtypes[3];
	FmgrInfo	fn;				/* fn_oid is invalid: not looked up yet */
} Cryptor;

static Cryptor digest = {
	.name = "digest",
	.prosrc = "pg_digest",
	.signature = "digest(bytea, text)",
	.nargs = 2,
	.argtypes = {BYTEAOID, TEXTOID},
};

static Cryptor hmac = {
	.name = "hmac",
	.prosrc = "pg_hmac",
	.signature = "hmac(bytea, bytea, text)",
	.nargs = 3,
	.argtypes = {BYTEAOID, BYTEAOID, TEXTOID},
};

/* Is a column of pg_proc that text? */
static bool
proc_text_is(HeapTuple tuple, AttrNumber column, const char *expected)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(PROCOID, tuple, column, &isnull);

	return !isnull && strcmp(TextDatumGetCString(value), expected) == 0;
}

/* Is a function the one that pgcrypto brings? */
static bool
is_cryptor(HeapTuple tuple, const Cryptor *cryptor, Oid pgcrypto)
{
	Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);

	return proc->pronargs == cryptor->nargs &&
		   memcmp(proc->proargtypes.values, cryptor->argtypes, cryptor->nargs * sizeof(Oid)) == 0 &&
		   proc->prolang == ClanguageId &&
		   proc_text_is(tuple, Anum_pg_proc_prosrc, cryptor->prosrc) &&
		   proc_text_is(tuple, Anum_pg_proc_probin, "$libdir/pgcrypto") &&
		   getExtensionOfObject(ProcedureRelationId, proc->oid) == pgcrypto;
}

/* Returns the oid of a function that is a member of pgcrypto. */
static Oid
find_cryptor(const Cryptor *cryptor)
{
	Oid			pgcrypto = get_extension_oid("pgcrypto", false);
	CatCList   *candidates = SearchSysCacheList1(PROCNAMEARGSNSP,
												 CStringGetDatum(cryptor->name));
	Oid			found = InvalidOid;

	for (int i = 0; i < candidates->n_members; i++)
	{
		HeapTuple	tuple = &candidates->members[i]->tuple;

		if (is_cryptor(tuple, cryptor, pgcrypto))
			found = ((Form_pg_proc) GETSTRUCT(tuple))->oid;
	}
	ReleaseSysCacheList(candidates);

	if (!OidIsValid(found))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("extension \"pgcrypto\" has no function %s", cryptor->signature)));

	return found;
}

/* Returns a function that can be called. */
static FmgrInfo *
look_up(Cryptor *cryptor)
{
	if (!OidIsValid(cryptor->fn.fn_oid))
		fmgr_info_cxt(find_cryptor(cryptor), &cryptor->fn, TopMemoryContext);

	return &cryptor->fn;
}

/*
 * Returns the hash of a raw key, KEY_HASH_LEN bytes, palloc'd; a secret of
 * NULL stands for plain SHA-256.  The key must not be toasted; it is read
 * where it lies, no copy of it is made here, nor of the secret.
 */
bytea *
key_hash_compute(const text *raw_key, const bytea *secret)
{
	static text *algorithm = NULL;
	Datum		hash;

	if (algorithm == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		algorithm = cstring_to_text("sha256");
		MemoryContextSwitchTo(old);
	}

	/* A text and a bytea are laid out alike. */
	if (secret == NULL)
		hash = FunctionCall2(look_up(&digest), PointerGetDatum(raw_key),
							 PointerGetDatum(algorithm));
	else
		hash = FunctionCall3(look_up(&hmac), PointerGetDatum(raw_key),
							 PointerGetDatum(secret), PointerGetDatum(algorithm));

	return DatumGetByteaPP(hash);
}
