/*-------------------------------------------------------------------------
 *
 * session.c
 *	  apikey_login, apikey_logout and apikey_current_*.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "base/arguments.h"
#include "base/compat.h"
#include "model/permissions.h"
#include "verify/identity.h"
#include "verify/verify.h"

PG_FUNCTION_INFO_V1(apikey_login);
PG_FUNCTION_INFO_V1(apikey_logout);
PG_FUNCTION_INFO_V1(apikey_current_id);
PG_FUNCTION_INFO_V1(apikey_current_root_id);
PG_FUNCTION_INFO_V1(apikey_current_user_id);
PG_FUNCTION_INFO_V1(apikey_current_team_id);
PG_FUNCTION_INFO_V1(apikey_current_external_id);
PG_FUNCTION_INFO_V1(apikey_current_has_permission);

/* Raises 28000, with the reason and the code that verify would return. */
pg_noreturn static void
reject_login(const AuthDecision *decision)
{
	int32		seconds = authorize_retry_after(decision);

	Assert(!decision->valid && decision->reason != NULL);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("login refused: %s", decision->reason),
			 errdetail_internal("%s", decision->code),
			 seconds > 0 ? errhint("Retry after %d seconds.", seconds) : 0));
}

/*
 * apikey_login(raw_key text, ...): the row of verify.  Logs out first: a
 * caller that catches the error of a failed login must not go on as the
 * previous identity.
 */
Datum
apikey_login(PG_FUNCTION_ARGS)
{
	static ResultType type;
	AuthDecision decision;
	HeapTuple	result;

	Assert(PG_NARGS() == AUTHORIZE_NARGUMENTS);

	identity_clear();
	authorize(fcinfo->args, &decision);
	if (!decision.valid)
		reject_login(&decision);

	identity_set(&decision.key->row);
	result = verify_form_result(fcinfo, &type, &decision);
	authorize_record_use(&decision);

	PG_RETURN_DATUM(HeapTupleGetDatum(result));
}

/* apikey_logout(): void. */
Datum
apikey_logout(PG_FUNCTION_ARGS)
{
	identity_clear();
	PG_RETURN_VOID();
}

/*
 * The result is a copy: a later call in the same row may log in again, which
 * frees the identity.
 */
static Datum
return_uuid(FunctionCallInfo fcinfo, IdentityUuid which)
{
	const pg_uuid_t *uuid = identity_uuid(which);
	pg_uuid_t  *result;

	if (uuid == NULL)
		PG_RETURN_NULL();

	result = palloc(sizeof(pg_uuid_t));
	*result = *uuid;
	PG_RETURN_UUID_P(result);
}

/* apikey_current_id(): uuid. */
Datum
apikey_current_id(PG_FUNCTION_ARGS)
{
	return return_uuid(fcinfo, IDENTITY_ID);
}

/* apikey_current_root_id(): uuid. */
Datum
apikey_current_root_id(PG_FUNCTION_ARGS)
{
	return return_uuid(fcinfo, IDENTITY_ROOT_ID);
}

/* apikey_current_user_id(): uuid. */
Datum
apikey_current_user_id(PG_FUNCTION_ARGS)
{
	return return_uuid(fcinfo, IDENTITY_USER_ID);
}

/* apikey_current_team_id(): uuid. */
Datum
apikey_current_team_id(PG_FUNCTION_ARGS)
{
	return return_uuid(fcinfo, IDENTITY_TEAM_ID);
}

/* apikey_current_external_id(): text. */
Datum
apikey_current_external_id(PG_FUNCTION_ARGS)
{
	const text *external_id = identity_external_id();

	if (external_id == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(DatumGetTextPCopy(PointerGetDatum(external_id)));
}

/* apikey_current_has_permission(permission text): boolean, never null. */
Datum
apikey_current_has_permission(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);

	check_size("permission", PG_GETARG_DATUM(0), PERMISSION_SUBJECT_MAX_BYTES);
	PG_RETURN_BOOL(identity_has_permission(PG_GETARG_TEXT_PP(0)));
}
