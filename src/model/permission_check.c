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
#include "utils/builtins.h"

#include "base/compat.h"
#include "model/permission_check.h"
#include "model/raw_key_filter.h"

/*
 * Creates the check of a key from its permissions and its list of addresses,
 * which may be NULL.  It is one chunk in the given context, since each request
 * reads all of it; garbage is left in the current context.
 */
PermissionCheck *
permission_check_create(Jsonb *document, ArrayType *allowed_ips, MemoryContext memory)
{
	PermissionCheck check = {.allowed_ips = allowed_ips};
	struct varlena **parts[] = {
		&check.permissions.allowed_models,
		&check.permissions.allowed_endpoints,
		&check.permissions.custom_permissions,
		(struct varlena **) &check.allowed_ips,
	};
	Size		size = MAXALIGN(sizeof(PermissionCheck));
	char	   *chunk;

	permissions_parse(document, &check.permissions);
	for (size_t i = 0; i < lengthof(parts); i++)
		size += *parts[i] != NULL ? MAXALIGN(VARSIZE(*parts[i])) : 0;

	chunk = MemoryContextAlloc(memory, size);
	size = MAXALIGN(sizeof(PermissionCheck));
	for (size_t i = 0; i < lengthof(parts); i++)
	{
		if (*parts[i] == NULL)
			continue;
		Assert(VARATT_IS_4B_U(*parts[i]));
		*parts[i] = memcpy(chunk + size, *parts[i], VARSIZE(*parts[i]));
		size += MAXALIGN(VARSIZE(*parts[i]));
	}

	return memcpy(chunk, &check, sizeof(PermissionCheck));
}

/*
 * Is an address in a network?  As network_subeq(), without the fmgr call, which
 * would cost more than the comparison.
 */
static bool
network_contains(const inet *network, const inet *address)
{
	return ip_family(network) == ip_family(address) &&
		   ip_bits(network) <= ip_bits(address) &&
		   bitncmp(ip_addr(network), ip_addr(address), ip_bits(network)) == 0;
}

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

/* Checks the client's address; a key without a list allows any. */
char *
permission_check_client(const PermissionCheck *check, const Request *request)
{
	ArrayType  *networks = check->allowed_ips;
	const char *network;
	int			n;

	if (networks == NULL)
		return NULL;
	if (request->client_ip == NULL)
		return pstrdup("client address is required");

	Assert(ARR_ELEMTYPE(networks) == INETOID && !ARR_HASNULL(networks));
	network = ARR_DATA_PTR(networks);
	n = ArrayGetNItems(ARR_NDIM(networks), ARR_DIMS(networks));
	for (int i = 0; i < n; i++, network = next_element(network))
	{
		if (network_contains((const inet *) network, request->client_ip))
			return NULL;
	}

	return psprintf("client address %s is not allowed",
					DatumGetCString(DirectFunctionCall1(inet_out,
														InetPGetDatum(request->client_ip))));
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
		if (!patterns_match(permissions->custom_permissions, (const text *) name))
			return format_reason("permission \"%s\" is missing", (const text *) name);
	}

	return NULL;
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

	if (permissions->max_tokens_per_request > 0 &&
		request->tokens > permissions->max_tokens_per_request)
		return psprintf(INT64_FORMAT " tokens are more than a request may have",
						request->tokens);

	return NULL;
}
