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
 * So its sessions are ended first, and others are kept out until the command is done.
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
#include "live/feed_sessions.h"

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

/* Is a statement one that needs a database for itself, which the user may give it? */
static bool
needs_database(Node *statement, Oid *database)
{
	const char *name = get_database(statement);

	*database = name != NULL ? get_database_oid(name, true) : InvalidOid;
	/* Whoever does not own it may copy it at most if it is a template: in those no server tells of its use. */
	return OidIsValid(*database) && owns_database(*database, GetUserId());
}

/* ProcessUtility_hook */
static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = prev_ProcessUtility_hook ? prev_ProcessUtility_hook : standard_ProcessUtility;
	Oid			database;

	if (!needs_database(pstmt->utilityStmt, &database))
	{
		next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		return;
	}

	feed_sessions_exclude(database);
	PG_TRY();
	{
		next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_FINALLY();
	{
		feed_sessions_admit();
	}
	PG_END_TRY();
}

void
database_use_init(void)
{
	Assert(ProcessUtility_hook != process_utility);
	prev_ProcessUtility_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
