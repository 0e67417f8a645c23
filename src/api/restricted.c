/*-------------------------------------------------------------------------
 *
 * restricted.c
 *	  The functions in SQL that read keys, restricted to those of a user.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Each of them is declared in C, so that the calling role is known here, and
 * calls the function in SQL that does the work: SECURITY DEFINER, in schema
 * apikeys_data, and with the user as its first argument.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/execnodes.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "store/catalog.h"
#include "verify/restriction.h"

#define NAME_PREFIX		"apikey_"
#define INNER_PREFIX	"restricted_"

PG_FUNCTION_INFO_V1(apikeys_restricted);

/*
 * Looks up apikeys_data.restricted_NAME(uuid, ...) for apikey_NAME(...), once for
 * each place in a query.  What it keeps itself between its calls is kept with it.
 */
static FmgrInfo *
inner_function(FunctionCallInfo fcinfo)
{
	FmgrInfo   *outer = fcinfo->flinfo;
	FmgrInfo   *inner = outer->fn_extra;
	Oid			types[FUNC_MAX_ARGS] = {UUIDOID};
	Oid		   *outer_types;
	char	   *name;
	int			n;

	if (inner != NULL)
		return inner;

	name = get_func_name(outer->fn_oid);
	(void) get_func_signature(outer->fn_oid, &outer_types, &n);
	if (name == NULL || strncmp(name, NAME_PREFIX, strlen(NAME_PREFIX)) != 0 || n >= FUNC_MAX_ARGS)
		elog(ERROR, "a function of apikeys has been changed");
	memcpy(&types[1], outer_types, n * sizeof(Oid));

	inner = MemoryContextAlloc(outer->fn_mcxt, sizeof(FmgrInfo));
	fmgr_info_cxt(store_function_oid("apikeys_data",
									 psprintf(INNER_PREFIX "%s", name + strlen(NAME_PREFIX)),
									 types, n + 1),
				  inner, outer->fn_mcxt);
	outer->fn_extra = inner;
	return inner;
}

/*
 * The body of all of them: the call is passed on, with the place for its rows, if
 * it returns a set.  All rows are made in one call: before another one somebody
 * else could have logged in.
 */
Datum
apikeys_restricted(PG_FUNCTION_ARGS)
{
	LOCAL_FCINFO(inner, FUNC_MAX_ARGS);
	const pg_uuid_t *user_id = restriction_for_reading();
	Datum		result;

	if (fcinfo->flinfo->fn_retset && fcinfo->resultinfo != NULL)
		((ReturnSetInfo *) fcinfo->resultinfo)->allowedModes |= SFRM_Materialize_Preferred;

	InitFunctionCallInfoData(*inner, inner_function(fcinfo), PG_NARGS() + 1,
							 fcinfo->fncollation, fcinfo->context, fcinfo->resultinfo);
	inner->args[0].value = UUIDPGetDatum(user_id);
	inner->args[0].isnull = (user_id == NULL);
	memcpy(&inner->args[1], fcinfo->args, PG_NARGS() * sizeof(NullableDatum));

	result = FunctionCallInvoke(inner);
	fcinfo->isnull = inner->isnull;
	return result;
}
