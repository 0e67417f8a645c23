/*-------------------------------------------------------------------------
 *
 * request.c
 *	  What the arguments of apikey_verify say of a request.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/array.h"
#include "utils/builtins.h"

#include "base/arguments.h"
#include "model/cost.h"
#include "verify/request.h"

/* Returns a model or an endpoint.  Raises 22023. */
static text *
get_subject(const char *what, Datum value)
{
	check_size(what, value, PERMISSION_SUBJECT_MAX_BYTES);
	return DatumGetTextPP(value);
}

/* Returns a list of permissions.  Raises 22023. */
static ArrayType *
get_permissions(const char *what, Datum value)
{
	ArrayType  *permissions;

	check_size(what, value, PERMISSION_SUBJECT_MAX_BYTES);
	permissions = DatumGetArrayTypeP(value);
	permission_check_list(what, permissions);
	return permissions;
}

/*
 * Collects the arguments that describe the request; false if all are null.
 * The client's address is parsed into client_ip.  Raises 22023 for an argument
 * that is too large, and for a negative number of tokens.
 */
bool
request_read(const NullableDatum *args, inet_struct *client_ip, Request *request)
{
	bool		has_any = false;

	memset(request, 0, sizeof(Request));
	request->tokens = NO_TOKENS;

	for (int i = AUTHORIZE_MODEL; i <= AUTHORIZE_CLIENT_IP; i++)
		has_any |= !args[i].isnull;
	has_any |= !args[AUTHORIZE_ANY_PERMISSIONS].isnull;
	if (!has_any)
		return false;

	if (!args[AUTHORIZE_MODEL].isnull)
		request->model = get_subject("model", args[AUTHORIZE_MODEL].value);
	if (!args[AUTHORIZE_ENDPOINT].isnull)
		request->endpoint = get_subject("endpoint", args[AUTHORIZE_ENDPOINT].value);
	if (!args[AUTHORIZE_REQUIRED_PERMISSIONS].isnull)
		request->required_permissions = get_permissions("required_permissions", args[AUTHORIZE_REQUIRED_PERMISSIONS].value);
	if (!args[AUTHORIZE_ANY_PERMISSIONS].isnull)
		request->any_permissions = get_permissions("any_permissions", args[AUTHORIZE_ANY_PERMISSIONS].value);
	if (!args[AUTHORIZE_CLIENT_IP].isnull &&
		ip_address_from_text((struct varlena *) DatumGetPointer(args[AUTHORIZE_CLIENT_IP].value), client_ip))
		request->client_ip = client_ip;
	if (!args[AUTHORIZE_TOKENS].isnull)
	{
		request->tokens = DatumGetInt64(args[AUTHORIZE_TOKENS].value);
		check_tokens(request->tokens);
	}

	return true;
}

/* Returns the estimated cost in billionths, rounded up.  Raises 22023. */
int64
request_cost(const NullableDatum *arg)
{
	Numeric		cost;

	if (arg->isnull)
		return 0;
	cost = round_amount(DatumGetNumeric(arg->value));
	check_nonnegative_amount("cost", cost);
	return cost_to_billionths(cost, true);
}
