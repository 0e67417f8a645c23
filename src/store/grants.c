/*-------------------------------------------------------------------------
 *
 * grants.c
 *	  The statements that grant rights on the extension's objects.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * GRANT takes no parameters, so these are the only statements that are built
 * at run time: from names in the catalogs, which the server quotes.
 *
 * Concurrent grants would update the same catalog rows, and the second would
 * fail.  So a lock, held until the transaction ends, serializes them; others
 * block DROP EXTENSION meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

#include "store/advisory_locks.h"
#include "store/catalog.h"
#include "store/grants.h"
#include "store/spi.h"

/* The members of extension $1 with the names $2, in the syntax of GRANT. */
static Statement functions_to_grant = {
	.sql = "SELECT pg_catalog.string_agg(pg_catalog.format('%I.%I(%s)',"
	" n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)), ', ')"
	" FROM pg_catalog.pg_depend d"
	" JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) d.objid"
	" JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace"
	" WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass"
	" AND d.refobjid OPERATOR(pg_catalog.=) $1"
	" AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass"
	" AND d.deptype OPERATOR(pg_catalog.=) 'e'"
	" AND p.proname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($2)",
	STATEMENT_ARGS(OIDOID, TEXTARRAYOID)
};

static Statement views_to_grant = {
	.sql = "SELECT pg_catalog.string_agg(pg_catalog.format('%I.%I',"
	" n.nspname, c.relname), ', ')"
	" FROM pg_catalog.pg_depend d"
	" JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.objid"
	" JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
	" WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass"
	" AND d.refobjid OPERATOR(pg_catalog.=) $1"
	" AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
	" AND d.deptype OPERATOR(pg_catalog.=) 'e'"
	" AND c.relkind OPERATOR(pg_catalog.=) 'v'"
	" AND n.nspname OPERATOR(pg_catalog.=) 'apikeys'"
	" AND c.relname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($2)",
	STATEMENT_ARGS(OIDOID, TEXTARRAYOID)
};

/* The schema of extension $1, and what role $2 may do there. */
static Statement target_schema = {
	.sql = "SELECT pg_catalog.quote_ident(n.nspname),"
	" pg_catalog.has_schema_privilege($2, n.oid, 'USAGE'),"
	" pg_catalog.has_schema_privilege($2, n.oid, 'CREATE')"
	" FROM pg_catalog.pg_extension e"
	" JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace"
	" WHERE e.oid OPERATOR(pg_catalog.=) $1",
	STATEMENT_ARGS(OIDOID, OIDOID)
};

/* Has role $1 a right on anything in the schema apikeys? */
static Statement uses_schema = {
	.sql = "SELECT FROM (VALUES (1)) one"
	" WHERE pg_catalog.has_table_privilege($1, 'apikeys.stats', 'SELECT')"
	" OR pg_catalog.has_function_privilege($1, 'apikeys.feed_exchange(pg_catalog.bytea)', 'EXECUTE')",
	STATEMENT_ARGS(OIDOID)
};

static Statement add_event = {
	.sql = ADD_EVENT
	" VALUES ($1, $2, $3, NULL,"
	" pg_catalog.jsonb_build_object('role', $4, 'access', $5))",
	STATEMENT_ARGS(TIMESTAMPTZOID, NAMEOID, TEXTOID, TEXTOID, TEXTOID)
};

/* Raises 22023 for the owner, who has all rights and must not lose any. */
static void
check_not_owner(const char *name, Oid role)
{
	if (role == GetUserId())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("role \"%s\" owns apikeys", name),
				 errhint("The owner has every right; grant to another role.")));
}

/* Executes a utility command. */
static void
run_utility(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result != SPI_OK_UTILITY)
		elog(ERROR, "could not execute statement: %s", SPI_result_code_string(result));
	CommandCounterIncrement();
}

/*
 * Grants or revokes a right on a list of objects.  Revokes also what the role
 * has granted to others.
 */
static void
change_right(bool revoke, const char *right, const char *objects, const char *role)
{
	if (revoke)
		run_utility(psprintf("REVOKE %s %s FROM %s CASCADE", right, objects, role));
	else
		run_utility(psprintf("GRANT %s %s TO %s", right, objects, role));
}

