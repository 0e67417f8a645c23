/*-------------------------------------------------------------------------
 *
 * limit_status.c
 *	  What a limit leaves to a client, and which of several limits to tell it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * HTTP has room for one limit (RateLimit-Limit, -Remaining and -Reset), so a
 * client is told the one that it meets first.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "model/cost.h"
#include "model/limit_status.h"

const char	limit_status_of_parent[] = "parent";

static double
numeric_to_double(Numeric number)
{
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(number)));
}

/* Returns an amount that a limit counts, palloc'd. */
Numeric
limit_status_amount(const LimitStatus *status, int64 amount)
{
	return status->in_billionths ? cost_from_billionths(amount) : int64_to_numeric(amount);
}

/* Returns the limit and what remains of it, as numerics of any kind of limit. */
Numeric
limit_status_numbers(const LimitStatus *status, Numeric *remaining)
{
	if (status->max_cost != NULL)
	{
		*remaining = status->remaining_cost;
		return status->max_cost;
	}
	*remaining = limit_status_amount(status, Max(status->max - status->used, 0));
	return limit_status_amount(status, status->max);
}

/*
 * Returns the name of a limit; budget is that whose it is, limit_status_of_parent,
 * or NULL for a key's own.
 */
const char *
limit_status_name(const char *budget, const char *limit)
{
	if (budget == limit_status_of_parent)
		return psprintf("parent %s", limit);
	return budget != NULL ? psprintf("budget:%s %s", budget, limit) : limit;
}

/* Sets a limit that is a number, and what is used of it; not its name, nor its times. */
void
limit_status_set_number(LimitStatus *status, int64 max, int64 used)
{
	Assert(max > 0 && used >= 0);
	memset(status, 0, sizeof(LimitStatus));
	status->max = max;
	status->used = used;
	status->remaining_part = (double) Max(max - used, 0) / max;
}

/* The same for that of a window. */
void
limit_status_set_window(LimitStatus *status, const WindowLimit *limit, Window *window, TimestampTz now)
{
	limit_status_set_number(status, limit->max, window_used(window, limit->length, now));
	status->in_billionths = limit->unit == WINDOW_COST;
}

/* Sets the name of a window's limit, and when it resets. */
void
limit_status_describe_window(LimitStatus *status, const WindowLimit *limit, const char *budget,
							 Window *window, TimestampTz now)
{
	status->name = limit_status_name(budget, limit->name);
	/* A cost of 1 passes a limit of 1 when nothing is used any more. */
	status->resets_at = window_wait(window, limit->length, 1, 1, now);
}

/* The same for the limit of concurrent requests. */
void
limit_status_describe_concurrent(LimitStatus *status, const char *budget, TimestampTz resets_at)
{
	status->name = limit_status_name(budget, RATE_CONCURRENT_NAME);
	status->resets_at = resets_at;
}

/*
 * Sets a limit that is a cost, except for its name and times.  max stays the
 * caller's; what remains is allocated in the current context, in place of what
 * remained before.  remaining_part is 0 only if nothing remains.
 */
void
limit_status_set_cost(LimitStatus *status, Numeric max, Numeric spent)
{
	Datum		max_datum = NumericGetDatum(max);
	Datum		spent_datum = NumericGetDatum(spent);
	Numeric		before = status->remaining_cost;
	Numeric		remaining;

	if (DatumGetBool(DirectFunctionCall2(numeric_ge, spent_datum, max_datum)))
	{
		remaining = int64_to_numeric(0);
		status->remaining_part = 0;
	}
	else
	{
		remaining = DatumGetNumeric(DirectFunctionCall2(numeric_sub, max_datum, spent_datum));
		status->remaining_part = numeric_to_double(remaining) / numeric_to_double(max);
	}
	status->max_cost = max;
	status->remaining_cost = remaining;
	if (before != NULL)
		pfree(before);
}

/*
 * Compares how near two limits are to their ends: -1 if the first is nearer.  Of
 * those that reject the request, it is the one that does so longest; else the one
 * of which the least part remains.
 */
int
limit_status_compare(const LimitStatus *status, const LimitStatus *other)
{
	if (status->retry_at != other->retry_at)
		return status->retry_at > other->retry_at ? -1 : 1;
	if (status->remaining_part != other->remaining_part)
		return status->remaining_part < other->remaining_part ? -1 : 1;
	return 0;
}

/* Is a limit nearer to its end than another, which may be none, or as near, and resets later? */
bool
limit_status_is_nearer(const LimitStatus *status, const LimitStatus *other)
{
	int			order;

	Assert(status->name != NULL);
	if (other->name == NULL)
		return true;
	order = limit_status_compare(status, other);
	return order != 0 ? order < 0 : status->resets_at > other->resets_at;
}
