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

#include <ctype.h>

#include "common/int.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "model/exact_cost.h"

#define ATTOS_PER_WHOLE		INT64CONST(1000000000000000000)
#define MAX_DIGITS			18	/* before the point; more may overflow */

/* Reads up to max digits into number; returns how many there were, or max + 1. */
static int
read_digits(const char **text, int max, int64 *number)
{
	int			n = 0;

	*number = 0;
	for (; isdigit((unsigned char) **text); (*text)++)
	{
		if (++n > max)
			return n;
		*number = *number * 10 + (**text - '0');
	}
	return n;
}

/* Sets a cost; false if it has more digits than are exact, or is none. */
bool
exact_cost_set(ExactCost *cost, Numeric value)
{
	const char *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value)));
	bool		negative = (*text == '-');

	text += negative;
	cost->attos = 0;
	cost->scale = 0;
	if (read_digits(&text, MAX_DIGITS, &cost->whole) > MAX_DIGITS)
		return false;
	if (*text == '.')
	{
		text++;
		cost->scale = read_digits(&text, EXACT_COST_DECIMALS, &cost->attos);
	}
	if (*text != '\0')
		return false;

	for (int i = cost->scale; i < EXACT_COST_DECIMALS; i++)
		cost->attos *= 10;
	if (negative)
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
