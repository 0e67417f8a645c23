/*-------------------------------------------------------------------------
 *
 * numeric_constant.c
 *	  Integers as numerics, each made once per process.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * To make a numeric takes longer than to compare it with another.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/numeric_constant.h"

/* Returns a constant as a numeric, which stays. */
Datum
numeric_constant(NumericConstant *constant)
{
	if (constant->numeric == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		constant->numeric = int64_to_numeric(constant->value);
		MemoryContextSwitchTo(old);
	}

	return NumericGetDatum(constant->numeric);
}
