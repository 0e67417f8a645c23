/*-------------------------------------------------------------------------
 *
 * grants.c
 *	  Grants access: levels, each including those below it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The level stats is separate: read includes it, verify does not.
 *
 * Functions and views that are not listed here are for the owner only.  No
 * level includes a privilege on a table: with one, a role could create a
 * trigger, which would run with the owner's rights, or change a key without an
 * event.
 *
 * apikey_grant is not listed either: managing keys does not include deciding
 * who manages them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/arguments.h"
#include "model/raw_key_filter.h"
#include "store/grants.h"

PG_FUNCTION_INFO_V1(apikey_grant);
PG_FUNCTION_INFO_V1(apikey_revoke_grant);

typedef enum Access
{
	ACCESS_VERIFY,
	ACCESS_STATS,
	ACCESS_READ,
	ACCESS_MANAGE,
	ACCESS_NLEVELS
} Access;

/* Of what is looked up among their names. */
#define ACCESS_NAME_MAX_BYTES	63

static const char *const access_names[] = {
	[ACCESS_VERIFY] = "verify",
	[ACCESS_STATS] = "stats",
	[ACCESS_READ] = "read",
	[ACCESS_MANAGE] = "manage",
};

/* As bits, 1 << Access: what granting a level grants. */
static const int granted_with[] = {
	[ACCESS_VERIFY] = 1 << ACCESS_VERIFY,
	[ACCESS_STATS] = 1 << ACCESS_STATS,
	[ACCESS_READ] = 1 << ACCESS_VERIFY | 1 << ACCESS_STATS | 1 << ACCESS_READ,
	[ACCESS_MANAGE] = (1 << ACCESS_NLEVELS) - 1,
};

/* What revoking a level revokes.  Where read goes, the stats it came with go. */
static const int revoked_with[] = {
	[ACCESS_VERIFY] = (1 << ACCESS_NLEVELS) - 1,
	[ACCESS_STATS] = 1 << ACCESS_STATS | 1 << ACCESS_READ | 1 << ACCESS_MANAGE,
	[ACCESS_READ] = 1 << ACCESS_STATS | 1 << ACCESS_READ | 1 << ACCESS_MANAGE,
	[ACCESS_MANAGE] = 1 << ACCESS_MANAGE,
};

StaticAssertDecl(lengthof(access_names) == ACCESS_NLEVELS, "each level has a name");

typedef struct Right
{
	const char *name;
	Access		access;
} Right;

/* Names that this version of the extension does not have are ignored. */
static const Right functions[] = {
	{"apikey_verify", ACCESS_VERIFY},
	{"apikey_release", ACCESS_VERIFY},
	{"apikey_login", ACCESS_VERIFY},
	{"apikey_logout", ACCESS_VERIFY},
	{"apikey_pre_request", ACCESS_VERIFY},
	{"apikey_current_id", ACCESS_VERIFY},
	{"apikey_current_root_id", ACCESS_VERIFY},
	{"apikey_current_user_id", ACCESS_VERIFY},
	{"apikey_current_team_id", ACCESS_VERIFY},
	{"apikey_current_external_id", ACCESS_VERIFY},
	{"apikey_current_has_permission", ACCESS_VERIFY},
	{"apikey_model_allowed", ACCESS_VERIFY},
	{"apikey_endpoint_allowed", ACCESS_VERIFY},

	{"apikey_get", ACCESS_READ},
	{"apikey_list", ACCESS_READ},
	{"apikey_count", ACCESS_READ},
	{"apikey_usage", ACCESS_READ},
	{"apikey_usage_history", ACCESS_READ},
	{"apikey_limits", ACCESS_READ},
	{"apikey_events", ACCESS_READ},
	{"apikey_identify", ACCESS_READ},
	{"apikey_scan", ACCESS_READ},
	{"apikey_permissions_preset", ACCESS_READ},
	{"apikey_rate_limits_preset", ACCESS_READ},

	/* Called by views, with the rights of the role that reads them. */
	{"effective_status", ACCESS_READ},
	{"ends_at", ACCESS_READ},
	{"last_use", ACCESS_READ},
	{"last_used_ip", ACCESS_READ},
	{"utc_today", ACCESS_READ},
	{"period_at", ACCESS_READ},
	{"reserved_cost", ACCESS_READ},
	{"read_stats", ACCESS_STATS},
	{"loaded_secrets", ACCESS_READ},

	{"apikey_generate", ACCESS_MANAGE},
	{"apikey_rotate", ACCESS_MANAGE},
	{"apikey_revoke", ACCESS_MANAGE},
	{"apikey_revoke_raw", ACCESS_MANAGE},
	{"apikey_update", ACCESS_MANAGE},
	{"apikey_delete", ACCESS_MANAGE},
	{"apikey_cleanup_expired", ACCESS_MANAGE},
	{"apikey_import", ACCESS_MANAGE},
	/* It reveals whether a key exists, and spends from shared budgets. */
	{"apikey_record_usage", ACCESS_MANAGE},
	{"apikey_void_usage", ACCESS_MANAGE},
	{"apikey_flush", ACCESS_MANAGE},
	{"apikey_budget_create", ACCESS_MANAGE},
	{"apikey_budget_update", ACCESS_MANAGE},
	{"apikey_budget_add", ACCESS_MANAGE},
	{"apikey_budget_delete", ACCESS_MANAGE},
	{"apikey_plan_set", ACCESS_MANAGE},
	{"apikey_plan_delete", ACCESS_MANAGE},
};

