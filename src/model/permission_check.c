/*-------------------------------------------------------------------------
 *
 * permission_check.c
 *	  Checks a request against the permissions of its key.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The checks return why a request is denied, palloc'd, or NULL.  The reason
 * names what the request lacks, never what else the key has.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tupmacs.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "model/permission_check.h"
#include "model/raw_key_filter.h"
#include "model/recent_documents.h"

/*
 * Returns the next element of an array of inet or text without nulls.  Each
 * request reads arrays, so they are not deconstructed.
 */
static const char *
next_element(const char *element)
{
	return (const char *) att_align_nominal(att_addlength_pointer(element, -1, element),
											TYPALIGN_INT);
}

/* Fills in the networks of a list of addresses. */
static void
fill_networks(ArrayType *allowed_ips, int n, inet_struct *networks)
{
	const char *element = ARR_DATA_PTR(allowed_ips);

	Assert(ARR_ELEMTYPE(allowed_ips) == INETOID && !ARR_HASNULL(allowed_ips));
	for (int i = 0; i < n; i++, element = next_element(element))
		ip_network_from_inet((const inet *) element, &networks[i]);
}

/* The lists that a check points to. */
#define LISTS(permissions) \
	{ \
		&(permissions).allowed_models, &(permissions).allowed_endpoints, &(permissions).custom_permissions \
	}

/* Creates a check, and remembers it. */
static PermissionCheck *
create(Jsonb *document, ArrayType *allowed_ips, MemoryContext memory, RecentDocuments *recent)
{
	PermissionCheck check = {0};
	Patterns  **lists[] = LISTS(check.permissions);
	Size		size = MAXALIGN(sizeof(PermissionCheck));
	char	   *chunk;
	char	   *free;

	permissions_parse(document, &check.permissions);
	for (size_t i = 0; i < lengthof(lists); i++)
		size += *lists[i] != NULL ? MAXALIGN(VARSIZE(*lists[i])) : 0;
	if (allowed_ips != NULL)
		check.nnetworks = ArrayGetNItems(ARR_NDIM(allowed_ips), ARR_DIMS(allowed_ips));
	size += check.nnetworks * sizeof(inet_struct);

	chunk = MemoryContextAlloc(memory, size);
	free = chunk + MAXALIGN(sizeof(PermissionCheck));
	for (size_t i = 0; i < lengthof(lists); i++)
	{
		if (*lists[i] == NULL)
			continue;
		Assert(VARATT_IS_4B_U(*lists[i]));
		*lists[i] = memcpy(free, *lists[i], VARSIZE(*lists[i]));
		free += MAXALIGN(VARSIZE(*lists[i]));
	}
	if (allowed_ips != NULL)
	{
		check.networks = (inet_struct *) free;
		fill_networks(allowed_ips, check.nnetworks, check.networks);
	}
	memcpy(chunk, &check, sizeof(PermissionCheck));
	recent_documents_add(recent, document, allowed_ips, chunk, size);

	return (PermissionCheck *) chunk;
}

/* Copies a check that was created before. */
static PermissionCheck *
copy_recent(const RecentDocument *recent, MemoryContext memory)
{
	PermissionCheck *copy = recent_document_copy(recent, memory);
	Patterns  **lists[] = LISTS(copy->permissions);

	for (size_t i = 0; i < lengthof(lists); i++)
		recent_document_move(recent, copy, lists[i]);
	recent_document_move(recent, copy, &copy->networks);
	return copy;
}

/*
 * Creates the check of a key from its permissions and its list of addresses,
 * which may be NULL.  It is one chunk in the given context, since each request
 * reads all of it; garbage is left in the current context.
 */
PermissionCheck *
permission_check_create(Jsonb *document, ArrayType *allowed_ips, MemoryContext memory)
{
	static RecentDocuments recent;
	const RecentDocument *known = recent_documents_find(&recent, document, allowed_ips);

	return known != NULL ? copy_recent(known, memory) : create(document, allowed_ips, memory, &recent);
}

/* Raises 22023 for more permissions than are looked up. */
void
permission_check_list(const char *what, const ArrayType *permissions)
{
	if (ArrayGetNItems(ARR_NDIM(permissions), ARR_DIMS(permissions)) <= PERMISSION_LIST_MAX)
		return;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s has too many elements", what),
			 errdetail("It may have %d.", PERMISSION_LIST_MAX)));
}

/*
 * Checks the client's address; a key without a list allows any.  A text that
 * is no address is not repeated, as it may be anything.
 */
char *
permission_check_client(const PermissionCheck *check, const Request *request)
{
	const inet_struct *address = request->client_ip;

	if (check->networks == NULL)
		return NULL;
	if (address == NULL)
		return pstrdup("client address is required");

	for (int i = 0; i < check->nnetworks; i++)
	{
		if (ip_network_contains(&check->networks[i], address))
			return NULL;
	}

	return psprintf("client address %s is not allowed", ip_address_format(address));
}

/* Returns a reason that quotes a name from the request. */
static char *
format_reason(const char *format, const text *name)
{
	return psprintf(format, raw_key_filter_quote(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name),
												 QUOTE_MAX_BYTES));
}

/* Returns the reason if one of the required permissions is missing. */
static char *
missing_permission(const Permissions *permissions, ArrayType *required)
{
	int			n = ArrayGetNItems(ARR_NDIM(required), ARR_DIMS(required));
	const char *name = ARR_DATA_PTR(required);

	Assert(ARR_ELEMTYPE(required) == TEXTOID);
	if (array_contains_nulls(required))
		return pstrdup("permission null is missing");

	for (int i = 0; i < n; i++, name = next_element(name))
	{
		CHECK_FOR_INTERRUPTS();
		if (!patterns_match(permissions->custom_permissions, (const text *) name))
			return format_reason("permission \"%s\" is missing", (const text *) name);
	}

	return NULL;
}

/* Is one of these permissions there?  An empty list has none. */
static bool
has_any_permission(const Permissions *permissions, ArrayType *any)
{
	int			n = ArrayGetNItems(ARR_NDIM(any), ARR_DIMS(any));
	const char *name = ARR_DATA_PTR(any);

	Assert(ARR_ELEMTYPE(any) == TEXTOID);
	if (array_contains_nulls(any))
		return false;

	for (int i = 0; i < n; i++, name = next_element(name))
	{
		CHECK_FOR_INTERRUPTS();
		if (patterns_match(permissions->custom_permissions, (const text *) name))
			return true;
	}

	return false;
}

/* Checks what a request names against the permissions. */
char *
permission_check_request(const PermissionCheck *check, const Request *request)
{
	const Permissions *permissions = &check->permissions;

	if (request->model != NULL &&
		!patterns_allow(permissions->allowed_models, request->model))
		return format_reason("model \"%s\" is not allowed", request->model);

	if (request->endpoint != NULL &&
		!patterns_allow(permissions->allowed_endpoints, request->endpoint))
		return format_reason("endpoint \"%s\" is not allowed", request->endpoint);

	if (request->required_permissions != NULL && !permissions->is_admin)
	{
		char	   *missing = missing_permission(permissions,
												 request->required_permissions);

		if (missing != NULL)
			return missing;
	}

	if (request->any_permissions != NULL && !permissions->is_admin &&
		!has_any_permission(permissions, request->any_permissions))
		return pstrdup("none of the permissions is there");

	if (permissions->max_tokens_per_request > 0 &&
		request->tokens > permissions->max_tokens_per_request)
		return psprintf(INT64_FORMAT " tokens are more than a request may have",
						request->tokens);

	return NULL;
}
