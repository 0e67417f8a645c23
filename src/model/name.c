/*-------------------------------------------------------------------------
 *
 * name.c
 *	  Names that people give to keys, budgets and plans.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "model/name.h"

#define WHITE_SPACE " \t\n\v\f\r"

/* Raises 22023 for a name in which nothing is to be seen. */
void
name_check_blank(const text *name)
{
	const char *data = VARDATA_ANY(name);
	int			len = VARSIZE_ANY_EXHDR(name);

	for (int i = 0; i < len; i++)
	{
		if (strchr(WHITE_SPACE, data[i]) == NULL)
			return;
	}

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("name must not be blank"),
			 errdetail("It must have a character that is no white space.")));
}
