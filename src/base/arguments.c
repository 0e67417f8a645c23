/*-------------------------------------------------------------------------
 *
 * arguments.c
 *	  Checks of arguments, and errors that several functions raise.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "utils/builtins.h"

#include "base/arguments.h"
#include "base/numeric_digits.h"

#define AMOUNT_LIMIT	INT64CONST(1000000000000000000) /* 10^18; also in the CHECKs */
#define AMOUNT_MAX_DECIMALS	18	/* also in the CHECKs */

/* In groups of digits: 100 * 10000^4. */
#define LIMIT_POWER		4
#define LIMIT_GROUP		100

StaticAssertDecl(AMOUNT_LIMIT / NUMERIC_GROUP / NUMERIC_GROUP / NUMERIC_GROUP / NUMERIC_GROUP == LIMIT_GROUP,
				 "the limit is that of its groups");

/* Raises 22023 for a null argument. */
void
require_not_null(FunctionCallInfo fcinfo, int argno, const char *name)
{
	Assert(argno >= 0 && argno < PG_NARGS());

	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be null", name)));
}

/*
 * Raises 22023 for a value of variable length that is too large.  It is not
 * detoasted for that.
 */
void
check_size(const char *what, Datum value, Size max_bytes)
{
	if (toast_raw_datum_size(value) - VARHDRSZ <= max_bytes)
		return;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s is too large", what),
			 errdetail("It may have %zu bytes.", max_bytes)));
}

/* The hint, within ereport(), of errors raised because there is no shared memory. */
int
hint_preload(void)
{
	return errhint("Add \"apikeys\" to shared_preload_libraries and restart the server.");
}

/* Raises 55000: the state of the key does not allow the operation. */
void
raise_wrong_state(const char *message)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s", message)));
}

/* Raises P0002: no key has this id. */
void
raise_key_not_found(const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("API key not found"),
			 errdetail("There is no key with id %s.",
					   DatumGetCString(DirectFunctionCall1(uuid_out,
														   UUIDPGetDatum(id))))));
}

/* Raises 22023 for a budget_id that names no budget. */
void
raise_no_such_budget(const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("budget_id names no budget"),
			 errdetail("There is no budget with id %s.",
					   DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id))))));
}

/* Is an amount less than AMOUNT_LIMIT away from 0? */
static bool
is_below_limit(const NumericDigits *digits)
{
	return digits->ngroups == 0 || digits->first < LIMIT_POWER ||
		   (digits->first == LIMIT_POWER && digits->groups[0] < LIMIT_GROUP);
}

/*
 * Is an amount one that is stored: finite, of any sign, less than AMOUNT_LIMIT
 * away from 0, and rounded?
 */
bool
is_stored_amount(Numeric amount)
{
	NumericDigits digits;

	return numeric_digits(amount, &digits) && is_below_limit(&digits) &&
		   digits.scale <= AMOUNT_MAX_DECIMALS;
}

/*
 * Rounds an amount to the decimals that are stored.  Sums have as many decimals
 * as the one among their parts that has most.
 */
Numeric
round_amount(Numeric amount)
{
	NumericDigits digits;

	if (!numeric_digits(amount, &digits) || digits.scale <= AMOUNT_MAX_DECIMALS)
		return amount;

	return DatumGetNumeric(DirectFunctionCall2(numeric_round, NumericGetDatum(amount),
											   Int32GetDatum(AMOUNT_MAX_DECIMALS)));
}

/* Returns whether a finite amount is negative, 0 or positive: as -1, 0 or 1. */
int
amount_sign(Numeric amount)
{
	NumericDigits digits = {0};

	(void) numeric_digits(amount, &digits);
	Assert(!numeric_is_nan(amount) && !numeric_is_inf(amount));
	if (digits.ngroups == 0)
		return 0;
	return digits.negative ? -1 : 1;
}

/*
 * Raises 22023 unless an amount is finite, not negative, below AMOUNT_LIMIT,
 * and rounded.  A numeric may have 131,072 digits, and the sum of two such
 * overflows.
 */
void
check_nonnegative_amount(const char *what, Numeric amount)
{
	NumericDigits digits;

	if (!numeric_digits(amount, &digits))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a finite number", what)));
	if (digits.negative)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", what)));
	if (!is_below_limit(&digits))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be less than " INT64_FORMAT, what, AMOUNT_LIMIT)));
	if (digits.scale > AMOUNT_MAX_DECIMALS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must have at most %d decimals", what, AMOUNT_MAX_DECIMALS)));
}

/* Raises 22023 for a number of tokens that is negative. */
void
check_tokens(int64 tokens)
{
	if (tokens < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tokens must not be negative")));
}