static const Right views[] = {
	{"info", ACCESS_READ},
	{"budget_info", ACCESS_READ},
	{"plan_info", ACCESS_READ},
	{"usage_report", ACCESS_READ},
	{"stats", ACCESS_STATS},
	{"secret_usage", ACCESS_READ},
};

/* Returns the level in argument 1.  Raises 22023. */
static Access
access_argument(FunctionCallInfo fcinfo)
{
	char	   *name;

	require_not_null(fcinfo, 1, "access");
	check_size("access", PG_GETARG_DATUM(1), ACCESS_NAME_MAX_BYTES);
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	for (int i = 0; i < ACCESS_NLEVELS; i++)
		if (strcmp(name, access_names[i]) == 0)
			return i;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown access \"%s\"",
					raw_key_filter_quote(name, strlen(name), QUOTE_MAX_BYTES)),
			 errhint("Choose verify, read, manage or stats.")));
}

/* Returns the role in argument 0; OID 0 is PUBLIC.  Raises 22023, 42704. */
static Oid
role_argument(FunctionCallInfo fcinfo)
{
	Oid			role;

	require_not_null(fcinfo, 0, "role");
	role = PG_GETARG_OID(0);
	if (role == ACL_ID_PUBLIC)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("role must not be PUBLIC")));
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", role)));
	return role;
}

/* Returns the names of some levels, given as bits, as a text[]. */
static ArrayType *
names_of_levels(const Right *rights, int nrights, int levels)
{
	Datum	   *names = palloc(nrights * sizeof(Datum));
	int			nnames = 0;

	for (int i = 0; i < nrights; i++)
		if ((levels & 1 << rights[i].access) != 0)
			names[nnames++] = CStringGetTextDatum(rights[i].name);

	return construct_array(names, nnames, TEXTOID, -1, false, TYPALIGN_INT);
}

/*
 * Granting a level grants those below it, revoking one revokes those above it,
 * so a role always has one level and all below.
 */
static void
change_grant(FunctionCallInfo fcinfo, bool revoke)
{
	Grant		grant;
	Access		access;
	int			levels;

	grant.role = role_argument(fcinfo);
	access = access_argument(fcinfo);
	levels = revoke ? revoked_with[access] : granted_with[access];
	grant.access = access_names[access];
	grant.functions = names_of_levels(functions, lengthof(functions), levels);
	grant.views = names_of_levels(views, lengthof(views), levels);
	grant.interface = (access != ACCESS_STATS);
	grant.revoke = revoke;

	store_change_grant(&grant, GetCurrentTimestamp());
}

/* apikey_grant(role regrole, access text): void */
Datum
apikey_grant(PG_FUNCTION_ARGS)
{
	change_grant(fcinfo, false);
	PG_RETURN_VOID();
}

/* apikey_revoke_grant(role regrole, access text): void */
Datum
apikey_revoke_grant(PG_FUNCTION_ARGS)
{
	change_grant(fcinfo, true);
	PG_RETURN_VOID();
}
