/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  What differs between the server versions that apikeys supports.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * This is the only file that looks at PG_VERSION_NUM.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_BASE_COMPAT_H
#define APIKEYS_BASE_COMPAT_H

#include "fmgr.h"
#include "storage/proc.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000
#error "apikeys needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/*
 * The library is built with hidden symbols (see Makefile).  From 16 on, the
 * server's macros mark what it has to find; before, they do not.  So whatever
 * uses PGDLLEXPORT, PG_FUNCTION_INFO_V1 or PG_MODULE_MAGIC must include this
 * file first, or it compiles but is not found; make lint looks for that.
 */
#if PG_VERSION_NUM < 160000
#undef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))
#undef PG_FUNCTION_INFO_V1
#define PG_FUNCTION_INFO_V1(funcname) \
extern PGDLLEXPORT Datum funcname(PG_FUNCTION_ARGS); \
extern PGDLLEXPORT const Pg_finfo_record *CppConcat(pg_finfo_, funcname)(void); \
const Pg_finfo_record * \
CppConcat(pg_finfo_, funcname)(void) \
{ \
	static const Pg_finfo_record my_finfo = {1}; \
	return &my_finfo; \
} \
extern int no_such_variable
#endif

/* From 18 on, this stands before a declaration, and only there. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/*
 * From 16 on, the extra data of a check hook is allocated with guc_malloc(), which
 * says that memory has run out.
 */
#if PG_VERSION_NUM < 160000
static inline void *
guc_malloc(int elevel, size_t size)
{
	void	   *data = malloc(size);

	if (data == NULL)
		ereport(elevel, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return data;
}
#endif

/*
 * The JSON parser's callbacks; to be used with common/jsonapi.h.  The lexer
 * resolves the escapes in strings.
 */
#if PG_VERSION_NUM >= 160000
#define json_action		JsonParseErrorType
#define json_action_end() return JSON_SUCCESS
#else
#define json_action		void
#define json_action_end() return
#endif
#if PG_VERSION_NUM >= 170000
#define json_lexer(json, len, encoding) makeJsonLexContextCstringLen(NULL, json, len, encoding, true)
#else
#define json_lexer(json, len, encoding) makeJsonLexContextCstringLen(json, len, encoding, true)
#endif

/*
 * From 17 on, a library that is not preloaded can allocate shared memory too,
 * and extensions can name their wait events.
 */
#if PG_VERSION_NUM >= 170000
#include "storage/dsm_registry.h"
#define HAVE_NAMED_DSM	1
#define wait_event(name)	WaitEventExtensionNew(name)
#else
#include "storage/backendid.h"
#define HAVE_NAMED_DSM	0
#define wait_event(name)	PG_WAIT_EXTENSION
#endif

/* This backend's number, 0 to MaxBackends - 1; negative in other processes. */
#if PG_VERSION_NUM >= 170000
#define backend_index() (MyProcNumber)
#else
#define backend_index() (MyBackendId == InvalidBackendId ? -1 : MyBackendId - 1)
#endif

/*
 * Says that an attribute is set.  From 18 on, that is copied to where it is used,
 * which also has the cached offset.
 */
#if PG_VERSION_NUM >= 180000
#define compact_attribute(tupdesc, i) populate_compact_attribute(tupdesc, i)
#else
#define compact_attribute(tupdesc, i) (TupleDescAttr(tupdesc, i)->attcacheoff = -1)
#endif

/* May a role execute a function?  For files that include utils/acl.h. */
#if PG_VERSION_NUM >= 160000
#define may_execute(function, role) \
	(object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK)
#else
#define may_execute(function, role) (pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK)
#endif

/* Does a role own a database?  Likewise. */
#if PG_VERSION_NUM >= 160000
#define owns_database(database, role) object_ownercheck(DatabaseRelationId, database, role)
#else
#define owns_database(database, role) pg_database_ownercheck(database, role)
#endif

/* The parameters of an ExecutorRun_hook, and the arguments to pass on. */
#if PG_VERSION_NUM >= 180000
#define EXECUTOR_RUN_PARAMETERS QueryDesc *queryDesc, ScanDirection direction, uint64 count
#define EXECUTOR_RUN_ARGUMENTS queryDesc, direction, count
#else
#define EXECUTOR_RUN_PARAMETERS QueryDesc *queryDesc, ScanDirection direction, uint64 count, bool execute_once
#define EXECUTOR_RUN_ARGUMENTS queryDesc, direction, count, execute_once
#endif

#endif							/* APIKEYS_BASE_COMPAT_H */
