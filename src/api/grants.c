/*-------------------------------------------------------------------------
 *
 * grants.c
 *	  Grants access: levels, each including those below it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The level feed is separate, for servers: no other includes it.  The level stats
 * is separate as well: read includes it, verify does not.  The level own
 * has many functions of read and manage, but for the keys of one user
 * (verify/restriction.c); whoever has it beside read reads all keys and changes
 * his own.
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
	ACCESS_OWN,
	ACCESS_STATS,
	ACCESS_READ,
	ACCESS_MANAGE,
	ACCESS_FEED,
	ACCESS_NLEVELS
} Access;

/* Objects that the same levels have. */
typedef enum Group
{
	GROUP_VERIFY,
	GROUP_STATS,
	GROUP_READ_OWN,				/* with level own, the user's keys alone */
	GROUP_CHANGE_OWN,			/* likewise */
	GROUP_READ,
	GROUP_MANAGE,
	GROUP_FEED,
	GROUP_COUNT
} Group;

/* Nobody gets the feed with anything else: who has it is a server. */
#define ALL_GROUPS		(((1 << GROUP_COUNT) - 1) & ~(1 << GROUP_FEED))

/* Of what is looked up among their names. */
#define ACCESS_NAME_MAX_BYTES	63

static const char *const access_names[] = {
	[ACCESS_VERIFY] = "verify",
	[ACCESS_OWN] = "own",
	[ACCESS_STATS] = "stats",
	[ACCESS_READ] = "read",
	[ACCESS_MANAGE] = "manage",
	[ACCESS_FEED] = "feed",
};

/* As bits, 1 << Group: what granting a level grants. */
static const int granted_with[] = {
	[ACCESS_VERIFY] = 1 << GROUP_VERIFY,
	[ACCESS_OWN] = 1 << GROUP_VERIFY | 1 << GROUP_READ_OWN | 1 << GROUP_CHANGE_OWN,
	[ACCESS_STATS] = 1 << GROUP_STATS,
	[ACCESS_READ] = 1 << GROUP_VERIFY | 1 << GROUP_STATS | 1 << GROUP_READ_OWN | 1 << GROUP_READ,
	[ACCESS_MANAGE] = ALL_GROUPS,
	[ACCESS_FEED] = 1 << GROUP_FEED,
};

/*
 * What revoking a level revokes.  Levels share groups, so whoever loses one of
 * own, stats and read loses all of them.
 */
static const int revoked_with[] = {
	[ACCESS_VERIFY] = ALL_GROUPS,
	[ACCESS_OWN] = ALL_GROUPS & ~(1 << GROUP_VERIFY),
	[ACCESS_STATS] = ALL_GROUPS & ~(1 << GROUP_VERIFY),
	[ACCESS_READ] = ALL_GROUPS & ~(1 << GROUP_VERIFY),
	[ACCESS_MANAGE] = 1 << GROUP_CHANGE_OWN | 1 << GROUP_MANAGE,
	[ACCESS_FEED] = 1 << GROUP_FEED,
};

StaticAssertDecl(lengthof(access_names) == ACCESS_NLEVELS, "each level has a name");

typedef struct Right
{
	const char *name;
	Group		group;
} Right;