/* Does so for the members of the extension with the given names. */
static void
change_rights_on_members(const Grant *grant, Oid extension, Statement *members,
						 ArrayType *names, const char *right, const char *role)
{
	char	   *objects;

	store_read_latest(members, (Datum[]) {ObjectIdGetDatum(extension), PointerGetDatum(names)}, NULL);
	objects = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (objects != NULL)
		change_right(grant->revoke, right, objects, role);
}

/*
 * Grants USAGE on the schema of the functions, unless the role has it.  That is
 * never revoked, since the schema may contain other objects.  Warns of a role
 * with CREATE, which could have its own functions called in place of ours.
 */
static void
grant_target_schema(const Grant *grant, Oid extension, const char *role)
{
	SPITupleTable *found;
	char	   *schema;

	store_read_latest(&target_schema, (Datum[]) {ObjectIdGetDatum(extension), ObjectIdGetDatum(grant->role)}, NULL);
	found = SPI_tuptable;
	schema = SPI_getvalue(found->vals[0], found->tupdesc, 1);
	if (SPI_getvalue(found->vals[0], found->tupdesc, 2)[0] == 'f')
		change_right(false, "USAGE ON SCHEMA", schema, role);
	if (SPI_getvalue(found->vals[0], found->tupdesc, 3)[0] == 't' &&
		!superuser_arg(grant->role))
		ereport(WARNING,
				(errmsg("role %s may create functions in schema %s", role, schema),
				 errdetail("One of its own could be called in place of a function of apikeys."),
				 errhint("Revoke CREATE on the schema from it, or from PUBLIC.")));
}

/* Grants USAGE on the schema apikeys; or revokes it, unless another level needs it. */
static void
change_schema(const Grant *grant, const char *role)
{
	if (grant->revoke &&
		store_read_latest(&uses_schema, (Datum[]) {ObjectIdGetDatum(grant->role)}, NULL) > 0)
		return;
	change_right(grant->revoke, "USAGE ON SCHEMA", "apikeys", role);
}

/*
 * Waits for others who grant, since they change the same rows of the catalog,
 * and for who drops the extension.  Raises 42704 if it has been dropped, and
 * 55P03 if it is about to be.
 */
static void
lock_grants(Oid extension)
{
	store_lock_grants();
	LockRelationOid(store_relation_oid("event"), RowExclusiveLock);
	if (store_keep_extension(extension))
		return;

	if (get_extension_oid("apikeys", true) != extension)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"apikeys\" was concurrently dropped")));
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("could not lock extension \"apikeys\" and its tables"),
			 errhint("Another transaction drops the extension or locks a table of it.")));
}

/* Grants or revokes rights, with the event.  Raises 42704 and 22023. */
void
store_change_grant(const Grant *grant, TimestampTz now)
{
	StoreScope	scope;
	Oid			extension = get_extension_oid("apikeys", false);
	char	   *name;
	const char *role;

	Assert(OidIsValid(grant->role) && ARR_ELEMTYPE(grant->functions) == TEXTOID &&
		   ARR_ELEMTYPE(grant->views) == TEXTOID);

	lock_grants(extension);
	name = GetUserNameFromId(grant->role, false);
	role = quote_identifier(name);

	store_open(&scope);
	check_not_owner(name, grant->role);
	change_rights_on_members(grant, extension, &functions_to_grant, grant->functions,
							 "EXECUTE ON FUNCTION", role);
	if (ArrayGetNItems(ARR_NDIM(grant->views), ARR_DIMS(grant->views)) > 0)
		change_rights_on_members(grant, extension, &views_to_grant, grant->views,
								 "SELECT ON TABLE", role);
	if (grant->schema)
		change_schema(grant, role);
	if (!grant->revoke && grant->interface)
		grant_target_schema(grant, extension, role);
	store_write_one(&add_event, "event",
					(Datum[]) {
						TimestampTzGetDatum(now),
						store_acting_role(&scope),
						CStringGetTextDatum(grant->revoke ? "revoke_grant" : "grant"),
						CStringGetTextDatum(name),
						CStringGetTextDatum(grant->access)},
					NULL);
	store_close(&scope);
}
