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
#define MAX_DIGITS			18	/* before the point; more may overflow */

static int64
to_number(const char *digits, int n)
{
	int64		number = 0;

	for (int i = 0; i < n; i++)
		number = number * 10 + (digits[i] - '0');
	return number;
}

/* Sets a cost; false if it has more digits than are exact, or is none. */
bool
exact_cost_set(ExactCost *cost, Numeric value)
{
	NumericDigits digits;

	if (!numeric_digits(value, &digits) || digits.nwhole > MAX_DIGITS ||
		digits.ndecimals > EXACT_COST_DECIMALS)
		return false;

	cost->whole = to_number(digits.whole, digits.nwhole);
	cost->attos = to_number(digits.decimals, digits.ndecimals);
	cost->scale = digits.ndecimals;
	for (int i = cost->scale; i < EXACT_COST_DECIMALS; i++)
		cost->attos *= 10;
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
