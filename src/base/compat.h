/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  What differs between the server versions that apikeys supports.
 *
 * This is the only file that looks at PG_VERSION_NUM.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_BASE_COMPAT_H
#define APIKEYS_BASE_COMPAT_H

#include "storage/proc.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000
#error "apikeys needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* From 18 on, this stands before a declaration, and only there. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* From 16 on, the extra data of a check hook is allocated with guc_malloc(). */
#if PG_VERSION_NUM < 160000
#define guc_malloc(elevel, size) malloc(size)
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

/* The parameters of an ExecutorRun_hook, and the arguments to pass on. */
#if PG_VERSION_NUM >= 180000
#define EXECUTOR_RUN_PARAMETERS QueryDesc *queryDesc, ScanDirection direction, uint64 count
#define EXECUTOR_RUN_ARGUMENTS queryDesc, direction, count
#else
#define EXECUTOR_RUN_PARAMETERS QueryDesc *queryDesc, ScanDirection direction, uint64 count, bool execute_once
#define EXECUTOR_RUN_ARGUMENTS queryDesc, direction, count, execute_once
#endif

#endif							/* APIKEYS_BASE_COMPAT_H */
