/*-------------------------------------------------------------------------
 *
 * fail.h
 *	  Lets the Nth call of ours that may fail, fail: for the tests alone.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Compiled with -include fail.h, a source of ours counts its calls of what
 * allocates, executes, waits or reads.  The headers with the declarations come
 * first, since a macro with arguments would break those.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FAIL_H
#define APIKEYS_FAIL_H

#include "postgres.h"

/* Names that sources of ours have for something else. */
#define Group ServerGroup
#define repeat server_repeat

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/evp.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "common/jsonapi.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "postmaster/bgworker.h"
#include "storage/fd.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#undef Group
#undef repeat

/* Counts a call; true if it is the one to fail. */
extern bool apikeys_fail_here(const char *file, int line, const char *what);

/* The same, and raises an error then. */
extern void apikeys_fail_error(const char *file, int line, const char *what, int sqlstate);

extern int	apikeys_fail_nlocks;

#define FAIL_HERE(what) apikeys_fail_here(__FILE__, __LINE__, what)
#define FAIL_ERROR(what, sqlstate) apikeys_fail_error(__FILE__, __LINE__, what, sqlstate)
#define FAIL_MEMORY(what) FAIL_ERROR(what, ERRCODE_OUT_OF_MEMORY)
#define FAIL_ERRNO(what) (FAIL_HERE(what) ? (errno = EIO, true) : false)

/* ------------------------------------------------------------- allocations */

#undef palloc0
#define palloc(size) (FAIL_MEMORY("palloc"), palloc(size))
#define palloc0(size) (FAIL_MEMORY("palloc0"), palloc0(size))
#define repalloc(p, size) (FAIL_MEMORY("repalloc"), repalloc(p, size))
#define repalloc_huge(p, size) (FAIL_MEMORY("repalloc_huge"), repalloc_huge(p, size))
#define pstrdup(s) (FAIL_MEMORY("pstrdup"), pstrdup(s))
#define pnstrdup(s, n) (FAIL_MEMORY("pnstrdup"), pnstrdup(s, n))
#define psprintf(...) (FAIL_MEMORY("psprintf"), psprintf(__VA_ARGS__))
#define MemoryContextAlloc(c, size) (FAIL_MEMORY("MemoryContextAlloc"), MemoryContextAlloc(c, size))
#define MemoryContextAllocHuge(c, size) (FAIL_MEMORY("MemoryContextAllocHuge"), MemoryContextAllocHuge(c, size))
#define MemoryContextAllocExtended(c, size, flags) \
	((((flags) & MCXT_ALLOC_NO_OOM) ? FAIL_HERE("MemoryContextAllocExtended") : \
	  (FAIL_MEMORY("MemoryContextAllocExtended"), false)) ? NULL : MemoryContextAllocExtended(c, size, flags))
#define MemoryContextStrdup(c, s) (FAIL_MEMORY("MemoryContextStrdup"), MemoryContextStrdup(c, s))
#define AllocSetContextCreateInternal(...) (FAIL_MEMORY("AllocSetContextCreate"), AllocSetContextCreateInternal(__VA_ARGS__))
#define ResourceOwnerCreate(o, name) (FAIL_MEMORY("ResourceOwnerCreate"), ResourceOwnerCreate(o, name))
#define cstring_to_text(s) (FAIL_MEMORY("cstring_to_text"), cstring_to_text(s))
#define cstring_to_text_with_len(s, n) (FAIL_MEMORY("cstring_to_text_with_len"), cstring_to_text_with_len(s, n))
#define text_to_cstring(t) (FAIL_MEMORY("text_to_cstring"), text_to_cstring(t))
#define initStringInfo(s) (FAIL_MEMORY("initStringInfo"), initStringInfo(s))
#define appendStringInfo(...) (FAIL_MEMORY("appendStringInfo"), appendStringInfo(__VA_ARGS__))
#define appendStringInfoString(s, t) (FAIL_MEMORY("appendStringInfoString"), appendStringInfoString(s, t))
#define appendBinaryStringInfo(s, d, n) (FAIL_MEMORY("appendBinaryStringInfo"), appendBinaryStringInfo(s, d, n))
#define construct_array(...) (FAIL_MEMORY("construct_array"), construct_array(__VA_ARGS__))
#define construct_md_array(...) (FAIL_MEMORY("construct_md_array"), construct_md_array(__VA_ARGS__))
#define deconstruct_array(...) (FAIL_MEMORY("deconstruct_array"), deconstruct_array(__VA_ARGS__))
#define heap_form_tuple(...) (FAIL_MEMORY("heap_form_tuple"), heap_form_tuple(__VA_ARGS__))
#define heap_copytuple(t) (FAIL_MEMORY("heap_copytuple"), heap_copytuple(t))
#define datumCopy(...) (FAIL_MEMORY("datumCopy"), datumCopy(__VA_ARGS__))
#define lappend_int(l, n) (FAIL_MEMORY("lappend_int"), lappend_int(l, n))
#define hash_create(...) (FAIL_MEMORY("hash_create"), hash_create(__VA_ARGS__))
#define hash_search(h, k, a, f) \
	(((a) == HASH_ENTER ? FAIL_MEMORY("hash_search") : (void) 0), \
	 (a) == HASH_ENTER_NULL && FAIL_HERE("hash_search") ? NULL : hash_search(h, k, a, f))
