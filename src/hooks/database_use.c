/*-------------------------------------------------------------------------
 *
 * database_use.c
 *	  Sessions of other servers make way for commands on whole databases.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * DROP DATABASE, CREATE DATABASE with a template, and what renames or moves a
 * database fail while anybody else is connected to it, after five seconds of
 * waiting.  A standby that tells this server of its use is connected all the time.
 * So its sessions are ended first; it comes back within an interval, which is more
 * than the command takes to look.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"

#include "base/compat.h"
#include "hooks/database_use.h"
#include "live/feed_servers.h"

static ProcessUtility_hook_type prev_ProcessUtility_hook = NULL;

/* The template that CREATE DATABASE names, or its default. */
static const char *
get_template(const CreatedbStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->options)
	{
		DefElem	   *option = lfirst(cell);

		if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return "template1";
}

/* The database that nobody else may be connected to, or NULL. */
static const char *
get_database(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return castNode(DropdbStmt, statement)->dbname;
		case T_CreatedbStmt:
			return get_template(castNode(CreatedbStmt, statement));
		case T_AlterDatabaseStmt:
			return castNode(AlterDatabaseStmt, statement)->dbname;
		case T_RenameStmt:
			return castNode(RenameStmt, statement)->renameType == OBJECT_DATABASE ? castNode(RenameStmt, statement)->subname : NULL;
		default:
			return NULL;
	}
}

/* ProcessUtility_hook */
static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	const char *name = get_database(pstmt->utilityStmt);
	Oid			database = name != NULL ? get_database_oid(name, true) : InvalidOid;

	/* Whoever does not own it may not do that. */
	if (OidIsValid(database) && owns_database(database, GetUserId()))
		feed_servers_end_sessions(database);
	if (prev_ProcessUtility_hook)
		prev_ProcessUtility_hook(pstmt, queryString, readOnlyTree, context,
								 params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context,
								params, queryEnv, dest, qc);
}

void
database_use_init(void)
{
	Assert(ProcessUtility_hook != process_utility);
	prev_ProcessUtility_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
