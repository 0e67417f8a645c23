/*-------------------------------------------------------------------------
 *
 * batch_write.c
 *	  How statements are executed that write many rows.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The planner does not know how many there will be.  Such a statement asks each
 * table for the rows of an array of ids, and joins what it gets.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/guc.h"

#include "store/batch_write.h"

/*
 * Has statements planned so that they read tables by their indexes, and have no
 * nested loops, as far as they can do without.  The price of what they cannot would
 * make them look worth to be compiled.  A plan is made once: the server would
 * estimate each element of an array, and read the whole table for a long one.
 *
 * Until AtEOXact_GUC() with the result, or an error.
 */
int
store_plan_for_batches(void)
{
	static const char *const settings[][2] = {
		{"enable_nestloop", "off"},
		{"enable_seqscan", "off"},
		{"jit", "off"},
		{"plan_cache_mode", "force_generic_plan"},
	};
	int			nest_level = NewGUCNestLevel();

	for (int i = 0; i < (int) lengthof(settings); i++)
		set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
						  GUC_ACTION_SAVE, true, 0, false);
	return nest_level;
}

/* Writes with a plan as store_plan_for_batches() has it. */
void
store_write_batch(Statement *statement, Datum *arguments)
{
	int			nest_level = store_plan_for_batches();

	store_write_silently(statement, arguments, NULL);
	AtEOXact_GUC(true, nest_level);
}
