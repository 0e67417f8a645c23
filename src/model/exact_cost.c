/*-------------------------------------------------------------------------
 *
 * exact_cost.c
 *	  Costs as they are in the ledger, in integers.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * They can be added where nothing may fail or allocate memory, and the sum is
 * that of the numerics, to the last decimal.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "base/numeric_digits.h"
#include "model/exact_cost.h"

#define ATTOS_PER_WHOLE		INT64CONST(1000000000000000000)
/* Four and a half groups before the point, more may overflow, and as many after it. */
#define WHOLE_GROUPS	4
#define ATTO_GROUPS		4
#define HALF_GROUP		100

/* Sets a cost; false if it has more digits than are exact, or is none. */
bool
exact_cost_set(ExactCost *cost, Numeric value)
{
	NumericDigits digits;

	if (!numeric_digits(value, &digits) || digits.scale > EXACT_COST_DECIMALS ||
		(digits.ngroups > 0 && digits.first > WHOLE_GROUPS) ||
		numeric_digits_group(&digits, WHOLE_GROUPS) >= HALF_GROUP)
		return false;

	cost->whole = numeric_digits_number(&digits, WHOLE_GROUPS, 0);
	cost->attos = numeric_digits_number(&digits, -1, -ATTO_GROUPS) * HALF_GROUP +
				  numeric_digits_group(&digits, -ATTO_GROUPS - 1) / HALF_GROUP;
	cost->scale = digits.scale;
	if (digits.negative)
	{
		cost->whole = -cost->whole - (cost->attos > 0);
		cost->attos = cost->attos > 0 ? ATTOS_PER_WHOLE - cost->attos : 0;
	}
	return true;
}

/* Adds a cost to a sum; false if that overflows, and the sum is not valid then. */
bool
exact_cost_add(ExactCost *sum, const ExactCost *cost)
{
	int64		carry;

	Assert(sum->attos >= 0 && sum->attos < ATTOS_PER_WHOLE);
	Assert(cost->attos >= 0 && cost->attos < ATTOS_PER_WHOLE);

	sum->attos += cost->attos;
	carry = sum->attos / ATTOS_PER_WHOLE;
	sum->attos %= ATTOS_PER_WHOLE;
	sum->scale = Max(sum->scale, cost->scale);
	return !pg_add_s64_overflow(sum->whole, cost->whole, &sum->whole) &&
		   !pg_add_s64_overflow(sum->whole, carry, &sum->whole);
}

/* Returns a cost, palloc'd. */
Numeric
exact_cost_get(const ExactCost *cost)
{
	bool		negative = cost->whole < 0;
	int64		attos = negative && cost->attos > 0 ? ATTOS_PER_WHOLE - cost->attos : cost->attos;
	uint64		whole = negative ? (uint64) - (cost->whole + (cost->attos > 0)) : (uint64) cost->whole;
	char		text[64];

	snprintf(text, sizeof(text), "%s" UINT64_FORMAT ".%018lld",
			 negative ? "-" : "", whole, (long long) attos);
	text[strlen(text) - (EXACT_COST_DECIMALS - cost->scale)] = '\0';

	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(text),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}
