/*-------------------------------------------------------------------------
 *
 * plan_relations.c
 *	  Which relations the executor opens for a plan.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The server locks the tables of a saved plan when it is executed, an index
 * when its scan starts, and a TOAST table when a value is fetched: all of it
 * after the snapshot was taken.  A lock may have to be waited for, so whoever
 * wants to read what is committed after the wait locks them himself, first.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "nodes/plannodes.h"
#include "storage/lmgr.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "store/plan_relations.h"

static List *add_indexes_of_plans(List *relations, const List *plans);

/* Adds the indexes that a plan tree scans.  It is that of a SELECT. */
static List *
add_indexes(List *relations, const Plan *plan)
{
	if (plan == NULL)
		return relations;

	switch (nodeTag(plan))
	{
		case T_IndexScan:
			relations = list_append_unique_oid(relations, ((const IndexScan *) plan)->indexid);
			break;
		case T_IndexOnlyScan:
			relations = list_append_unique_oid(relations, ((const IndexOnlyScan *) plan)->indexid);
			break;
		case T_BitmapIndexScan:
			relations = list_append_unique_oid(relations, ((const BitmapIndexScan *) plan)->indexid);
			break;
		case T_BitmapAnd:
			relations = add_indexes_of_plans(relations, ((const BitmapAnd *) plan)->bitmapplans);
			break;
		case T_BitmapOr:
			relations = add_indexes_of_plans(relations, ((const BitmapOr *) plan)->bitmapplans);
			break;
		case T_Append:
			relations = add_indexes_of_plans(relations, ((const Append *) plan)->appendplans);
			break;
		case T_MergeAppend:
			relations = add_indexes_of_plans(relations, ((const MergeAppend *) plan)->mergeplans);
			break;
		case T_SubqueryScan:
			relations = add_indexes(relations, ((const SubqueryScan *) plan)->subplan);
			break;
		default:
			break;
	}
	relations = add_indexes(relations, plan->lefttree);
	return add_indexes(relations, plan->righttree);
}

static List *
add_indexes_of_plans(List *relations, const List *plans)
{
	ListCell   *cell;

	foreach(cell, plans)
		relations = add_indexes(relations, lfirst(cell));
	return relations;
}

/*
 * Returns the oids of the relations that a plan reads, tables first, each of
 * them once, in the current memory context.  Indexes are in the order of their
 * oids, in which REINDEX and the planner lock them: in another one there would
 * be deadlocks.
 */
List *
plan_relations(const CachedPlan *plan)
{
	List	   *relations = NIL;
	List	   *indexes = NIL;
	ListCell   *cell;

	foreach(cell, plan->stmt_list)
	{
		PlannedStmt *statement = lfirst_node(PlannedStmt, cell);

		Assert(statement->commandType == CMD_SELECT);
		relations = list_concat_unique_oid(relations, statement->relationOids);
		indexes = add_indexes(indexes, statement->planTree);
		indexes = add_indexes_of_plans(indexes, statement->subplans);
	}
	list_sort(indexes, list_oid_cmp);
	relations = list_concat_unique_oid(relations, indexes);
	list_free(indexes);
	return relations;
}

/*
 * Locks relations for reading, and accepts invalidations if that was not yet
 * done for all of them.  It does no harm if one has been dropped.
 */
void
lock_relations(const List *relations)
{
	ListCell   *cell;

	foreach(cell, relations)
		LockRelationOid(lfirst_oid(cell), AccessShareLock);
}

/* Gives the locks back. */
void
unlock_relations(const List *relations)
{
	ListCell   *cell;

	foreach(cell, relations)
		UnlockRelationOid(lfirst_oid(cell), AccessShareLock);
}

/* Locks the TOAST tables of relations that are locked, and their indexes. */
void
lock_toast_of_relations(const List *relations)
{
	ListCell   *cell;

	foreach(cell, relations)
	{
		Relation	relation = relation_open(lfirst_oid(cell), NoLock);
		Oid			toast = relation->rd_rel->reltoastrelid;

		relation_close(relation, NoLock);
		if (OidIsValid(toast))
		{
			relation = table_open(toast, AccessShareLock);
			lock_relations(RelationGetIndexList(relation));
			table_close(relation, NoLock);
		}
	}
}
