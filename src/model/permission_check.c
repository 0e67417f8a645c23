/*-------------------------------------------------------------------------
 *
 * permission_check.c
 *	  Does a key permit what a request asks for?
 *
 * The answers name what the request lacks, never what the key has besides.
 * They are palloc'd; NULL means that nothing is wrong.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tupmacs.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "model/permission_check.h"

/* A longer name is cut where it is repeated to the caller. */
#define NAME_SHOWN_BYTES	100

/*
 * Makes what a key permits out of its document and its list of addresses,
 * which may be NULL: one chunk of the given memory, since all of it is read
 * with each request.  What else is palloc'd is for the caller's context.
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
		*parts[i] = memcpy(chunk + size, *parts[i], VARSIZE(*parts[i]));
		size += MAXALIGN(VARSIZE(*parts[i]));
	}

	return memcpy(chunk, &check, sizeof(PermissionCheck));
}

/*
 * Is an address in a network?  As network_subeq() has it, without the call
 * by fmgr, which costs more than the answer.
 */
static bool
network_contains(const inet *network, const inet *address)
{
	return ip_family(network) == ip_family(address) &&
		   ip_bits(network) <= ip_bits(address) &&
		   bitncmp(ip_addr(network), ip_addr(address), ip_bits(network)) == 0;
}

/*
 * Returns the element after one of an array of inet or text without nulls.
 * Arrays are read where they lie: this is asked with every request.
 */
static const char *
next_element(const char *element)
{
	return (const char *) att_align_nominal(att_addlength_pointer(element, -1, element),
											TYPALIGN_INT);
}

/* Is the client's address in one of the networks of the list, if any? */
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

/* Returns a sentence about a name that the caller has given. */
static char *
complain(const char *format, const text *name)
{
	const char *data = VARDATA_ANY(name);
	int			len = VARSIZE_ANY_EXHDR(name);

	return psprintf(format, pg_mbcliplen(data, len, NAME_SHOWN_BYTES), data);
}

/* Returns what is missing of the permissions that the caller requires. */
static char *
missing_permission(const Permissions *permissions, ArrayType *required)
{
	int			n = ArrayGetNItems(ARR_NDIM(required), ARR_DIMS(required));
	const char *name = ARR_DATA_PTR(required);

	if (array_contains_nulls(required))
		return pstrdup("permission null is missing");

	for (int i = 0; i < n; i++, name = next_element(name))
	{
		if (!patterns_match(permissions->custom_permissions, (const text *) name))
			return complain("permission \"%.*s\" is missing", (const text *) name);
	}

	return NULL;
}

/* Do the permissions cover all that the request says? */
char *
permission_check_request(const PermissionCheck *check, const Request *request)
{
	const Permissions *permissions = &check->permissions;

	if (request->model != NULL &&
		!patterns_allow(permissions->allowed_models, request->model))
		return complain("model \"%.*s\" is not allowed", request->model);

	if (request->endpoint != NULL &&
		!patterns_allow(permissions->allowed_endpoints, request->endpoint))
		return complain("endpoint \"%.*s\" is not allowed", request->endpoint);

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
