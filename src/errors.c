/*-------------------------------------------------------------------------
 *
 * errors.c
 *	  The complaints that several functions share.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "errors.h"

/* Raises 22023 for an argument that must not be null and is. */
void
require_argument(FunctionCallInfo fcinfo, int argno, const char *name)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be null", name)));
}

/* Raises P0002 for a key that is not there. */
void
key_not_found(const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("API key not found"),
			 errdetail("There is no key with id %s.",
					   DatumGetCString(DirectFunctionCall1(uuid_out,
														   UUIDPGetDatum(id))))));
}
