/*-------------------------------------------------------------------------
 *
 * keyhash.c
 *	  The hash under which a raw key is stored and looked up.
 *
 * The cryptography is pgcrypto's: its digest(bytea, text), found among the
 * members of that extension, never by name and search_path, and it must be
 * the C function that pgcrypto brings: whoever owns the extension can make
 * another function a member of it.  The hash equals digest(raw_key, 'sha256') in SQL.
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

#include "keyhash.h"

/*
 * pgcrypto's digest(), looked up once a backend.  It stays callable should
 * pgcrypto be dropped and made again: a library is never unloaded.
 */
static FmgrInfo digest_fn;

/* Is a column of pg_proc that text? */
static bool
proc_text_is(HeapTuple tuple, AttrNumber column, const char *expected)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(PROCOID, tuple, column, &isnull);

	return !isnull && strcmp(TextDatumGetCString(value), expected) == 0;
}

/* Is a function pgcrypto's digest(bytea, text)? */
static bool
is_digest(HeapTuple tuple, Oid pgcrypto)
{
	const Oid	argtypes[] = {BYTEAOID, TEXTOID};
	Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);

	return proc->pronargs == lengthof(argtypes) &&
		   memcmp(proc->proargtypes.values, argtypes, sizeof(argtypes)) == 0 &&
		   proc->prolang == ClanguageId &&
		   proc_text_is(tuple, Anum_pg_proc_prosrc, "pg_digest") &&
		   proc_text_is(tuple, Anum_pg_proc_probin, "$libdir/pgcrypto") &&
		   getExtensionOfObject(ProcedureRelationId, proc->oid) == pgcrypto;
}

/* Returns the oid of digest(bytea, text), a member of pgcrypto. */
static Oid
find_digest(void)
{
	Oid			pgcrypto = get_extension_oid("pgcrypto", false);
	CatCList   *candidates = SearchSysCacheList1(PROCNAMEARGSNSP,
												 CStringGetDatum("digest"));
	Oid			found = InvalidOid;

	for (int i = 0; i < candidates->n_members; i++)
	{
		HeapTuple	tuple = &candidates->members[i]->tuple;

		if (is_digest(tuple, pgcrypto))
			found = ((Form_pg_proc) GETSTRUCT(tuple))->oid;
	}
	ReleaseSysCacheList(candidates);

	if (!OidIsValid(found))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("extension \"pgcrypto\" has no function digest(bytea, text)")));

	return found;
}

/*
 * Returns the hash of a raw key, KEY_HASH_LEN bytes, palloc'd.  The key must
 * not be toasted; it is read where it lies, no copy of it is made here.
 */
bytea *
keyhash_compute(const text *raw_key)
{
	static text *algorithm = NULL;

	if (algorithm == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		fmgr_info_cxt(find_digest(), &digest_fn, TopMemoryContext);
		algorithm = cstring_to_text("sha256");
		MemoryContextSwitchTo(old);
	}

	/* A text and a bytea are laid out alike. */
	return DatumGetByteaPP(FunctionCall2(&digest_fn,
										 PointerGetDatum(raw_key),
										 PointerGetDatum(algorithm)));
}