#define pg_detoast_datum(d) (FAIL_MEMORY("detoast"), pg_detoast_datum(d))
#define pg_detoast_datum_packed(d) (FAIL_MEMORY("detoast"), pg_detoast_datum_packed(d))
#define tuplestore_begin_heap(...) (FAIL_MEMORY("tuplestore_begin_heap"), tuplestore_begin_heap(__VA_ARGS__))
#define tuplestore_putvalues(...) (FAIL_MEMORY("tuplestore_putvalues"), tuplestore_putvalues(__VA_ARGS__))
#define malloc(size) (FAIL_HERE("malloc") ? NULL : malloc(size))
#define JsonbValueToJsonb(v) (FAIL_MEMORY("JsonbValueToJsonb"), JsonbValueToJsonb(v))
#define pushJsonbValue(...) (FAIL_MEMORY("pushJsonbValue"), pushJsonbValue(__VA_ARGS__))
#define BeginInternalSubTransaction(name) (FAIL_MEMORY("BeginInternalSubTransaction"), BeginInternalSubTransaction(name))

/* ------------------------------------------------------------------- SPI */

#define SPI_prepare(...) (FAIL_ERROR("SPI_prepare", ERRCODE_UNDEFINED_TABLE), SPI_prepare(__VA_ARGS__))
#define SPI_keepplan(p) (FAIL_MEMORY("SPI_keepplan"), SPI_keepplan(p))
#define SPI_execute_snapshot(...) \
	(FAIL_ERROR("SPI_execute_snapshot", ERRCODE_T_R_SERIALIZATION_FAILURE), SPI_execute_snapshot(__VA_ARGS__))
#define SPI_execute(...) (FAIL_ERROR("SPI_execute", ERRCODE_QUERY_CANCELED), SPI_execute(__VA_ARGS__))
#define SPI_cursor_open(...) (FAIL_ERROR("SPI_cursor_open", ERRCODE_QUERY_CANCELED), SPI_cursor_open(__VA_ARGS__))
#define SPI_cursor_fetch(...) (FAIL_ERROR("SPI_cursor_fetch", ERRCODE_QUERY_CANCELED), SPI_cursor_fetch(__VA_ARGS__))
#define SPI_connect() (FAIL_MEMORY("SPI_connect"), SPI_connect())
#define SPI_getbinval(...) (FAIL_MEMORY("SPI_getbinval"), SPI_getbinval(__VA_ARGS__))

/* ----------------------------------------------------------------- locks */

#define LockAcquire(...) (FAIL_ERROR("LockAcquire", ERRCODE_LOCK_NOT_AVAILABLE), LockAcquire(__VA_ARGS__))
#define LockRelationOid(r, m) (FAIL_ERROR("LockRelationOid", ERRCODE_T_R_DEADLOCK_DETECTED), LockRelationOid(r, m))
#define ConditionalLockRelationOid(r, m) (FAIL_HERE("ConditionalLockRelationOid") ? false : ConditionalLockRelationOid(r, m))
#define LWLockAcquire(l, m) (apikeys_fail_nlocks++, LWLockAcquire(l, m))
#define LWLockRelease(l) (apikeys_fail_nlocks--, LWLockRelease(l))

/* ----------------------------------------------------------------- files */

#define OpenTransientFile(...) (FAIL_ERRNO("OpenTransientFile") ? -1 : OpenTransientFile(__VA_ARGS__))
#define BasicOpenFile(...) (FAIL_ERRNO("BasicOpenFile") ? -1 : BasicOpenFile(__VA_ARGS__))
#define AllocateFile(...) (FAIL_ERRNO("AllocateFile") ? NULL : AllocateFile(__VA_ARGS__))
#define read(...) (FAIL_ERRNO("read") ? -1 : read(__VA_ARGS__))
#define fwrite(...) (FAIL_ERRNO("fwrite") ? 0 : fwrite(__VA_ARGS__))
#define fstat(...) (FAIL_ERRNO("fstat") ? -1 : fstat(__VA_ARGS__))
#define stat(path, st) (FAIL_ERRNO("stat") ? -1 : stat(path, st))
#define lseek(...) (FAIL_ERRNO("lseek") ? -1 : lseek(__VA_ARGS__))
#define FreeFile(f) (FAIL_ERRNO("FreeFile") ? (FreeFile(f), EOF) : FreeFile(f))
#define durable_rename(...) (FAIL_ERRNO("durable_rename") ? -1 : durable_rename(__VA_ARGS__))

/* ----------------------------------------------- randomness, cryptography */

#define pg_strong_random(p, n) (FAIL_HERE("pg_strong_random") ? false : pg_strong_random(p, n))
#define EVP_MD_CTX_new() (FAIL_HERE("EVP_MD_CTX_new") ? NULL : EVP_MD_CTX_new())
#define EVP_DigestInit_ex(...) (FAIL_HERE("EVP_DigestInit_ex") ? 0 : EVP_DigestInit_ex(__VA_ARGS__))
#define EVP_DigestUpdate(...) (FAIL_HERE("EVP_DigestUpdate") ? 0 : EVP_DigestUpdate(__VA_ARGS__))
#define EVP_DigestFinal_ex(...) (FAIL_HERE("EVP_DigestFinal_ex") ? 0 : EVP_DigestFinal_ex(__VA_ARGS__))
#define EVP_MD_CTX_copy_ex(...) (FAIL_HERE("EVP_MD_CTX_copy_ex") ? 0 : EVP_MD_CTX_copy_ex(__VA_ARGS__))
#define RegisterDynamicBackgroundWorker(...) \
	(FAIL_HERE("RegisterDynamicBackgroundWorker") ? false : RegisterDynamicBackgroundWorker(__VA_ARGS__))

#endif