/* Names that this version of the extension does not have are ignored. */
static const Right functions[] = {
	{"apikey_verify", GROUP_VERIFY},
	{"apikey_check", GROUP_VERIFY},
	{"apikey_release", GROUP_VERIFY},
	{"apikey_derive", GROUP_VERIFY},
	{"apikey_login", GROUP_VERIFY},
	{"apikey_logout", GROUP_VERIFY},
	{"apikey_pre_request", GROUP_VERIFY},
	{"apikey_current_id", GROUP_VERIFY},
	{"apikey_current_root_id", GROUP_VERIFY},
	{"apikey_current_user_id", GROUP_VERIFY},
	{"apikey_current_team_id", GROUP_VERIFY},
	{"apikey_current_external_id", GROUP_VERIFY},
	{"apikey_current_has_permission", GROUP_VERIFY},
	{"apikey_model_allowed", GROUP_VERIFY},
	{"apikey_endpoint_allowed", GROUP_VERIFY},

	{"apikey_get", GROUP_READ_OWN},
	{"apikey_list", GROUP_READ_OWN},
	{"apikey_count", GROUP_READ_OWN},
	{"apikey_usage", GROUP_READ_OWN},
	{"apikey_usage_history", GROUP_READ_OWN},
	{"apikey_limits", GROUP_READ_OWN},
	{"apikey_events", GROUP_READ},
	{"apikey_identify", GROUP_READ_OWN},
	{"apikey_scan", GROUP_READ_OWN},
	{"apikey_permissions_preset", GROUP_READ_OWN},
	{"apikey_rate_limits_preset", GROUP_READ_OWN},

	/* Called by views, with the rights of the role that reads them. */
	{"effective_status", GROUP_READ},
	{"ends_at", GROUP_READ},
	{"last_use", GROUP_READ},
	{"last_used_ip", GROUP_READ},
	{"utc_today", GROUP_READ},
	{"this_node", GROUP_READ},
	{"first_id", GROUP_READ},
	{"period_at", GROUP_READ},
	{"reserved_cost", GROUP_READ},
	{"read_stats", GROUP_STATS},
	{"read_feed", GROUP_STATS},
	{"read_servers", GROUP_STATS},
	{"loaded_secrets", GROUP_READ},
	{"common_permissions", GROUP_READ},

	/* See verify/restriction.c. */
	{"reads_all_keys", GROUP_READ},
	{"changes_all_keys", GROUP_MANAGE},

	{"apikey_generate", GROUP_CHANGE_OWN},
	{"apikey_generate_many", GROUP_CHANGE_OWN},
	{"apikey_rotate", GROUP_CHANGE_OWN},
	{"apikey_revoke", GROUP_CHANGE_OWN},
	{"apikey_revoke_where", GROUP_CHANGE_OWN},
	{"apikey_revoke_raw", GROUP_MANAGE},
	{"apikey_update", GROUP_CHANGE_OWN},
	{"apikey_delete", GROUP_CHANGE_OWN},
	{"apikey_cleanup_expired", GROUP_MANAGE},
	{"apikey_import", GROUP_MANAGE},
	{"apikey_import_many", GROUP_MANAGE},
	/* It reveals whether a key exists, and spends from shared budgets. */
	{"apikey_record_usage", GROUP_MANAGE},
	{"apikey_void_usage", GROUP_MANAGE},
	{"apikey_flush", GROUP_MANAGE},
	{"apikey_budget_create", GROUP_MANAGE},
	{"apikey_budget_update", GROUP_MANAGE},
	{"apikey_budget_add", GROUP_MANAGE},
	{"apikey_budget_delete", GROUP_MANAGE},
	{"apikey_plan_set", GROUP_MANAGE},
	{"apikey_plan_delete", GROUP_MANAGE},

	{"feed_exchange", GROUP_FEED},
};

static const Right views[] = {
	{"info", GROUP_READ},
	{"budget_info", GROUP_READ},
	{"plan_info", GROUP_READ},
	{"usage_report", GROUP_READ},
	{"stats", GROUP_STATS},
	{"servers", GROUP_STATS},
	{"secret_usage", GROUP_READ},
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
			 errhint("Choose verify, own, read, manage, stats or feed.")));
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

/* Returns the names in some groups, given as bits, as a text[]. */
static ArrayType *
names_in_groups(const Right *rights, int nrights, int groups)
{
	Datum	   *names = palloc(nrights * sizeof(Datum));
	int			nnames = 0;

	for (int i = 0; i < nrights; i++)
		if ((groups & 1 << rights[i].group) != 0)
			names[nnames++] = CStringGetTextDatum(rights[i].name);

	return construct_array(names, nnames, TEXTOID, -1, false, TYPALIGN_INT);
}

/*
 * Granting a level grants those below it, revoking one revokes those above it,
 * so a role always has a level and all below; own beside read, at most.
 */
static void
change_grant(FunctionCallInfo fcinfo, bool revoke)
{
	Grant		grant;
	Access		access;
	int			groups;

	grant.role = role_argument(fcinfo);
	access = access_argument(fcinfo);
	groups = revoke ? revoked_with[access] : granted_with[access];
	grant.access = access_names[access];
	grant.functions = names_in_groups(functions, lengthof(functions), groups);
	grant.views = names_in_groups(views, lengthof(views), groups);
	grant.interface = (access != ACCESS_STATS && access != ACCESS_FEED);
	grant.schema = access == ACCESS_FEED || (groups & (1 << GROUP_STATS | 1 << GROUP_READ)) != 0;
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
