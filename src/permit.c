/*-------------------------------------------------------------------------
 *
 * permit.c
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

#include "compat.h"
#include "permit.h"

/* A longer name is cut where it is repeated to the caller. */
#define NAME_SHOWN_BYTES	100

/* Is the client's address in one of the networks of the list, if any? */
char *
permit_why_forbidden(const Datum *allowed_ips, int nallowed_ips, const Request *request)
{
	if (nallowed_ips == 0)
		return NULL;
	if (request->client_ip == NULL)
		return pstrdup("client address is required");

	for (int i = 0; i < nallowed_ips; i++)
	{
		if (DatumGetBool(DirectFunctionCall2(network_subeq,
											 InetPGetDatum(request->client_ip),
											 allowed_ips[i])))
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
	const char *next = ARR_DATA_PTR(required);
	int			n = ArrayGetNItems(ARR_NDIM(required), ARR_DIMS(required));

	if (array_contains_nulls(required))
		return pstrdup("permission null is missing");

	/* Read where they lie: this is asked with every request. */
	for (int i = 0; i < n; i++)
	{
		const text *name = (const text *) next;

		if (!policy_matches(permissions->custom_permissions, name))
			return complain("permission \"%.*s\" is missing", name);
		next = att_addlength_pointer(next, -1, next);
		next = (const char *) att_align_nominal(next, TYPALIGN_INT);
	}

	return NULL;
}

/* Do the permissions cover all that the request says? */
char *
permit_what_is_missing(const Permissions *permissions, const Request *request)
{
	if (request->model != NULL &&
		!policy_allows(permissions->allowed_models, request->model))
		return complain("model \"%.*s\" is not allowed", request->model);

	if (request->endpoint != NULL &&
		!policy_allows(permissions->allowed_endpoints, request->endpoint))
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
